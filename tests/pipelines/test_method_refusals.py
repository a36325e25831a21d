"""A design method that cannot reach its objective: an empty design, not accepted, with the method's own words."""

from datetime import date

import polars as pl

from pipelines.design import Contrast, Groundwork, choose_controls, summarise
from pipelines.disclosure import DisclosureLog
from pipelines.protocol import Disclosure, Protocol
from pipelines.report.design_facts import read_verdicts

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
