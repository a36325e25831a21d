"""The columnar kernel and the slow reference give the same rows on worlds drawn at the edges of DOMAIN K."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from pipelines.protocol import RULE_ORDER
from tests.histories import random_world, worlds
from tests.naive import COLUMNS
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


def test_thin_months_are_met_in_those_worlds() -> None:
    differs = 0
    for seed in range(40):
        world = random_world(seed, most_people=100)
        without = replace(world, follow_up=world.follow_up.model_copy(update={"silence_below": 0.0}))
        differs += world.follow_fast()["outcomes"] != without.follow_fast()["outcomes"]
    assert differs >= 3


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
    *("linked", "died", "censored", "missed", "crisis", "emergency", "several readmissions"),
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
        if (row["n_readmissions_365d"] or 0) != row["readmitted_365d"]:
            met.add("several readmissions")
    return met | {("excluded", row["reason"]) for row in found["excluded"]}


COUNTED = {
    "died": "died_day",
    "censored": "censored_day",
    "missed": "n_dna_365d",
    "crisis": "n_crht_365d",
    "emergency": "n_ed_365d",
}
