"""The released folder: what is in it, what must not be, and that the same results give the same bytes."""

import csv
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import store
from pipelines.disclosure import DisclosureLog
from pipelines.errors import RunError
from pipelines.estimate.collected import DIFFERENCE_SCHEMA
from pipelines.estimates_table import RELEASED_SCHEMA
from pipelines.method_settings import AlsoEffect
from pipelines.protocol import Disclosure
from pipelines.quality import QUALITY_SCHEMA
from pipelines.report import render_report, summarise_for_terminal
from pipelines.report.assumptions import describe_assumptions
from pipelines.report.design_facts import read_overlap
from pipelines.report.difference_facts import read_differences
from pipelines.report.effects_facts import first_method
from pipelines.report.quality_facts import read_quality, release_quality
from pipelines.report.released import release_balance
from pipelines.report.released_estimates import release_estimates
from pipelines.report.rounded_effects import step_of_difference
from pipelines.report.summarise import release_data_account, release_tables, summarise
from pipelines.report.trial import describe_trial
from pipelines.report.wording import effect, headline_sentence, interval, label, mid, number, percent, triad_sentence
from pipelines.store import RunFolder, write_json, write_parquet
from pipelines.tables import month_id
from tests.report_fixture import (
    FACTS,
    Fake,
    make_protocol,
    make_table_protocol,
    person_ids,
    write_run,
    write_table_run,
)

SMALL = range(1, 8)
FIGURES = (
    "flow", "overlap", "love", "triad", "incidence", "forest", "multiverse", "individual", "providers", "missing",
)  # fmt: skip


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("accepted"))
    render_report(run, run.path, make_protocol(), FACTS)
    return run


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("refused"), Fake(accepted=False))
    render_report(run, run.path, make_protocol(), FACTS)
    return run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_table_run(tmp_path_factory.mktemp("table"))
    render_report(run, run.path, make_table_protocol(), FACTS)
    return run


def released(run: RunFolder) -> dict[str, str]:
    folder = run.file("release")
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def page(run: RunFolder) -> str:
    return run.file(store.REPORT).read_text()


def visible(html: str) -> str:
    """The words of a page without its style and drawings."""
    html = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_everything_of_the_contract_is_there(accepted: RunFolder) -> None:
    assert set(released(accepted)) == {
        "report.html",
        "estimates.csv",
        "balance.csv",
        "diagnostics.csv",
        "participants_kept.csv",
        "attrition.csv",
        "data_quality.csv",
        "disclosure_log.json",
        "summary.json",
        *(f"figures/{name}.svg" for name in FIGURES),
    }


def test_columns_of_estimates_are_those_of_the_run_folder_s_contract(accepted: RunFolder) -> None:
    header = accepted.file(store.RELEASED_ESTIMATES).read_text().splitlines()[0]
    # DESIGN.md section 4
    assert header == (
        "contrast,outcome,estimand,scale,design,method,subgroup,value,std_error,lower,upper,p_value,"
        "n_treated,n_control,effective_n"
    )


def test_effects_are_rounded_to_a_part_of_their_error_and_counts_to_five(accepted: RunFolder) -> None:
    private = accepted.read(store.ESTIMATES)
    public = pl.read_csv(accepted.file(store.RELEASED_ESTIMATES), schema=RELEASED_SCHEMA)
    assert public.height == private.height
    shown = public["value"].is_not_null()
    # a subgroup of few, the one it would be found from, and a ratio that rounding would widen too far
    assert shown.sum() >= private.height - 3
    for out, exact in zip(public.to_dicts(), private.to_dicts(), strict=True):
        if out["value"] is not None and not out["scale"].endswith("ratio"):
            assert abs(out["value"] - exact["value"]) <= step_of_difference(exact) / 2 + 1e-12
            assert out["std_error"] >= exact["std_error"] * 0.99
    for name in ("n_treated", "n_control", "effective_n"):
        assert {n % 5 for n in public[name].drop_nulls()} == {0}


def test_effects_are_exact_where_nothing_is_suppressed() -> None:
    row = dict.fromkeys(("contrast", "outcome", "estimand", "design", "method", "subgroup"), "x")
    numbers = {"value": -0.01234567, "std_error": 0.01, "lower": -0.05, "upper": 0.01, "p_value": 0.2}
    row |= {"scale": "risk_difference", **numbers, "n_treated": 250, "n_control": 250, "effective_n": 250.0}
    off = DisclosureLog(Disclosure(suppress_below=0, round_to=1))
    assert release_estimates(pl.DataFrame([row]), off)["value"].to_list() == [-0.01234567]


def test_the_same_results_give_the_same_bytes(accepted: RunFolder, tmp_path: Path) -> None:
    render_report(accepted, tmp_path, make_protocol(), FACTS)
    assert released(RunFolder(tmp_path)) == released(accepted)


def test_no_person_appears_anywhere(accepted: RunFolder) -> None:
    everything = "".join(released(accepted).values())
    assert len(person_ids(accepted)) == 60
    assert "PSEUDONYM" not in everything
    assert not [name for name in person_ids(accepted) if name in everything]


def test_a_refused_design_shows_no_effect_although_a_file_of_effects_lies_there(refused: RunFolder) -> None:
    assert refused.read(store.ESTIMATES).height > 0
    text = visible(page(refused))
    assert "NOT ACCEPTED" in text
    assert "0.17, where the protocol asks for at most 0.10" in text
    assert "Main result" not in text
    assert "Risk difference" not in text
    assert (
        set(released(refused)) & {f"figures/{n}.svg" for n in ("triad", "incidence", "forest", "individual")} == set()
    )
    assert refused.file(store.RELEASED_ESTIMATES).read_text().strip() == ",".join(RELEASED_SCHEMA)
    assert json.loads(refused.file("release/summary.json").read_text())["effects"] is None


def test_all_drawings_are_xml_with_title_and_description(accepted: RunFolder) -> None:
    names = [name for name in released(accepted) if name.endswith(".svg")]
    assert len(names) == len(FIGURES)
    for name in names:
        root = ElementTree.fromstring(released(accepted)[name])
        tags = [child.tag.rpartition("}")[2] for child in root]
        assert tags[:2] == ["title", "desc"]
        assert root.attrib["role"] == "img"
        assert all(len(child.text or "") > 10 for child in root[:2])


def test_the_page_is_complete_in_itself_and_well_formed(
    accepted: RunFolder, refused: RunFolder, table: RunFolder
) -> None:
    for run in (accepted, refused, table):
        html = page(run)
        assert "<script" not in html
        assert not re.search(r'(?:src|href)="(?!#)', html)
        assert "@import" not in html
        assert not re.search(r"url\((?!#)", html)
        checker = _Checker()
        checker.feed(html)
        assert checker.open == []
        assert len(checker.ids) == len(set(checker.ids))
        assert set(checker.targets) <= set(checker.ids)


class _Checker(HTMLParser):
    """Open tags, ids, and targets of links inside the page."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "xlink:href"):
                self.targets.append(str(value).removeprefix("#"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_says_what_it_is(accepted: RunFolder, table: RunFolder) -> None:
    text = visible(page(accepted).partition("<body>")[2])
    assert "No row describes a real person" in text
    assert text.index("Synthetic data") < text.index("Peer support after psychiatric discharge")
    assert "Emulation of a target trial" in text
    assert "not in routine data" in text
    assert "No row describes a real person" not in visible(page(table))


def test_the_page_names_the_files_that_were_not_read(accepted: RunFolder) -> None:
    assert "Not read as a table of records: README.txt." in accepted.file(store.REPORT).read_text(encoding="utf-8")


def test_sections_come_in_reading_order(accepted: RunFolder) -> None:
    ids = re.findall(r'<section id="(\w+)"', page(accepted))
    assert ids == ["verdict", "result", "triad", "trial", "flow", "table1", "balance", "incidence", "estimates",
                   "individual", "quality", "data", "limits", "methods", "glossary"]  # fmt: skip


def test_differences_between_people_warn_and_withhold_what_rests_on_few(accepted: RunFolder) -> None:
    text = visible(page(accepted))
    assert "Not for deciding about one person" in text
    assert "pointwise and too short" in text
    assert "0.041" in text  # the test of interaction,
    assert "0.124" in text  # and corrected
    assert "Lowest quarter * * / 150" in text
    assert "The rule is withheld because a part of it rests on too few people" in text
    assert "41.4" not in text.partition("A simple rule")[2].partition("would gain")[0]
    assert "The data do not show that such a rule does better" in text
    assert "only fewer than 8 people of a level" in text


def test_a_table_study_has_no_empty_sections(table: RunFolder) -> None:
    ids = re.findall(r'<section id="(\w+)"', page(table))
    assert ids == ["verdict", "result", "trial", "table1", "balance", "estimates", "quality",
                   "limits", "methods", "glossary"]  # fmt: skip
    text = visible(page(table))
    # 1712.4 with an error of 742.1 among 185: one adds 742.1 / sqrt(185) = 54.6, so steps of 100, which add
    # 100² / 12 to the variance: 742.1 becomes 743.
    assert "1,700 (244 to 3,156)" in text
    assert "Reference value: 1,794 (551 to 3,038)" in text


def test_the_headline_is_the_primary_design_s_first_method(accepted: RunFolder) -> None:
    first = pl.read_csv(accepted.file(store.RELEASED_ESTIMATES)).row(0, named=True)
    assert (first["scale"], first["design"], first["method"]) == (
        "risk_difference",
        "nearest_neighbour",
        "weighted_difference",
    )
    text = visible(page(accepted))
    assert interval({**first, "is_suppressed": False}) in text
    assert "includes no effect: the virtual controls fared" in text


def test_a_hazard_ratio_is_no_headline() -> None:
    # The page names the headline's method, so it must be that of the difference shown.
    where = {"contrast": "peer_vs_virtual", "design": "nearest_neighbour"}
    rows = [
        {**where, "method": "fine_gray", "scale": "subdistribution_hazard_ratio"},
        {**where, "method": "aipw", "scale": "risk_difference"},
    ]
    protocol = SimpleNamespace(
        design=SimpleNamespace(methods=("nearest_neighbour",)), effects=SimpleNamespace(methods=("fine_gray", "aipw"))
    )
    assert first_method(rows, "peer_vs_virtual", protocol) == "aipw"


def test_further_specifications_of_hazard_ratios_and_rates_are_shown_with_their_method(tmp_path: Path) -> None:
    also = [
        {"name": "breslow", "method": "cox", "options": {"ties": "breslow"}},
        {"name": "outside", "method": "quasi_poisson", "options": {}},
    ]
    protocol = make_protocol(effects={"methods": ["weighted_difference", "aipw"]})
    effects = protocol.effects.model_copy(update={"also": tuple(AlsoEffect.model_validate(one) for one in also)})
    run = write_run(tmp_path)
    estimates = run.read(store.ESTIMATES)
    hazard = {
        "method": "breslow",
        "scale": "hazard_ratio",
        "value": 0.8,
        "std_error": 0.1,
        "lower": 0.66,
        "upper": 0.97,
    }
    rate = {
        "method": "outside",
        "scale": "rate_difference",
        "value": -0.2,
        "std_error": 0.1,
        "lower": -0.4,
        "upper": 0.0,
    }
    rows = [{**estimates.row(0, named=True), **one, "p_value": 0.04} for one in (hazard, rate)]
    write_parquet(run.file(store.ESTIMATES), pl.concat([estimates, pl.DataFrame(rows, schema=estimates.schema)]))
    render_report(run, run.path, protocol.model_copy(update={"effects": effects}), FACTS)
    text = visible(page(run))
    # 0.8 on a logarithmic grid: the error squared, 0.01, is a multiple of 0.01, and log 0.8 is -0.22.
    assert "Breslow: Cox model, readmission or death Hazard ratio 0.80 (" in text
    assert "outside: Rates (quasi-Poisson) −0.20 (" in text


def test_attrition_adds_up_in_rounded_numbers(accepted: RunFolder) -> None:
    frame = pl.read_csv(accepted.file(store.RELEASED_ATTRITION))
    for group in ("participants", "candidates"):
        rows = frame.filter(pl.col("group") == group).sort("step").to_dicts()
        for before, after in itertools.pairwise(rows):
            taken = after["n_discharges_removed"]
            assert before["n_discharges_left"] - after["n_discharges_left"] == (5 if taken is None else taken)
    hidden = frame.filter((pl.col("group") == "participants") & pl.col("n_discharges_removed").is_null())
    assert hidden.height == sum(n in SMALL for n in Fake().participants_removed)


def test_the_log_lists_what_is_withheld_and_no_number_of_people(accepted: RunFolder) -> None:
    log = json.loads(accepted.file(store.DISCLOSURE_LOG).read_text())
    places = {(entry["file"], entry["place"]) for entry in log}
    assert (store.RELEASED_ATTRITION, "participants/no_consent/n_discharges_removed") in places
    assert (
        store.RELEASED_BALANCE,
        "peer_vs_virtual/nearest_neighbour/ethnic_group = other/mean_treated_before",
    ) in places
    assert all(set(entry) == {"file", "place", "rule"} for entry in log)


def test_a_small_subgroup_shows_no_estimate(accepted: RunFolder) -> None:
    rows = pl.read_csv(accepted.file(store.RELEASED_ESTIMATES)).filter(pl.col("subgroup") == "ethnic_group = other")
    assert rows["value"].to_list() == [None]
    assert rows["n_treated"].to_list() == [None]


def test_two_effects_that_give_away_few_events_are_withheld_together() -> None:
    # 5 of 250 against 10 of 250: the difference -0.02 and the ratio 0.5 solve to exactly that
    base = {
        "contrast": "peer_vs_virtual", "outcome": "died_365d", "estimand": "ATT", "design": "d", "method": "m",
        "subgroup": "all", "std_error": 0.01, "lower": -0.05, "upper": 0.01, "p_value": 0.2, "n_treated": 250,
        "n_control": 250, "effective_n": 250.0,
    }  # fmt: skip
    few = [{**base, "scale": "risk_difference", "value": -0.02}, {**base, "scale": "risk_ratio", "value": 0.5}]
    log = DisclosureLog(Disclosure())
    assert release_estimates(pl.DataFrame(few), log)["value"].to_list() == [None, None]
    # 20 of 250 against 40 of 250 may be shown
    # errors of the delta method; 20 and 250 count as 21 and 249, so 0.0843 stands beside 0.0843 + 0.08
    many = [{**few[0], "value": -0.08, "std_error": 0.0289}, {**few[1], "std_error": 0.2588}]
    assert release_estimates(pl.DataFrame(many), log)["value"].to_list() == [-0.08, 0.5132]
    # no event among the treated, 4 among the controls: there is no ratio to solve, the difference is the risk itself
    none = [{**few[0], "value": -0.016}, {**few[1], "value": float("nan")}]
    assert release_estimates(pl.DataFrame(none), log)["value"].to_list() == [None, None]


def test_a_standardised_difference_does_not_give_a_withheld_percentage_away(accepted: RunFolder) -> None:
    frame = pl.read_csv(accepted.file(store.RELEASED_BALANCE))
    means = [name for name in frame.columns if name.startswith("mean_")]
    hidden = frame.filter(pl.any_horizontal(pl.col(means).is_null()))
    assert hidden.height >= 3
    assert hidden["smd_before"].is_null().all()
    assert hidden["smd_after"].is_null().all()


def test_a_number_between_0_and_1_is_a_proportion_unless_the_baseline_file_says_otherwise() -> None:
    row = {
        f"{s}_{m}": 0.5 for s in ("mean_treated", "mean_control", "smd", "variance_ratio") for m in ("before", "after")
    }
    overlap = {"n_treated": 101, "n_treated_kept": 101, "n_control_pool": 903, "n_controls_kept": 101}
    entry = {"method": "m", "overlap": overlap, "balance": [{"covariate": "honos_item_2", **row}]}
    summary = {"contrasts": [{"contrast": "c", "treated_arm": "peer", "control_arm": "virtual", "designs": [entry]}]}
    log = DisclosureLog(Disclosure())
    unknown = release_balance(summary, {}, log).row(0, named=True)
    assert unknown["is_proportion"]
    assert unknown["mean_treated_before"] == 50 / 100  # 50.5 rounds to 50, 101 to 100
    assert unknown["variance_ratio_before"] is None
    known = release_balance(summary, {"honos_item_2": False}, log).row(0, named=True)
    assert (known["mean_treated_before"], known["variance_ratio_before"]) == (0.5, 0.5)


small_or_not = st.integers(0, 60)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    participants=st.lists(small_or_not, min_size=15, max_size=15),
    candidates=st.lists(small_or_not, min_size=11, max_size=11),
    n_peer=st.integers(9, 90),
    n_control=st.integers(9, 90),
    aside=st.tuples(small_or_not, small_or_not, small_or_not),
    seed=st.integers(0, 5),
)
def test_no_small_count_is_ever_released(
    tmp_path_factory: pytest.TempPathFactory,
    participants: list[int],
    candidates: list[int],
    n_peer: int,
    n_control: int,
    aside: tuple[int, int, int],
    seed: int,
) -> None:
    fake = Fake(
        seed=seed,
        n_peer=n_peer,
        n_control=n_control,
        n_pool=900,
        participants_removed=participants,
        candidates_removed=candidates,
        rows_set_aside=aside,
    )
    run, protocol = write_run(tmp_path_factory.mktemp("run"), fake), make_protocol()
    log = DisclosureLog(protocol.disclosure)
    tables = release_tables(run, protocol, log)
    summary = summarise(run, protocol, FACTS, tables, log)
    for frame in tables.values():
        for name in (n for n in frame.columns if n.startswith("n_") or n in ("n", "effective_n")):
            assert not any(n in SMALL for n in frame[name])
    _expect_no_share_of_few(run, tables[store.RELEASED_QUALITY])
    exact = {
        row["covariate"]: row for row in run.read_json(store.DESIGN_SUMMARY)["contrasts"][0]["designs"][0]["balance"]
    }
    primary = (pl.col("contrast") == "peer_vs_virtual") & (pl.col("design") == "nearest_neighbour")
    for row in tables[store.RELEASED_BALANCE].filter(primary & pl.col("is_proportion")).iter_rows(named=True):
        people = exact[row["covariate"]]["mean_treated_before"] * n_peer
        if 0.5 <= people < 7.5 or 0.5 <= n_peer - people < 7.5:
            assert row["mean_treated_before"] is None
            assert row["smd_before"] is None
    found = list(_counts_in(summary))
    assert len(found) > 50
    assert not [place for place, n in found if n in SMALL]


def _expect_no_share_of_few(run: RunFolder, quality: pl.DataFrame) -> None:
    """No share of data_quality.csv rests on 1 to 7, nor on all but 1 to 7; none is exact."""
    measured = pl.concat([run.read(store.QUALITY), run.read(store.OUTCOME_QUALITY)])
    for row in quality.filter(pl.col("share").is_not_null()).iter_rows(named=True):
        group = measured.filter((pl.col("part") == row["part"]) & (pl.col("arm") == row["arm"]))
        if row["subject"]:
            group = group.filter(pl.col("subject") == row["subject"])
        if row["month"]:
            year, month = map(int, row["month"].split("-"))
            group = group.filter(pl.col("month_id") == month_id(year, month))
        part = group.filter(pl.col("state") == row["state"])["n"].sum()
        whole = group["n"].sum()
        assert part not in SMALL
        assert whole - part not in SMALL
        assert whole not in SMALL
        five = [(n + 2) // 5 * 5 for n in (part, whole)]  # whole numbers have no halves of five
        assert row["share"] == pytest.approx(min(five[0] / five[1], 1), abs=1e-4)


def test_of_a_provider_s_month_only_the_state_is_released(accepted: RunFolder) -> None:
    frame = pl.read_csv(accepted.file(store.RELEASED_QUALITY)).filter(pl.col("part") == "provider_month")
    assert frame.height == 60 * 72
    assert frame["n"].null_count() == frame["share"].null_count() == frame.height
    assert set(frame["state"]) == {"submitted", "too_few", "nothing", "before_first", "after_last"}
    gaps = frame.filter((pl.col("subject") == "R04") & (pl.col("state") == "nothing"))
    assert gaps["month"].to_list() == ["2017-12", "2018-01", "2018-02", "2018-03"]  # months 44 to 47 after April 2014


@pytest.mark.parametrize(
    ("usual", "minimum", "is_told"), [(17, 1, True), (16, 1, False), (16, 17, True), (2, 1, False)]
)
def test_too_few_is_not_told_from_nothing_where_it_would_mean_a_small_count(
    usual: int, minimum: int, is_told: bool
) -> None:
    # Half of a usual 16 is 8: fewer than that are 0 to 7 spells, all of which must be suppressed.
    states = ["submitted"] * 9 + ["too_few", "nothing", "submitted"]
    counted = [0 if state == "nothing" else 1 if state == "too_few" else usual for state in states]
    months = pl.DataFrame({"month_id": range(1401, 1413), "state": states, "n": counted})
    quality = months.select(
        part=pl.lit("provider_month"),
        subject=pl.lit("R1"),
        arm=pl.lit(None, pl.String),
        month_id="month_id",
        state="state",
        n="n",
    )
    protocol = make_protocol(follow_up={"silence_minimum_spells": minimum})
    found = set(release_quality(quality, protocol, DisclosureLog(protocol.disclosure))["state"])
    assert found == {"submitted"} | ({"too_few", "nothing"} if is_told else {"nothing_or_too_few"})


def test_the_page_says_how_moves_end_observation() -> None:
    ends = {"censor_at": ["end_of_data", "moved_away"], "moved_away_codes": ["03"]}
    protocol = make_protocol(follow_up=ends)
    rows = [
        ("closing", f"closed_{why}", n) for why, n in (("moved_away", 62), ("another_reason", 941), ("no_reason", 3))
    ]
    quality = pl.DataFrame(
        [(part, name, None, None, None, n) for part, name, n in rows], schema=QUALITY_SCHEMA, orient="row"
    )
    shown = read_quality(release_quality(quality, protocol, DisclosureLog(protocol.disclosure)), protocol)
    assert shown is not None
    assert [row["n"] for row in shown["closings"]] == [60, 940, None]
    assert label("closed_moved_away") == "Closed because the person had moved out of the area"
    assert "Moving away" in [row["name"] for row in describe_assumptions(protocol)]
    assert "Moving away" not in [row["name"] for row in describe_assumptions(make_protocol())]
    said = str(describe_trial(protocol))
    assert "ended early by the end of the data or a referral that the trust closed because the person had moved" in said


def test_the_page_names_the_months_that_a_table_does_not_cover() -> None:
    protocol = make_protocol()
    quality = pl.DataFrame(
        [("table_month", "contact", None, month, "not_covered", 3) for month in (1413, 1414, 1420)],
        schema=QUALITY_SCHEMA,
        orient="row",
    )
    released = release_quality(quality, protocol, DisclosureLog(protocol.disclosure))
    assert released["n"].null_count() == 3  # a small count of rows is nobody's business
    shown = read_quality(released, protocol)
    assert shown is not None
    # UniqMonthID 1413 is December 2017 (DOMAIN B1: 1402 is January 2017).
    assert shown["table_gaps"] == [{"table": "contact", "runs": [["2017-12", "2018-01"], ["2018-07", "2018-07"]]}]


def test_what_happened_after_time_zero_stays_closed_when_the_design_is_refused(
    accepted: RunFolder, refused: RunFolder
) -> None:
    parts = {
        name: set(pl.read_csv(run.file(store.RELEASED_QUALITY))["part"])
        for name, run in (("accepted", accepted), ("refused", refused))
    }
    assert parts["accepted"] - parts["refused"] == {"readmission", "observation"}
    assert "Readmissions at another provider" in visible(page(accepted))
    assert "Readmissions at another provider" not in visible(page(refused))
    assert "Who submitted when" in visible(page(refused))


def test_the_page_says_what_was_done_about_what_is_missing(accepted: RunFolder, table: RunFolder) -> None:
    text = visible(page(accepted))
    assert re.search(r"HoNOS total [\d.]+ % [\d.]+ % [\d.]+ % Mean filled in, with an indicator of missing", text)
    assert "1 further covariate has a value for everybody" in text  # age
    # 185 // 10 of 185 and 15992 // 10 of 15992, from counts rounded to 5: 20 / 185 and 1600 / 15990
    assert "10.8 % 10.0 % Mean filled in, with an indicator of missing" in visible(page(table))
    assert "Who submitted when" not in visible(page(table))


def test_sixty_providers_over_six_years_are_a_small_drawing(accepted: RunFolder) -> None:
    svg = released(accepted)["figures/providers.svg"]
    assert len(svg) < 25_000
    assert svg.count("<text") >= 60 + 6
    # R04, R13, R22 and R31 with a gap, R07 with too few spells, R58 that stopped
    assert "60 providers over 72 months from 2014-04 to 2020-03; 6 have a month" in svg


def _counts_in(part: Any, place: str = "") -> Any:
    """Every number of the report's dict that counts people or rows, with its place."""
    counted = ("n_treated", "n_control", "n_people", "n_discharges", "effective_n", "rows", "/n", "counts", "end",
               "start", "at_risk", "treated", "pool", "controls")  # fmt: skip
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _counts_in(value, f"{place}/{name}")
    elif isinstance(part, list):
        for value in part:
            yield from _counts_in(value, place)
    elif isinstance(part, int) and not isinstance(part, bool):
        last = place.rpartition("/")[2]
        if last.startswith(counted) or place.endswith("/n") or "rows_" in last:
            yield place, part


def test_at_risk_and_percentages_of_curves_are_midpoints(accepted: RunFolder) -> None:
    curves = json.loads(accepted.file("release/summary.json").read_text())["effects"]["curves"]["lines"]
    assert len(curves) == 2  # two groups; of deaths there are too few
    for line in curves:
        assert all(n == 0 or n % 6 == 3 for n in line["at_risk"])
        base = line["at_risk"][0]
        events = [share * base for share in line["incidence"] if share is not None]
        assert all(abs(n - round(n)) < 0.02 and round(n) % 6 in (0, 3) for n in events)  # shares have four decimals


def test_a_difference_is_that_of_the_released_curves_and_its_width_in_whole_sixes(accepted: RunFolder) -> None:
    effects = json.loads(accepted.file("release/summary.json").read_text())["effects"]
    lines = {(line["outcome"], line["arm"]): line for line in effects["curves"]["lines"]}
    assert effects["differences"]
    for one in effects["differences"]:
        peer, virtual = (lines[one["outcome"], arm] for arm in ("peer", "virtual"))
        for place, value in enumerate(one["value"]):
            ends = (peer["incidence"][place], virtual["incidence"][place])
            assert (value is None) == (None in ends)
            if value is not None:
                assert value == pytest.approx(ends[0] - ends[1], abs=1e-4)
                half = one["upper"][place] - value
                people = half * (min(peer["at_risk"][0], virtual["at_risk"][0]) - 2)
                is_six = abs(people - 6 * round(people / 6)) < 0.06  # four decimals of some three hundred people
                assert is_six or half == pytest.approx(abs(value), abs=2e-4)  # or it reaches 0, as the exact one does
                assert one["upper"][place] + one["lower"][place] == pytest.approx(2 * value, abs=3e-4)
    assert "Below the curves their difference" in accepted.file(store.REPORT).read_text(encoding="utf-8")


def test_what_is_said_of_those_lost_follows_the_remarks(accepted: RunFolder, tmp_path: Path) -> None:
    said = "speak of weights for the end of observation"
    assert said not in accepted.file(store.REPORT).read_text(encoding="utf-8")
    run = write_run(tmp_path)
    rows = pl.read_parquet(run.file(store.ESTIMATES))
    one = rows.filter((pl.col("method") == "weighted_difference") & (pl.col("scale") == "risk_difference")).head(1)
    timed = one.with_columns(method=pl.lit("cumulative_incidence"))
    rate = {"method": "quasi_poisson", "scale": "rate_difference", "outcome": "n_readmissions_365d"}
    counted = one.with_columns(pl.lit(text).alias(name) for name, text in rate.items())
    write_parquet(run.file(store.ESTIMATES), pl.concat([rows, timed, counted]))
    notes = json.loads(run.file(store.EFFECT_NOTES).read_text())
    remark = "weights for the end of observation by arm and covariates: 1.20 on average"
    about = {"contrast": "peer_vs_virtual", "outcome": "readmitted_365d", "design": "nearest_neighbour"}
    write_json(run.file(store.EFFECT_NOTES), [*notes, {**about, "method": "cumulative_incidence", "note": remark}])
    render_report(run, run.path, make_protocol(), FACTS)
    page = run.file(store.REPORT).read_text(encoding="utf-8")
    assert page.count(said) == 3


def test_a_difference_of_rounded_curves_leaves_0_only_where_the_exact_one_does() -> None:
    # 10 points exact, 14 between the released curves; limits of 11 to either side reach 0, of 9 do not.
    protocol, base = make_table_protocol(), 303
    lines = [
        {"outcome": "x", "arm": arm, "day": [0, 7], "incidence": [0.0, end], "at_risk": [base, base]}
        for arm, end in (("peer", 0.34), ("virtual", 0.2))
    ]
    for half, reaches in ((0.11, True), (0.09, False)):
        place = {"contrast": "peer_vs_virtual", "outcome": "x", "design": protocol.design.methods[0], "method": "m"}
        numbers = {"lower": 0.1 - half, "upper": 0.1 + half, "band_lower": None, "band_upper": None, "value": 0.1}
        rows = [{**place, "day": 0.0, **dict.fromkeys(numbers, 0.0)}, {**place, "day": 7.0, **numbers}]
        exact = pl.DataFrame(rows, schema=DIFFERENCE_SCHEMA)
        found = read_differences(exact, {"lines": lines}, "peer_vs_virtual", protocol, DisclosureLog(Disclosure()))
        assert (found[0]["lower"][1] <= 0) == reaches
        assert found[0]["upper"][1] - found[0]["value"][1] >= half
        assert found[0]["band_lower"][1] is None


def test_curves_of_public_data_are_those_of_the_run(tmp_path: Path) -> None:
    run, protocol = write_run(tmp_path), make_protocol(disclosure={"suppress_below": 0, "round_to": 1})
    render_report(run, run.path, protocol, FACTS)
    summary = json.loads(run.file("release/summary.json").read_text())
    exact = run.read(store.CURVES).filter(pl.col("contrast") == "peer_vs_virtual")
    lines = summary["effects"]["curves"]["lines"]
    assert len(lines) >= 2
    for line in lines:
        mine = exact.filter((pl.col("outcome") == line["outcome"]) & (pl.col("arm") == line["arm"])).sort("day")
        place = [mine["day"].search_sorted(day, side="right") - 1 for day in line["day"]]
        for name in ("incidence", "lower", "upper"):
            known = [(a, b) for a, b in zip(line[name], mine[name].gather(place), strict=True) if a is not None]
            assert len(known) > 50
            assert max(abs(a - b) for a, b in known) <= 0.00005001  # four decimals
    everything = [run.path / f"release/{name}" for name in released(run)]
    assert not [file.name for file in everything if "midpoint" in file.read_text(encoding="utf-8")]


def test_effective_numbers_are_those_of_the_arms_that_stand_in(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    design = json.loads(run.file(store.DESIGN_SUMMARY).read_text())
    first = design["contrasts"][0]["designs"][0]
    first["overlap"] |= {"effective_n_treated": 123.4, "effective_n_controls": 456.7}
    for estimand, said in {
        "ATT": "Effective number of controls 455",
        "ATC": "Effective number of treated 125",
        "ATE": "Effective numbers: treated 125 and controls 455",
        "ATO": "Effective numbers: treated 125 and controls 455",
    }.items():
        first["estimand"] = estimand
        write_json(run.file(store.DESIGN_SUMMARY), design)
        render_report(run, run.path, make_protocol(), FACTS)
        page = run.file(store.REPORT).read_text(encoding="utf-8")
        assert said in page
        assert "125 / 455" in page
        measures = pl.read_csv(run.path / store.RELEASED_DIAGNOSTICS).filter(pl.col("design") == first["method"])
        told = dict(measures.filter(contrast=design["contrasts"][0]["contrast"]).select("measure", "value").rows())
        assert (told["effective_n_treated"], told["effective_n_controls"]) == (125.0, 455.0)


def test_a_difference_of_exact_curves_is_exact() -> None:
    protocol, log = make_table_protocol(), DisclosureLog(Disclosure(suppress_below=0, round_to=1))
    lines = [
        {"outcome": "x", "arm": arm, "day": [0, 7], "incidence": [0.0, end], "at_risk": [300, 300]}
        for arm, end in (("peer", 0.3457), ("virtual", 0.2222))
    ]
    place = {"contrast": "peer_vs_virtual", "outcome": "x", "design": protocol.design.methods[0], "method": "m"}
    numbers = {"lower": 0.0234, "upper": 0.2234, "band_lower": -0.0766, "band_upper": 0.3234, "value": 0.1234}
    rows = [{**place, "day": 0.0, **dict.fromkeys(numbers, 0.0)}, {**place, "day": 6.0, **numbers}]
    exact = pl.DataFrame(rows, schema=DIFFERENCE_SCHEMA)
    found = read_differences(exact, {"lines": lines}, "peer_vs_virtual", protocol, log)
    assert {name: found[0][name][1] for name in numbers} == pytest.approx(numbers)
    assert log.entries == []


def test_the_page_says_how_far_back_earlier_stays_are_known(accepted: RunFolder) -> None:
    page = " ".join(accepted.file(store.REPORT).read_text(encoding="utf-8").split())
    assert "MHSDS holds them from 2016-01-01, hospital episodes (HES) from 2014-04-01." in page
    # 1,012 of 41,236 are rounded to fives, and the few participants (of 588) are withheld.
    assert re.search(r"1,010 of 41,235 candidates, \S+ of 590 participants\.", page)


def test_show_reads_released_files_only(accepted: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path)
    for name, text in released(accepted).items():
        store.write_bytes(copy.file(f"release/{name}"), text.encode())
    shown = summarise_for_terminal(copy)
    assert shown["accepted"] is True
    assert shown["headline"]["difference"]["n_treated"] == 280  # 283 - 4 matched = 279, rounded
    assert len(shown["estimates"]) == accepted.read(store.ESTIMATES).height
    assert {row["group"] for row in shown["attrition"]} == {"participants", "candidates"}


def test_show_of_a_run_without_report_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no report yet"):
        summarise_for_terminal(RunFolder(tmp_path))


def test_a_title_with_markup_is_text(tmp_path: Path) -> None:
    study = {"name": "x", "title": "A <b>bold</b> & risky title", "question": "<script>1</script>?"}
    run = write_table_run(tmp_path)
    render_report(run, tmp_path, make_table_protocol(study=study), FACTS)
    assert "A &lt;b&gt;bold&lt;/b&gt; &amp; risky title" in page(run)
    assert "<script" not in page(run)


def test_csv_files_read_back(accepted: RunFolder) -> None:
    for name in (store.RELEASED_ESTIMATES, store.RELEASED_BALANCE, store.RELEASED_ATTRITION):
        with accepted.file(name).open(newline="") as file:
            widths = {len(row) for row in csv.reader(file)}
        assert len(widths) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1794.34, "1,794"),
        (39.68, "39.7"),
        (3.4449, "3.44"),
        (-0.0004, "0.000"),
        (-2.5, "−2.50"),
        (None, "–"),
        (0, "0.00"),
    ],
)
def test_numbers_have_the_decimals_of_their_size(value: float | None, text: str) -> None:
    assert number(value) == text


def test_risks_are_percentage_points_and_ratios_have_two_decimals() -> None:
    assert effect(-0.0289, "risk_difference") == "−2.9"
    assert effect(0.971, "risk_ratio") == "0.97"
    assert percent(0.4286) == "43 %"
    assert percent(None) == "*"


def test_an_interval_has_the_decimals_of_its_widest_limit() -> None:
    estimate = {"scale": "mean_difference", "value": 0.034, "lower": -0.213, "upper": 0.282, "is_suppressed": False}
    assert interval(estimate) == "0.03 (−0.21 to 0.28)"
    assert interval({**estimate, "value": None, "is_suppressed": True}) == "*"
    assert interval(None) == "–"


def test_few_people_get_a_coarser_histogram() -> None:
    bins = {"edges": [float(i) for i in range(7)], "treated": [4.0] * 6, "pool": [50.0] * 6, "controls": [4.0] * 6}
    overlap = read_overlap({"method": "m", "histogram": bins}, DisclosureLog(Disclosure()))
    assert overlap is not None
    assert overlap["edges"] == [0, 2, 4, 6]
    assert overlap["treated"] == [10, 10, 10]  # 8 each, rounded


def test_words_in_mid_sentence() -> None:
    assert [mid(t) for t in ("Weighted difference", "HoNOS total", "NHS trust", "")] == [
        "weighted difference",
        "HoNOS total",
        "NHS trust",
        "",
    ]


def test_sentences_are_cautious_in_both_directions() -> None:
    clear = {"scale": "risk_difference", "value": -0.08, "lower": -0.13, "upper": -0.03}
    said = headline_sentence(clear, "participants", "controls", "95 %")
    assert "8.0 percentage points lower" in said
    assert "from 3.0 percentage points to 13.0 percentage points lower, does not include zero" in said
    assert "not measured" in said
    unclear = {"scale": "risk_difference", "value": 0.01, "lower": -0.03, "upper": 0.05}
    assert "compatible with no difference" in headline_sentence(unclear, "participants", "controls", "95 %")
    assert "does NOT include no effect" in triad_sentence(clear, "95 %")
    assert "includes no effect" in triad_sentence(unclear, "95 %")
    assert "could not be made" in triad_sentence(None, "95 %")


SUBMISSIONS = {
    "submission_unknown:spell": "still be there: Spell 1 month of a provider, Ward stay 3 months of providers.",
    "months_from_person_rows": "12 months of providers count as submitted because rows of people came for them",
    "header_of_a_month_of_nobody": "1 header says that a month was submitted that lies before or after all months",
    "header_dates_unlike_the_others": "The dates of 2 headers do not fit the number of their month",
}


def test_the_page_says_what_is_in_doubt_about_submissions(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    account = run.read_json(store.DATA_ACCOUNT)
    render_report(run, run.path, make_protocol(), FACTS)
    without = visible(page(run))
    numbers = dict(zip(SUBMISSIONS, (1, 12, 1, 2), strict=True)) | {"submission_unknown:ward_stay": 3}
    pair = "UniqHospProvSpellID and UniqHospProvSpellNum"
    store.write_json(
        run.file(store.DATA_ACCOUNT),
        account | {"notes": numbers, "differing": {pair: 42, "AttendStatus and AttendOrDNACode": 3}},
    )
    render_report(run, run.path, make_protocol(), FACTS)
    said = visible(page(run))
    for sentence in SUBMISSIONS.values():
        assert sentence in said
        assert sentence not in without
    differing = "Rows in which two columns of a merged file say two things of one"
    assert (
        f"{differing}; the first column stands: {pair}: 40; AttendStatus and AttendOrDNACode: *." in said
    )  # rounded, and suppressed
    assert differing not in without


@pytest.mark.parametrize(("n_people", "mean", "said"), [(287, 7.26, True), (7, 7.26, False), (0, None, False)])
def test_sessions_are_described_unless_they_are_of_few(n_people: int, mean: float | None, said: bool) -> None:
    columns = ("rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
    of_list = {"sessions": {"n_people": n_people, "mean": mean}}
    account: dict[str, Any] = {"files": [{"table": "spell"} | dict.fromkeys(columns, 100)], "participants": of_list}
    found = release_data_account(account, DisclosureLog(Disclosure()))
    assert found is not None
    assert found["sessions"] == ({"n_people": 285, "mean": 7.3} if said else None)
