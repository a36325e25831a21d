"""The columnar kernel and the slow reference give the same rows on worlds drawn at the edges of DOMAIN K."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from random import Random

from hypothesis import HealthCheck, given, settings

from pipelines.protocol import RULE_ORDER
from pipelines.tables import PERSON_TABLES
from tests.histories import random_world, worlds
from tests.naive import COLUMNS
from tests.naive_stays import Row
from tests.worlds import Found, World


def expect_agreement(world: World) -> Found:
    """The reference's answer, which the pipeline's must equal row by row."""
    slow, fast = world.follow_slowly(), world.follow_fast()
    for name in COLUMNS:
        assert fast[name] == slow[name], f"{name} of\n{world!r}"
    return slow


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(worlds())
def test_small_worlds(world: World) -> None:
    expect_agreement(world)


def test_large_worlds_in_which_everything_happens() -> None:
    seen: set[object] = set()
    for seed in range(40):
        seen |= branches_of(expect_agreement(random_world(seed, most_people=100)))
    # Agreement where nothing happens would prove nothing: every rule, end and outcome must have been met.
    assert seen >= EVERY_BRANCH, sorted(map(str, EVERY_BRANCH - seen))


def test_large_worlds_whose_tables_stop_or_start_on_the_way() -> None:
    cut = 0
    for seed in range(25):
        world = random_world(seed, most_people=100)
        draw = Random(seed)
        first, last = min(row["period_start_date"] for row in world.facts.submissions), world.facts.period_end
        ends = [last, date(2018, 1, 31), date(2017, 6, 30), date(2018, 6, 30)]
        reach = {name: (draw.choice([first, first, date(2017, 1, 1)]), draw.choice(ends)) for name in PERSON_TABLES}
        del reach[draw.choice(["contact", "referral", "referral_team", "emergency_attendance", "death"])]
        found = expect_agreement(replace(world, facts=replace(world.facts, reach=reach)))
        cut += sum(row["n_readmissions_90d"] is not None and row["n_dna_90d"] is None for row in found["outcomes"])
    assert cut >= 20


def test_large_worlds_whose_tables_leave_months_out() -> None:
    cut: dict[str, int] = {"contact": 0, "stays": 0}
    for seed in range(15):
        world = random_world(seed, most_people=100)
        draw = Random(seed)
        months = sorted({row["period_start_date"] for row in world.facts.submissions})
        tables = {"contact", *draw.sample([*PERSON_TABLES, "stays"], 12)}
        gaps = {
            table: frozenset(draw.sample(months, min(draw.choice([1, 6, 24]), len(months)))) for table in sorted(tables)
        }
        found = expect_agreement(replace(world, facts=replace(world.facts, gaps=gaps)))
        for row in found["outcomes"]:
            cut["contact"] += row["n_readmissions_90d"] is not None and row["n_dna_90d"] is None
            cut["stays"] += row["censored_day"] is not None and "stays" in gaps
    assert min(cut.values()) >= 20


def test_thin_months_are_met_in_those_worlds() -> None:
    differs = 0
    for seed in range(40):
        world = random_world(seed, most_people=100)
        without = replace(world, follow_up=world.follow_up.model_copy(update={"silence_below": 0.0}))
        differs += world.follow_fast()["outcomes"] != without.follow_fast()["outcomes"]
    assert differs >= 3


def test_moves_are_met_in_those_worlds() -> None:
    differs = 0
    for seed in range(40):
        world = random_world(seed, most_people=100)
        ends = tuple(end for end in world.follow_up.censor_at if end != "moved_away")
        stayed = world.follow_up.model_copy(update={"censor_at": ends, "moved_away_codes": ()})
        without = replace(world, follow_up=stayed).follow_fast()["outcomes"]
        found = zip(world.follow_fast()["outcomes"], without, strict=True)
        differs += sum(row["censored_day"] != other["censored_day"] for row, other in found)
    assert differs >= 10


EVERY_BRANCH: set[object] = {
    *(("rule", rule) for rule in RULE_ORDER),
    ("rule", None),
    *(("end", reason) for reason in ("discharge", "death", "inactive", "open")),
    *(("stratum", stratum) for stratum in ("psychotic", "personality", "other", "unknown")),
    *(("arm", arm) for arm in ("peer", "control", "virtual")),
    *(("readmitted", answer) for answer in (True, False, None)),
    *(("formal", answer) for answer in (True, False)),
    *(
        ("excluded", why)
        for why in (
            "no_consent",
            "not_in_extract",
            "no_stay_holds_allocation_date",
            "stay_not_ended",
            "stay_stopped_arriving",
        )
    ),
    *(("nhs rule", answer) for answer in (True, False, None)),
    *(("shares of appointments missed", answer) for answer in (True, None)),
    *("linked", "died", "censored", "missed", "crisis", "emergency", "several readmissions"),
    *("attended", "liaison", "crisis episode", "crisis start", "informal", "a death in the window"),
    *("back in 90 days and not in 30", "30 days known and the year not", "first stay shorter than all"),
}


def branches_of(found: Found) -> set[object]:
    """Which rules, ends and outcomes a world has met."""
    met: set[object] = set()
    for stay in found["stays"]:
        met |= {("end", stay["end_reason"]), "linked" if stay["n_spells"] != 1 else "alone"}
    for row in found["cohort"]:
        met |= {("rule", row["first_failed_rule"]), ("arm", row["arm"]), ("stratum", row["stratum"])}
    for row in found["outcomes"]:
        met |= {("readmitted", row["readmitted_365d"]), ("formal", row["is_first_readmission_formal"])}
        met |= {name for name, column in COUNTED.items() if row[column]}
        met |= {("nhs rule", row["readmitted_nhs_14d"])}
        met |= {("shares of appointments missed", row["dna_rate_365d"] is not None or None)}
        met |= {name for name, is_met in MET.items() if is_met(row)}
        if (row["n_readmissions_365d"] or 0) != row["readmitted_365d"]:
            met.add("several readmissions")
    return met | {("excluded", row["reason"]) for row in found["excluded"]}


COUNTED = {
    "died": "died_day",
    "censored": "censored_day",
    "missed": "n_dna_365d",
    "crisis": "n_crht_365d",
    "emergency": "n_ed_365d",
    "attended": "n_attended_365d",
    "liaison": "n_liaison_365d",
    "crisis episode": "n_crht_episodes_365d",
    "crisis start": "n_crht_starts_365d",
    "informal": "is_informally_readmitted_365d",
    "a death in the window": "died_365d",
}
MET: dict[str, Callable[[Row], bool]] = {
    "back in 90 days and not in 30": lambda row: row["readmitted_90d"] is True and row["readmitted_30d"] is False,
    "30 days known and the year not": lambda row: row["n_dna_30d"] is not None and row["n_dna_365d"] is None,
    "first stay shorter than all": lambda row: (
        (row["days_in_first_readmission_365d"] or 0) < (row["days_in_hospital_365d"] or 0)
    ),
}
