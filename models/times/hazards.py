"""Turns days to readmission, death or the end of follow-up into hazard ratios of the two arms.

Choice made: a weighted Cox model with treatment as covariate, its error from each row's influence summed by person and
matched set (Lin & Wei 1989, JASA 84:1074; for matched samples Austin & Small 2014, Stat Med 33:4306), propensity
weights counting as estimated (Hajage et al. 2018, Biometrics 74:1036). A hazard ratio is an average over follow-up and
compares people who are still at risk, who are no longer the people the design balanced: beside it stands a test of
proportional hazards, and the risks are what to report first.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from models.contrasts import check_confidence, effective_n_of
from models.estimated_weights import model_weights
from models.influence import find_clusters, robust_covariance
from models.results import Baseline, Design, Estimate, FloatArray, IntArray, Scale
from models.times.censoring import (
    Censoring,
    censoring_weights,
    check_censoring,
    describe_weights,
    of_rows,
    weighted_pieces,
    whole_rows,
)
from models.times.cox import AtRisk, CoxFit, NotEstimableError, Ties, fit_cox
from models.times.events import CENSORED, DIED, FEWEST, READMITTED, Event, TimeEffect, TimeEffects, within_horizon
from models.times.fine_gray import CensoringBy, fit_fine_gray
from models.times.proportional import proportional_hazards_p, trend_p

TREND_NEEDS = 10
"""Events in each arm before proportional hazards are tested: on one or two the statistic is the same on whatever days
they fall, and its p-value tells how few they are."""

WORDS: dict[Event, str] = {
    "readmitted": "readmission",
    "died": "death",
    "readmitted_or_died": "readmission or death",
}


def cox(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    ties: Ties = "efron",
    adjust: bool = False,
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """Hazard ratio of readmission or death, whichever comes first.

    day, event  as in `models.times.risks.cumulative_incidence`
    ties        events on one day: "efron" or "breslow"
    censoring   "none": whoever is lost to observation is like those who stay, in each arm; "weights": like those who
                stay and are alike in the covariates: everybody at risk counts one over the probability of being still
                observed, which changes as time goes on (models/times/censoring.py); its estimation is in the error
    adjust      whether the model also holds the baseline covariates. The ratio is then one among people of the same
                covariates, which differs from the marginal one even without confounding.

    A ratio that is not finite (no event in an arm) is nan with a note. The note `proportional_hazards_p` is the p-value
    of the robust test of models/times/proportional.py, where each arm has TREND_NEEDS events. Rows of weight 0 are not
    looked at.
    Raises ValueError on days, events or designs out of range.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, adjust, weighting)
    return study.effects("cox", {"readmitted_or_died": (READMITTED, DIED)}, study.cox(ties))


def cause_specific_cox(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    ties: Ties = "efron",
    adjust: bool = False,
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """Hazard ratios of readmission and of death before readmission, each among those without either so far.

    Both are needed: a treatment that prevents deaths leaves more people to be readmitted (Latouche et al. 2013, J Clin
    Epidemiol 66:648). Arguments and errors as in `cox`.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, adjust, weighting)
    return study.effects("cause_specific_cox", {"readmitted": (READMITTED,), "died": (DIED,)}, study.cox(ties))


def fine_gray(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    ties: Ties = "efron",
    adjust: bool = False,
    censoring_by: CensoringBy = "arm",
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """Subdistribution hazard ratio of readmission: the dead stay at risk, so it orders the cumulative incidences.

    censoring_by  "arm" estimates the curve of being still observed in each arm, "everybody" in both together
    censoring     "none": whoever is lost to observation is like those who stay, of that curve; "weights": like those of
                  the arm who stay and are alike in the covariates. Then everybody at risk counts one over the
                  probability of being still observed, and the dead that of the day they died, to the end (Robins &
                  Finkelstein 2000; with weights that fall as Fine and Gray's do, He et al. 2016, Scand J Stat 43:103,
                  the ratio would need the covariates in the model); its estimation is in the error

    It says in which direction the share of readmitted differs and, taken as a size, only means something for the
    incidence curve (Austin & Fine 2017, Stat Med 36:4391). Other arguments and errors as in `cox`; the estimation of
    the censoring curve is part of the error, and of that of the test of proportional hazards.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, adjust, weighting)
    if censoring_by not in ("arm", "everybody"):
        raise ValueError(f'censoring_by must be "arm" or "everybody", not {censoring_by!r}')
    scale: Scale = "subdistribution_hazard_ratio"
    if censoring == "weights":
        if censoring_by != "arm":
            raise ValueError('with censoring = "weights" each arm has its own model: leave censoring_by at "arm"')
        return study.effects("fine_gray", {"readmitted": (READMITTED,)}, study.cox(ties, dead_stay=True), scale)
    group = study.treated.astype(np.int64) if censoring_by == "arm" else np.zeros(study.used.size, dtype=np.int64)

    def fit(causes: tuple[int, ...]) -> tuple[FloatArray, FloatArray, float]:
        found = fit_fine_gray(
            study.day, study.event, causes[0], study.weights, group, study.covariates, horizon, ties=ties
        )
        can_be_tested = found.fit.days.day.size > 1
        p_value = (
            trend_p(found.trend, found.trend_per_weight, study.used, study.model, study.clusters)
            if can_be_tested
            else float("nan")
        )
        return found.fit.coefficients, found.per_weight, p_value

    return study.effects("fine_gray", {"readmitted": (READMITTED,)}, fit, scale)


Fit = Callable[[tuple[int, ...]], tuple[FloatArray, FloatArray, float]]
"""Causes → (coefficients, (m, p) derivatives by the weights, p-value of proportional hazards or nan)."""


class _Study:
    """Checked times of the rows of one design; treatment is the first covariate."""

    def __init__(
        self,
        day: FloatArray,
        event: IntArray,
        baseline: Baseline,
        design: Design,
        horizon: int,
        confidence: float,
        adjust: bool,
        weighting: tuple[Censoring, float, float] = ("none", 1.0, 10.0),
    ) -> None:
        check_confidence(confidence)
        check_censoring(weighting[0])
        day, event = within_horizon(day, event, design, horizon)
        self.design, self.horizon, self.confidence, self.event_of_all = design, horizon, confidence, event
        self.used = np.flatnonzero(design.weights > 0)
        self.day, self.event, self.weights = day[self.used], event[self.used], design.weights[self.used]
        self.treated = design.treated[self.used]
        others = baseline.matrix[self.used] if adjust else np.zeros((self.used.size, 0))
        self.covariates = np.column_stack([self.treated.astype(np.float64), others])
        self.clusters = find_clusters(baseline, design)
        self.model = model_weights(baseline, design, "estimated")
        self.by, self.pieces = None, whole_rows(self.day)
        if weighting[0] == "weights":
            self.by = censoring_weights(
                day, event, baseline.matrix, design, horizon, l2_penalty=weighting[1], largest=weighting[2]
            )
            self.pieces = weighted_pieces(self.day, self.by, weighting[2])

    def cox(self, ties: Ties, *, dead_stay: bool = False) -> Fit:
        """A Cox model that takes every other event as the end of being at risk, or, if `dead_stay`, leaves whoever had
        one at risk to the end with the weight of that day: then of the subdistribution hazard."""

        parts = self.pieces

        def fit(causes: tuple[int, ...]) -> tuple[FloatArray, FloatArray, float]:
            has_event = np.isin(self.event, causes)[parts.owner] & parts.is_last
            weights = self.weights[parts.owner] * parts.weight
            stays = ~np.isin(self.event, (CENSORED, *causes))[parts.owner] & parts.is_last & dead_stay
            stop = np.where(stays, self.horizon, parts.stop)
            rows = AtRisk(parts.start, stop, has_event, weights, np.zeros(weights.size, dtype=np.int64))
            covariates = self.covariates[parts.owner]
            fitted: CoxFit = fit_cox(rows, covariates, ties=ties)
            p_value = proportional_hazards_p(
                fitted, rows, covariates, self.used[parts.owner], parts.weight, self.model, self.clusters
            )
            moves = of_rows(fitted.per_weight, parts, self.by, self.weights)
            return fitted.coefficients, moves, p_value

        return fit

    def effects(
        self, method: str, events: dict[Event, tuple[int, ...]], fit: Fit, scale: Scale = "hazard_ratio"
    ) -> TimeEffects:
        """One ratio an event, with a remark on proportional hazards."""
        made: list[TimeEffect] = []
        remarks: list[str] = []
        for event, causes in events.items():
            try:
                self._expect_events(causes)
                coefficients, per_weight, p_value = fit(causes)
            except NotEstimableError as error:
                made.append(TimeEffect(event, self.horizon, (self._estimate(method, scale, why_not=str(error)),)))
                continue
            fewest = min(self._n_events(causes))
            if fewest < TREND_NEEDS:
                p_value = float("nan")
            estimate = self._estimate(method, scale, float(coefficients[0]), per_weight[:, 0], p_value)
            estimate = replace(estimate, notes={**estimate.notes, FEWEST: float(fewest)})
            made.append(TimeEffect(event, self.horizon, (estimate,)))
            if np.isfinite(p_value):
                remarks.append(_remark(event, p_value, scale))
        if self.by is not None:
            remarks.append(describe_weights(self.by, self.event_of_all))
        return TimeEffects(tuple(made), remarks=tuple(remarks))

    def _expect_events(self, causes: tuple[int, ...]) -> None:
        if min(self._n_events(causes)) == 0:
            raise NotEstimableError("nobody in one of the arms has the event")

    def _n_events(self, causes: tuple[int, ...]) -> tuple[int, int]:
        has_event = np.isin(self.event, causes)
        return int(has_event[self.treated].sum()), int(has_event[~self.treated].sum())

    def _estimate(
        self,
        method: str,
        scale: Scale,
        coefficient: float = float("nan"),
        per_weight: FloatArray | None = None,
        p_value: float = float("nan"),
        why_not: str = "",
    ) -> Estimate:
        notes: dict[str, float | str] = {"variance": self.model.says, "n_clusters": float(self.clusters.count)}
        std_error = float("nan")
        if per_weight is not None:
            std_error = self._error(per_weight)
            if not std_error > 0:
                std_error = float("nan")
                notes["not_estimable"] = "the error: too few people or sets with events"
            if np.isfinite(p_value):
                notes["proportional_hazards_p"] = p_value
        else:
            notes["not_estimable"] = why_not
        reach = float(ndtri(0.5 + self.confidence / 2)) * std_error
        return Estimate(
            method=method,
            estimand=self.design.estimand,
            scale=scale,
            value=float(np.exp(coefficient)),
            std_error=std_error,
            lower=float(np.exp(coefficient - reach)),
            upper=float(np.exp(coefficient + reach)),
            p_value=float(2 * ndtr(-abs(coefficient) / std_error)),
            n_treated=int(self.treated.sum()),
            n_control=int((~self.treated).sum()),
            effective_n=effective_n_of(self.design),
            notes=notes,
        )

    def _error(self, per_weight: FloatArray) -> float:
        moves = np.zeros((self.design.weights.size, 1))
        moves[self.used, 0] = per_weight
        influence = np.zeros_like(moves)
        for arm in (self.design.treated, ~self.design.treated):
            influence += self.model.influence(np.where(arm[:, None], moves, 0.0), arm)
        return float(np.sqrt(robust_covariance(influence, self.clusters)[0, 0]))


def _remark(event: Event, p_value: float, scale: Scale) -> str:
    verdict = (
        "the ratio changes during follow-up and is an average over it"
        if p_value < 0.05
        else "no change was found, and only a large one would have been"
    )
    shown = "< 0.001" if p_value < 0.0005 else f"= {p_value:.3f}"
    return f"{scale.replace('_', ' ')} of {WORDS[event]}: test of proportional hazards p {shown}, {verdict}"
