"""Times to events between outcomes file and released table: what is named how, and what may not be subtracted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.design import Contrast
from pipelines.disclosure import DisclosureLog
from pipelines.estimate.collected import CURVE_SCHEMA, AcceptedDesign, Results
from pipelines.estimate.times import estimate_times, with_kinds
from pipelines.estimates_table import EXACT_SCHEMA
from pipelines.protocol import Disclosure, load_protocol
from pipelines.report.released_estimates import release_estimates
from tests.acceptance import WHOEVER_IS_LEFT
from tests.models.effect_samples import golden_matched

METHODS = (
    "cumulative_incidence",
    "kaplan_meier",
    "time_lost",
    "first_readmission_type",
    "cox",
    "cause_specific_cox",
    "fine_gray",
)
STUDY = Path(__file__).parents[2] / "configs" / "studies" / "mhsds_sample_v5.toml"


@pytest.fixture(scope="module")
def results() -> Results:
    """The matched sample of tests/golden/effects through every method for times, with days 30 and 90."""
    data, baseline, design = golden_matched()
    day, event = data["day"].astype(int), data["event"].astype(int)
    of_rows = pl.DataFrame(
        {
            "days_to_readmission": np.where(event == 1, day, -1),
            "died_day": np.where(event == 2, day, -1),
            "censored_day": np.where((event == 0) & (day < 365), day, -1),
            "is_first_readmission_formal": day % 2 == 0,
        }
    ).with_columns(
        pl.when(pl.exclude("is_first_readmission_formal") >= 0).then(pl.exclude("is_first_readmission_formal"))
    )
    protocol = load_protocol(STUDY)
    timed = {name: {"times": (30, 90)} for name in METHODS[:4]}
    effects = protocol.effects.model_validate({"methods": METHODS, **timed})
    protocol = protocol.model_copy(update={"effects": effects, "acceptance": WHOEVER_IS_LEFT})
    contrast = Contrast("peer_vs_virtual", "peer", "virtual", is_randomised=False)
    accepted = AcceptedDesign(
        "nearest_neighbour",
        contrast,
        pl.Series(range(day.size)),
        baseline,
        replace(design, method="nearest_neighbour"),
        is_primary=True,
    )
    collected = Results()
    estimate_times(accepted, of_rows, protocol, collected, Path("unused"))
    return collected


def test_the_outcome_of_an_estimate_names_its_event_and_its_day(results: Results) -> None:
    rows = pl.DataFrame(results.estimates, schema=EXACT_SCHEMA, orient="row")
    named = {
        method: rows.filter(pl.col("method") == method)["outcome"].unique(maintain_order=True).to_list()
        for method in METHODS
    }
    to_90 = [f"{{}}_{day}d" for day in (30, 90, 365)]
    assert named == {
        "cumulative_incidence": [text.format("readmitted") for text in to_90],
        "kaplan_meier": [text.format("readmitted_or_died") for text in to_90],
        "time_lost": [text.format("readmitted") for text in to_90],
        "first_readmission_type": [
            text.format(kind) for kind in ("is_informally_readmitted", "is_formally_readmitted") for text in to_90
        ],
        "cox": ["readmitted_or_died_365d"],
        "cause_specific_cox": ["readmitted_365d", "died_365d"],
        "fine_gray": ["readmitted_365d"],
    }
    assert rows["value"].is_finite().all()


def test_curves_say_which_method_drew_them_and_carry_the_band(results: Results) -> None:
    curves = pl.concat(results.curves)
    assert curves.schema == pl.Schema(CURVE_SCHEMA)
    drawn = curves.select("method", "outcome", "arm").unique(maintain_order=True).rows()
    assert drawn == [
        (method, f"{event}_365d", arm)
        for method, event in (
            ("cumulative_incidence", "readmitted"),
            ("kaplan_meier", "readmitted_or_died"),
            ("first_readmission_type", "is_informally_readmitted"),
            ("first_readmission_type", "is_formally_readmitted"),
        )
        for arm in ("peer", "virtual")
    ]
    inside = curves.drop_nulls("band_lower")
    assert inside.height > 100
    assert (inside["band_lower"] <= inside["lower"]).all()
    assert (inside["band_upper"] >= inside["upper"]).all()


def test_a_hazard_ratio_of_few_events_is_withheld(results: Results) -> None:
    rows = pl.DataFrame(results.estimates, schema=EXACT_SCHEMA, orient="row")
    of_death = rows.filter(pl.col("outcome") == "died_365d")
    # 6 of the 60 treated die (n of state "died" in R's survfit of the sample).
    assert of_death["fewest_events"].to_list() == [6]
    released = release_estimates(rows, DisclosureLog(Disclosure()))
    assert released.filter(pl.col("outcome") == "died_365d")["value"].to_list() == [None]
    of_cox = released.filter(pl.col("method") == "cox")["value"]
    assert of_cox.null_count() == 0
    assert of_cox.is_finite().all()


def test_proportional_hazards_are_among_the_remarks(results: Results) -> None:
    said = [(note["method"], note["note"].partition(":")[0]) for note in results.notes]
    assert said == [
        ("cox", "hazard ratio of readmission or death"),
        ("cause_specific_cox", "hazard ratio of readmission"),
        ("fine_gray", "subdistribution hazard ratio of readmission"),
    ]  # too few died for a test


def test_who_was_never_observed_is_stood_for_where_censoring_is_weighted_for() -> None:
    data, baseline, design = golden_matched()
    design = replace(design, method="nearest_neighbour")
    never = np.arange(design.weights.size) % 9 == 4
    of_rows = pl.DataFrame(
        {
            "days_to_readmission": np.where(data["event"] == 1, data["day"], 999).astype(int),
            "died_day": np.where(data["event"] == 2, data["day"], 999).astype(int),
            "censored_day": np.where(never, 0, 999),
        }
    ).with_columns(pl.all().replace(999, None))
    found, said = {}, {}
    for censoring in ("none", "weights"):
        options = {"censoring": censoring, "censoring_penalty": 1e9}
        effects = {"methods": ("cumulative_incidence",), "cumulative_incidence": options}
        protocol = load_protocol(STUDY)
        protocol = protocol.model_copy(update={"effects": protocol.effects.model_validate(effects)})
        contrast = Contrast("peer_vs_virtual", "peer", "virtual", is_randomised=False)
        rows = pl.Series(range(design.weights.size))
        accepted = AcceptedDesign("nearest_neighbour", contrast, rows, baseline, design, is_primary=True)
        collected = Results()
        estimate_times(accepted, of_rows, protocol, collected, Path("unused"))
        found[censoring] = collected.estimates[0]
        said[censoring] = [note["note"] for note in collected.notes]
    n_never = int((never & (design.weights > 0)).sum())
    # Nobody is both among the people of an estimate and left out of it; with a lost participant a whole set is gone.
    n_design = int((design.weights > 0).sum())
    people = {name: row["n_treated"] + row["n_control"] for name, row in found.items()}
    assert (found["none"]["n_unobserved"], found["weights"]["n_unobserved"]) == (n_never, 0)
    assert people["weights"] == n_design
    assert people["none"] <= n_design - n_never
    assert [note for note in said["none"] if "nothing was observed" in note] == []
    assert [note for note in said["weights"] if note.startswith(f"of {n_never} people of the design nothing")]
    inside = (design.weights > 0) & design.treated
    assert found["weights"]["n_treated"] == inside.sum()
    assert found["none"]["n_treated"] < inside.sum()
    # With the covariates' coefficients held at 0 each arm's lost are stood for by all its others.
    day, is_event = data["day"], (data["event"] == 1) & ~never
    risks = []
    for arm in (design.treated, ~design.treated):
        weight = np.where(arm, design.weights, 0.0)
        share = weight[never].sum() / weight.sum()
        risks.append(weight[is_event & (day <= 365)].sum() / weight.sum() / (1 - share))
    assert found["weights"]["value"] == pytest.approx(risks[0] - risks[1], rel=1e-6)


def test_forests_let_others_stand_for_who_was_never_observed_too(tmp_path: Path) -> None:
    data, baseline, design = golden_matched()
    n = design.weights.size
    never = np.arange(n) % 9 == 4
    of_rows = pl.DataFrame(
        {
            "days_to_readmission": np.where((data["event"] == 1) & ~never, data["day"], 999).astype(int),
            "died_day": np.full(n, 999),
            "censored_day": np.where(never, 0, 999),
        }
    )
    protocol = load_protocol(STUDY)
    options = {"methods": ("censored_forest",), "censored_forest": {"trees": 16, "folds": 2}}
    protocol = protocol.model_copy(update={"effects": protocol.effects.model_validate(options)})
    accepted = AcceptedDesign(
        "nearest_neighbour",
        Contrast("peer_vs_virtual", "peer", "virtual", is_randomised=False),
        pl.Series(range(n)),
        baseline,
        replace(design, method="nearest_neighbour"),
        is_primary=True,
    )
    collected = Results()
    estimate_times(accepted, of_rows, protocol, collected, tmp_path)
    assert [note["note"] for note in collected.notes if "forest" in note["note"]] == []
    first, inside = collected.estimates[0], design.weights > 0
    assert (first["n_treated"], first["n_control"]) == (
        int((inside & design.treated).sum()),
        int((inside & ~design.treated).sum()),
    )
    assert first["n_unobserved"] == 0


def test_an_unknown_kind_of_readmission_refuses_the_method() -> None:
    _, _, design = golden_matched()
    n = design.weights.size
    event, used = np.ones(n, dtype=np.int64), int(np.flatnonzero(design.weights > 0)[0])
    formal = pl.DataFrame({"is_first_readmission_formal": [True] * n})
    assert (with_kinds(event, formal, design) == 3).all()
    unknown = formal.with_columns(
        pl.when(pl.int_range(pl.len()) != used).then("is_first_readmission_formal").alias("is_first_readmission_formal")
    )
    with pytest.raises(ValueError, match="not known of every first readmission"):
        with_kinds(event, unknown, design)


def _risks(outcome: str, method: str, treated: int, control: int, n: int = 200) -> list[dict[str, object]]:
    """Rows of a risk difference and ratio that rest on these events among n people in each arm."""
    base = {
        "contrast": "peer_vs_virtual",
        "outcome": outcome,
        "estimand": "ATT",
        "design": "nearest_neighbour",
        "method": method,
        "subgroup": "all",
        "std_error": 0.1,
        "lower": 0.0,
        "upper": 1.0,
        "p_value": 0.5,
        "n_treated": n,
        "n_control": n,
        "effective_n": float(n),
        "n_unobserved": 0,
        "fewest_events": min(treated, control),
    }
    return [
        {**base, "scale": "risk_difference", "value": (treated - control) / n},
        {**base, "scale": "risk_ratio", "value": treated / control},
    ]


@pytest.mark.parametrize(
    ("rows", "withheld"),
    [
        # Five more events of the treated between day 30 and day 90 could be found by subtraction.
        (
            [("readmitted_30d", "cumulative_incidence", 40, 60), ("readmitted_90d", "cumulative_incidence", 45, 80)],
            {"readmitted_30d"},
        ),
        (
            [("readmitted_30d", "cumulative_incidence", 40, 60), ("readmitted_90d", "cumulative_incidence", 55, 80)],
            set(),
        ),
        # Three controls died before any readmission.
        (
            [("readmitted_90d", "cumulative_incidence", 40, 60), ("readmitted_or_died_90d", "kaplan_meier", 50, 63)],
            {"readmitted_or_died_90d"},
        ),
        # By values of whole windows, or by two methods, the same.
        (
            [("readmitted_30d", "weighted_difference", 40, 60), ("readmitted_90d", "weighted_difference", 45, 80)],
            {"readmitted_30d"},
        ),
        (
            [("readmitted_30d", "weighted_difference", 40, 60), ("readmitted_90d", "kaplan_meier", 45, 80)],
            {"readmitted_30d"},
        ),
        # Four were readmitted voluntarily, which is not among the outcomes.
        (
            [("readmitted_90d", "aipw", 44, 60), ("is_formally_readmitted_90d", "aipw", 40, 50)],
            {"is_formally_readmitted_90d"},
        ),
        # Four were detained: the voluntary ones and the whole would tell.
        (
            [
                ("readmitted_90d", "cumulative_incidence", 44, 60),
                ("is_informally_readmitted_90d", "first_readmission_type", 40, 50),
                ("is_formally_readmitted_90d", "first_readmission_type", 4, 10),
            ],
            {"is_informally_readmitted_90d", "is_formally_readmitted_90d"},
        ),
    ],
)
def test_what_could_be_found_by_subtraction_is_withheld(
    rows: list[tuple[str, str, int, int]], withheld: set[str]
) -> None:
    frame = pl.DataFrame([row for numbers in rows for row in _risks(*numbers)], schema=EXACT_SCHEMA, orient="row")
    log = DisclosureLog(Disclosure())
    released = release_estimates(frame, log)
    assert set(released.filter(pl.col("value").is_null())["outcome"]) == withheld
    assert withheld == {entry["place"].split("/")[1] for entry in log.entries if entry["place"].endswith("/value")}
