"""A design method that cannot reach its objective: an empty design, not accepted, with the method's own words."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from pipelines.design import EMPTY, Contrast, Groundwork, choose_controls, summarise
from pipelines.disclosure import DisclosureLog
from pipelines.protocol import Disclosure, Protocol
from pipelines.report.design_facts import draw_up_flow, read_verdicts
from pipelines.report.flow import draw_flow

PROTOCOL = {
    "study": {"name": "refusals", "title": "Refusals", "question": "?"},
    "source": {"kind": "table", "tables": [{"path": "x.csv", "arm": "peer"}]},
    "time_zero": {"event": "row"},
    "strategies": {"treatment": "a", "comparator": "b"},
    "outcomes": {"primary": "y", "columns": {"y": {"column": "y", "kind": "binary"}}},
    "covariates": {"numeric": ["age_years", "distance"]},
    "design": {"methods": ["entropy_balancing"]},
}


def test_entropy_balancing_that_fails_is_a_refused_design_in_words() -> None:
    n_peer, n = 20, 200
    rows = pl.DataFrame(
        {
            "row_id": range(n),
            "person_id": [f"p{number}" for number in range(n)],
            "index_date": [date(2018, 1, 1)] * n,
            "arm": ["peer"] * n_peer + ["virtual"] * (n - n_peer),
            "age_years": [40 + number % 7 for number in range(n)],
            "distance": [90.0 + number % 3 for number in range(n_peer)] + [number % 50 for number in range(n - n_peer)],
        }
    )
    protocol = Protocol.model_validate(PROTOCOL)
    groundwork = Groundwork(rows, Contrast("peer_vs_virtual", "peer", "virtual"), protocol)
    designed = choose_controls(groundwork, protocol.design.specifications()[0])
    assert not designed.design.weights.any()
    entry = summarise(designed, protocol)
    assert not entry["accepted"]
    first = entry["verdicts"][0]
    assert (first["check"], first["passed"]) == ("method_reached_its_objective", False)
    assert first["words"] == entry["notes"]["refusal"]
    assert first["words"].startswith("no weights balance these covariates: distance (")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("optimal_matching", {"covariate_calipers": {"distance": 0.1}}),
        ("nearest_neighbour", {"covariate_calipers": {"distance": 0.1}}),
        ("full_matching", {"covariate_calipers": {"distance": 0.1}}),
        ("propensity_weighting", {"trim": "common_support"}),
    ],
)
def test_an_empty_design_says_in_words_that_nobody_is_in_it(method: str, options: dict[str, Any]) -> None:
    n_peer, n = 20, 200
    rows = pl.DataFrame(
        {
            "row_id": range(n),
            "person_id": [f"p{number}" for number in range(n)],
            "index_date": [date(2018, 1, 1)] * n,
            "arm": ["peer"] * n_peer + ["virtual"] * (n - n_peer),
            "age_years": [40.0 + number % 7 for number in range(n)],
            "distance": [900.0] * n_peer + [float(number % 50) for number in range(n - n_peer)],
        }
    )
    protocol = Protocol.model_validate(PROTOCOL | {"design": {"methods": [method], method: options}})
    groundwork = Groundwork(rows, Contrast("peer_vs_virtual", "peer", "virtual"), protocol)
    entry = summarise(choose_controls(groundwork, protocol.design.specifications()[0]), protocol)
    assert not entry["accepted"]
    first = entry["verdicts"][0]
    assert (first["check"], first["words"]) == ("method_reached_its_objective", EMPTY)


def test_candidates_without_anybody_treated_in_their_group_count_as_not_kept_under_the_atc() -> None:
    """60 candidates of site a, among 20 treated, and 90 of site b, where nobody was: 60 of 150 are kept."""
    n_peer, n_a, n_b = 20, 60, 90
    n = n_peer + n_a + n_b
    rows = pl.DataFrame(
        {
            "row_id": range(n),
            "person_id": [f"p{number}" for number in range(n)],
            "index_date": [date(2018, 1, 1)] * n,
            "arm": ["peer"] * n_peer + ["virtual"] * (n_a + n_b),
            "age_years": [40 + number % 7 for number in range(n)],
            "distance": [float(number % 5) for number in range(n)],
            "site": ["a"] * (n_peer + n_a) + ["b"] * n_b,
        }
    )
    sections = {"estimand": {"target": "ATC"}, "design": {"methods": ["propensity_weighting"], "exact": ["site"]}}
    protocol = Protocol.model_validate(PROTOCOL | sections)
    groundwork = Groundwork(rows, Contrast("peer_vs_virtual", "peer", "virtual"), protocol)
    entry = summarise(choose_controls(groundwork, protocol.design.specifications()[0]), protocol)
    assert entry["outside_exact_groups"] == n_b
    verdict = next(verdict for verdict in entry["verdicts"] if verdict["check"] == "min_share_population_kept")
    assert (verdict["value"], verdict["passed"]) == (0.4, False)
    (read,) = [each for each in read_verdicts(entry, DisclosureLog(Disclosure())) if each["check"] == verdict["check"]]
    assert (read["kind"], read["value"]) == ("share", 0.4)


def test_eligible_discharges_that_the_design_did_not_choose_from_are_counted_by_reason() -> None:
    """Twenty treated and their 60 candidates at site a, of whom 40 have a later discharge too; 90 at site b."""
    n_peer, n_a, n_later, n_b = 20, 60, 40, 90
    people = [*range(n_peer + n_a), *range(n_peer, n_peer + n_later), *range(1000, 1000 + n_b)]
    n = len(people)
    later = range(n_peer + n_a, n_peer + n_a + n_later)
    rows = pl.DataFrame(
        {
            "row_id": range(n),
            "person_id": [f"p{number}" for number in people],
            "index_date": [date(2018, 6 if row in later else 1, 1) for row in range(n)],
            "arm": ["peer"] * n_peer + ["virtual"] * (n - n_peer),
            "age_years": [40 + number % 7 for number in range(n)],
            "distance": [float(number % 5) for number in range(n)],
            "site": ["a"] * (n - n_b) + ["b"] * n_b,
        }
    )
    methods = ["nearest_neighbour", "propensity_weighting"]
    protocol = Protocol.model_validate(PROTOCOL | {"design": {"methods": methods, "exact": ["site"]}})
    groundwork = Groundwork(rows, Contrast("peer_vs_virtual", "peer", "virtual"), protocol)
    matched, weighted = (
        summarise(choose_controls(groundwork, each), protocol) for each in protocol.design.specifications()
    )
    for entry, n_dropped in ((matched, n_later), (weighted, 0)):
        assert (entry["later_discharges"], entry["outside_exact_groups"]) == (n_dropped, n_b)
        left = entry["later_discharges"] + entry["outside_exact_groups"]
        assert entry["overlap"]["n_control_pool"] + left == n - n_peer
    content = {"accepted": True, "contrasts": [{"contrast": "c", "treated_arm": "peer", "designs": [matched]}]}
    steps = [("participants", "listed", n_peer), ("candidates", "discharged_in_window", n - n_peer)]
    attrition = pl.DataFrame(
        [
            {"step": 0, "group": group, "rule": rule, "n_discharges_removed": 0, "n_people_removed": 0,
             "n_discharges_left": left, "n_people_left": left}
            for group, rule, left in steps
        ]
    )  # fmt: skip
    flow = draw_up_flow(content, attrition, DisclosureLog(Disclosure()))
    assert flow is not None
    assert flow["unused"] == [{"rule": "later_discharge", "n": 40}, {"rule": "outside_exact_groups", "n": 90}]
    drawn = draw_flow(flow, {"treated_label": "peer"})
    assert "Not the person’s first eligible discharge: 40" in drawn
    assert "Nobody treated in the exact group: 90" in drawn
