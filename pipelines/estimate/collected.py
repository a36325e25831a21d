"""What the estimate stage works on and what it collects.

`fewest_events` of an estimate, where it is known, is how many people had the event in the arm with fewest of those that
have any; of a yes-or-no outcome, how many had it or had it not, whichever are fewer.

`fewest_apart`, of an outcome that is compared over longer windows too, is how many people of the arm with fewest of
those that have any differ between it and one of these, and could be summed up by subtraction.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import polars as pl

from models.results import Baseline, Design, Estimate, FloatArray
from models.times.events import CENSORING_NOTE, FEWEST, fewest_of
from pipelines.design import Contrast
from pipelines.estimates_table import EXACT_SCHEMA

FREEDOM = {"df_complete": pl.Float64}
"""A column that only the pooling of imputations looks at; no file holds it."""
REGRESSIONS = ("g_computation", "adjusted_regression", "aipw", "tmle")
"""Effect methods that look at covariates beside the outcome, and may have them imputed with it."""
_WINDOW = re.compile(r"(.+)_(\d+)d")
CURVE_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "design": pl.String,
    "method": pl.String,
    "arm": pl.String,
    "day": pl.Float64,
    "incidence": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "band_lower": pl.Float64,
    "band_upper": pl.Float64,
    "at_risk": pl.Float64,
}
DIFFERENCE_SCHEMA = {name: kind for name, kind in CURVE_SCHEMA.items() if name not in ("arm", "incidence", "at_risk")}
DIFFERENCE_SCHEMA |= {"value": pl.Float64}
ANALYSED_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "design": pl.String,
    "method": pl.String,
    "check": pl.String,
    "limit": pl.Float64,
    "value": pl.Float64,
    "passed": pl.Boolean,
    "n_unobserved": pl.Int64,
}


@dataclass(frozen=True)
class AcceptedDesign:
    """One design of one contrast, ready for outcomes: rows in the order of baseline and design. `name` is the
    specification's, which is the method's unless the protocol lists the method more than once. `regressed` gives the
    covariates that regressions of an outcome are to have, where they are not those of the design. `flagged` is the
    baseline with those told apart whose value of a subgroup's covariate was filled in, where they are too few for the
    design to do so."""

    name: str
    contrast: Contrast
    row_id: pl.Series
    baseline: Baseline
    design: Design
    is_primary: bool
    reference_levels: Mapping[str, str] = field(default_factory=dict)
    regressed: Callable[[str], Baseline] | None = None
    flagged: Baseline | None = None

    def for_method(
        self, method: str, outcome: str, baseline: Baseline, options: dict[str, Any]
    ) -> tuple[Baseline, dict[str, Any]]:
        """The baseline and options that a method is to be given: `baseline` (of the rows of the design) and `options`
        themselves, unless it is a regression with covariates of its own. Weights then count as fixed, since
        those covariates do not tell how the weights were made.

        Raises Refused where the covariates cannot be made.
        """
        if self.regressed is None or method not in REGRESSIONS:
            return baseline, options
        own = self.regressed(outcome)
        fixed = {"weights_are": "fixed"} if "weights_are" in options else {}
        return replace(baseline, matrix=own.matrix, columns=own.columns), options | fixed

    @property
    def baseline_for_forests(self) -> Baseline:
        return self.baseline if self.flagged is None else self.flagged


@dataclass
class Results:
    """What the estimate stage collects."""

    estimates: list[dict[str, Any]] = field(default_factory=list)
    curves: list[pl.DataFrame] = field(default_factory=list)
    differences: list[pl.DataFrame] = field(default_factory=list)
    mean_counts: list[pl.DataFrame] = field(default_factory=list)
    analysed: list[dict[str, Any]] = field(default_factory=list)
    sites: dict[str, Any] | None = None
    notes: list[dict[str, str]] = field(default_factory=list)
    heterogeneity: dict[str, Any] = field(default_factory=dict)
    individual: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"row_id": pl.Int64, "effect": pl.Float64, "lower": pl.Float64, "upper": pl.Float64}
        )
    )

    @contextmanager
    def named(self, accepted: AcceptedDesign, effect: str | None = None, method: str | None = None) -> Iterator[None]:
        """What is collected meanwhile goes by the design's name and not its method's; with `effect`, what `method`
        gives goes by that name, and individual effects and curves stay those of the protocol's own methods."""
        lists = {one.name: getattr(self, one.name) for one in fields(self) if isinstance(getattr(self, one.name), list)}
        lengths, individual = {name: len(items) for name, items in lists.items()}, self.individual
        heterogeneity = dict(self.heterogeneity)
        yield
        for name, items in lists.items():
            for place in range(lengths[name], len(items)):
                items[place] = _renamed(items[place], accepted.name, effect, method)
        if effect is not None:
            self.individual, self.heterogeneity = individual, heterogeneity
            for name, items in lists.items():
                if items and isinstance(items[-1], pl.DataFrame):
                    del items[lengths[name] :]


def _renamed(item: Any, design: str, effect: str | None, method: str | None) -> Any:
    if isinstance(item, pl.DataFrame):
        return item.with_columns(design=pl.lit(design)) if "design" in item.columns else item
    if item.get("design"):
        item["design"] = design
    if effect is not None and item.get("method") == method:
        item["method"] = effect
    return item


def row_of(
    accepted: AcceptedDesign, outcome: str, estimate: Estimate, n_unobserved: int, df_complete: float
) -> dict[str, Any]:
    """A row of the estimates. `n_unobserved` people of the design are not among its people; `df_complete` are the
    degrees of freedom that the comparison has, were nothing missing (models.influence.degrees_of_freedom)."""
    values = {name: value for name, value in asdict(estimate).items() if name in EXACT_SCHEMA}
    place = {"contrast": accepted.contrast.name, "outcome": outcome, "design": accepted.design.method}
    fewest = estimate.notes.get("n_events_in_the_arm_with_fewest")
    counts = {"n_unobserved": n_unobserved, "fewest_events": None if fewest is None else int(fewest)}
    return {**values, **place, **counts, "df_complete": df_complete}


def say_stood_for(n_never: int, *, are_counted: bool = True) -> list[str]:
    """What a method that weights for the end of observation says of those never observed."""
    if n_never == 0:
        return []
    among = "they are among the people of this estimate, and " if are_counted else ""
    return [f"of {n_never} people of the design nothing was observed; {among}others stand for them"]


def with_fewest(estimates: Iterable[Estimate], values: FloatArray, design: Design, kind: str) -> tuple[Estimate, ...]:
    """The estimates of everybody in the design, told on how few people they rest: those above 0 in either arm, and for
    a binary outcome those at 0, of those observed. An estimate whose method tells keeps what it said."""
    arms = [values[(design.weights > 0) & arm & np.isfinite(values)] for arm in (design.treated, ~design.treated)]
    counts = [(of_arm > 0).sum() for of_arm in arms]
    if kind == "binary":
        counts += [(of_arm == 0).sum() for of_arm in arms]
    told = {FEWEST: fewest_of(counts)}
    return tuple(replace(item, notes={**told, **item.notes}) if item.subgroup == "all" else item for item in estimates)


def fewest_apart(of_rows: pl.DataFrame, outcome: str, compared: Iterable[str], design: Design) -> int | None:
    """The smallest number of people, in the arm with fewest of those that have any, whose value over the window of
    `outcome` is not that over a longer window of the outcomes `compared`; None where all have the same."""
    named = _WINDOW.fullmatch(outcome)
    if named is None:
        return None
    found = []
    for other in compared:
        longer = _WINDOW.fullmatch(other)
        if longer is None or longer[1] != named[1] or int(longer[2]) <= int(named[2]):
            continue
        differs = (
            (of_rows[outcome].cast(pl.Float64) != of_rows[other].cast(pl.Float64)).fill_null(value=False).to_numpy()
        )
        inside = differs & (design.weights > 0)
        found.append(fewest_of((inside & arm).sum() for arm in (design.treated, ~design.treated)))
    return min((int(count) for count in found if count > 0), default=None)


def remarks_of(estimates: Iterable[Estimate]) -> list[str]:
    """What notes of estimates say to the reader of the report, each sentence once."""
    found = [str(item.notes[key]) for item in estimates for key in (CENSORING_NOTE, "warning") if key in item.notes]
    return list(dict.fromkeys(found))


def note_of(contrast: str, outcome: str, design: str, method: str, note: str) -> dict[str, str]:
    return {"contrast": contrast, "outcome": outcome, "design": design, "method": method, "note": note}


def task_of(accepted: AcceptedDesign, outcome: str, method: str) -> str:
    """What an error that is no refusal says it happened in (`pipelines.errors.naming`)."""
    return f"{method} of {outcome} on the design {accepted.name} of {accepted.contrast.name}"
