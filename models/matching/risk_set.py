"""Discharges in calendar order → each participant with controls who were eligible on the participant's own date.

Risk-set matching (Li, Propert & Rosenbaum 2001, J Am Stat Assoc 96:870): participants are served in the order of their
time zero, and whoever serves one must have reached their own time zero by then, at most `look_back_days` before it.
Nothing that happens after the participant's date decides who serves: a control whom a later participant would have
needed more is gone.

Not yet treated is judged at the control's own time zero, where the control's follow-up starts (Hernan & Robins 2016, Am
J Epidemiol 183:758), and not on the participant's date or over a time to come: who is treated at a later discharge was
readmitted first, so such a rule would leave out readmissions (tests/truth/test_not_yet_treated.py).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from models.matching.distances import Distance, coordinates
from models.matching.nearest import choose, facts_of
from models.matching.rules import (
    as_codes,
    caliper_width,
    check_days,
    hardest_first,
    make_rules,
    pooled_sd,
)
from models.matching.sets import number_sets, weights_of_seekers
from models.propensity import NEVER, comparable_rows, day_of_treatment
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, IntArray, Propensity

Serves = Literal["once", "each_discharge"]


def risk_set_matching(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    ratio: int = 1,
    min_ratio: int = 1,
    look_back_days: int | None = 365,
    look_ahead_days: int = 0,
    person_serves: Serves = "once",
    distance: Distance = "log_odds",
    distance_covariates: Sequence[str] = (),
    caliper: float | None = 0.2,
    covariate_calipers: Mapping[str, float] | None = None,
    anti_exact: Sequence[str] = (),
) -> Design:
    """Match participants in the order of their `index_day`, each with up to `ratio` controls at once.

    look_back_days, look_ahead_days  a control's index_day lies at most so many days before (None: any number) and after
                                     the participant's; 0 ahead: only who had been discharged by then
    person_serves   once: a person serves one participant with one discharge; each_discharge: with each discharge once,
                    for another participant or the same one (errors are then clustered by person and set together)
    Other options as in `nearest_neighbour`. Ties between participants of one day: higher log-odds, lower person code.
    Where `baseline.not_yet_treated` says so, discharges of later participants before their own treated one serve like
    any other, but never the participant themselves.

    Returns weights and sets as `nearest_neighbour` does. `rng` is not used; the order of rows does not matter.

    Raises ValueError for another estimand than the ATT, for limits that make no sense; Refused without any dates.
    """
    _refuse_bad_options(estimand, ratio, min_ratio, person_serves)
    for name, days in [("look_back_days", look_back_days), ("look_ahead_days", look_ahead_days)]:
        check_days(name, days)
    if len(baseline.index_day) and not np.ptp(baseline.index_day):
        raise Refused("risk_set_matching needs the dates of time zero, and all of them are the same day")
    usable = comparable_rows(baseline, treated)
    rules = make_rules(
        baseline,
        propensity,
        caliper_width(propensity.linear, treated, usable, caliper),
        days=(look_back_days, look_ahead_days),
        covariate_calipers=covariate_calipers,
        anti_exact=anti_exact,
    )
    place = coordinates(baseline, treated, usable, distance, distance_covariates)
    seekers = hardest_first(baseline, propensity.linear, np.flatnonzero(usable & treated))
    seekers = seekers[np.argsort(baseline.index_day[seekers], kind="stable")]
    person = as_codes(baseline.person)
    server = person if person_serves == "once" else np.arange(len(treated))
    wanted = np.full(len(seekers), ratio, dtype=np.int64)
    pool = np.flatnonzero(usable & ~treated)
    chosen = choose(rules, place, person, server, seekers, pool, wanted, False, "calendar", all_at_once=True)
    chosen[(chosen >= 0).sum(axis=1) < min_ratio] = -1
    notes: dict[str, float | str] = {
        "caliper_width": "none" if caliper is None else float(rules.width),
        "log_odds_sd": pooled_sd(propensity.linear, treated, usable),
        "distance": distance,
        "n_controls_who_take_part_later": _n_treated_later(baseline, treated, chosen[chosen >= 0]),
        **facts_of(chosen, wanted, treated, usable),
    }
    weights = weights_of_seekers(seekers, chosen, len(treated))
    matched_set = number_sets(seekers, chosen, len(treated))
    return Design("risk_set_matching", estimand, treated, propensity.score, weights, matched_set, notes)


def _refuse_bad_options(estimand: Estimand, ratio: int, min_ratio: int, person_serves: str) -> None:
    if estimand != "ATT":
        raise ValueError(f"risk_set_matching chooses controls for the treated: the estimand is the ATT, not {estimand}")
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    if not 1 <= min_ratio <= ratio:
        raise ValueError(f"min_ratio must be from 1 to ratio ({ratio}), not {min_ratio}")
    if person_serves not in ("once", "each_discharge"):
        raise ValueError(f"person_serves must be once or each_discharge, not {person_serves!r}")


def _n_treated_later(baseline: Baseline, treated: BoolArray, controls: IntArray) -> int:
    return int((day_of_treatment(baseline, treated)[controls] != NEVER).sum())
