"""Eligible rows with missing covariates → completed copies of them, and their designs → one that speaks for all.

Choice made ("within", Leyrat et al. 2019, Stat Methods Med Res 28:3; Granger, Sergeant & Lunt 2019, Stat Med 38:5120):
design and effect are made in each copy and the effects are pooled; scores are never averaged. The arm is among the
predictors, outcomes are not, although Leyrat et al. would have them: the design does not see outcomes, and an
imputation that did would carry them into it. The price is that imputed values are less related to the outcome than
the real ones were, so that some confounding by the covariate stays where it was missing; regressions of the outcome
may have values imputed once more for them (`complete_given_outcome`).

A design is accepted when it is in every copy: each threshold is judged by the worst copy.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator

from models.imputation import Incomplete, impute
from models.refusals import Refused
from models.results import FloatArray
from pipelines.design_matrix import build_baseline, complete_rows
from pipelines.errors import ProtocolError
from pipelines.protocol import Protocol

WORST_IS_LARGEST = ("max_control_weight_share", "c_statistic_before")
SAME_IN_ALL = ("n_treated",)
OUTCOME = ":outcome"


def is_imputed(protocol: Protocol) -> bool:
    """Whether any covariate is to be imputed."""
    return bool(protocol.covariates.named_with("multiple_imputation"))


def within_a_copy(protocol: Protocol) -> Protocol:
    """The protocol as it holds within one completed copy: nothing that was imputed is missing any more."""
    chosen = protocol.covariates
    done = dict.fromkeys(chosen.named_with("multiple_imputation"), "refuse")
    missing = "indicator" if chosen.missing == "multiple_imputation" else chosen.missing
    completed = chosen.model_copy(update={"missing": missing, "missing_of": {**chosen.missing_of, **done}})
    return protocol.model_copy(update={"covariates": completed})


def complete_copies(
    rows: pl.DataFrame, protocol: Protocol, rng_of: Callable[[int], Generator]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Copy 1, 2, ...: `rows` (all eligible rows of all arms: cohort columns and covariates, no outcome) with the
    covariates to be imputed completed. Rows that leave for want of another covariate (complete_case) take no part and
    stay as they are. The order of the rows does not matter.

    Raises ProtocolError where a covariate has no value at all.
    """
    ordered, leave = _in_their_order(rows, protocol)
    predictors = _predictors(ordered, protocol)
    for number in range(1, protocol.covariates.imputation.copies + 1):
        try:
            completed = _complete(ordered, predictors, protocol, rng_of(number))
        except Refused as error:
            raise ProtocolError(f"covariates: {error}") from None
        yield number, pl.concat([completed, leave]).sort(":place").drop(":place")


def complete_given_outcome(rows: pl.DataFrame, outcome: FloatArray, protocol: Protocol, rng: Generator) -> pl.DataFrame:
    """The rows whose outcome was observed ((n,) numbers, NaN where not), completed as a copy is, with the outcome and
    its product with each arm among the predictors. For regressions of that outcome only, never for a design.

    Raises Refused where a covariate has no value among them: how many were observed is not known before outcomes are
    opened, so that this is no error of the protocol.
    """
    observed = rows.with_columns(pl.Series(OUTCOME, outcome)).filter(pl.col(OUTCOME).is_finite())
    _refuse_empty(observed, protocol)
    ordered, _ = _in_their_order(observed, protocol)
    values, arms = ordered[OUTCOME].to_numpy()[:, None], _arms(ordered)
    predictors = np.column_stack([_predictors(ordered, protocol), values, values * arms])
    return _complete(ordered, predictors, protocol, rng).drop(":place", OUTCOME)


def _refuse_empty(observed: pl.DataFrame, protocol: Protocol) -> None:
    chosen = protocol.covariates
    named = dict.fromkeys((*chosen.numeric, *chosen.categorical, *protocol.design.exact))
    empty = [name for name in named if name in observed.columns and observed[name].is_null().all()]
    if empty:
        raise Refused(
            f"covariates cannot be imputed with this outcome: nobody in whom it was observed has a value of "
            f"{', '.join(empty)}"
        )


def _in_their_order(rows: pl.DataFrame, protocol: Protocol) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to be completed in an order of their own, numbered by `:place`, and those that leave before that."""
    everybody = rows.with_row_index(":place").sort("person_id", "index_date", "arm", "row_id")
    ordered = complete_rows(everybody, protocol.covariates.named_with("complete_case"))
    return ordered, everybody.join(ordered.select(":place"), on=":place", how="anti")


def _complete(ordered: pl.DataFrame, predictors: FloatArray, protocol: Protocol, rng: Generator) -> pl.DataFrame:
    chosen = protocol.covariates
    names = [name for name in chosen.named_with("multiple_imputation") if name in ordered.columns]
    incomplete = [_as_incomplete(ordered[name], name in chosen.categorical) for name in names]
    settings = chosen.imputation
    completed = impute(incomplete, predictors, rng=rng, iterations=settings.iterations, donors=settings.donors)
    return ordered.with_columns(
        _as_column(values, ordered[name], name in chosen.categorical)
        for name, values in zip(names, completed, strict=True)
    )


def _as_incomplete(values: pl.Series, is_category: bool) -> Incomplete:
    if is_category:
        levels = _levels(values)
        coded = values.cast(pl.String).replace_strict(levels, range(len(levels)), return_dtype=pl.Float64)
        return Incomplete(values.name, _floats(coded), "category")
    numbers = _floats(values.cast(pl.Float64))
    return Incomplete(values.name, numbers, "indicator" if values.dtype == pl.Boolean else "number")


def _levels(values: pl.Series) -> list[str]:
    return sorted(values.cast(pl.String).drop_nulls().unique().to_list())


def _floats(values: pl.Series) -> FloatArray:
    return np.array(values.fill_null(float("nan")).to_numpy(), dtype=np.float64)


def _as_column(values: FloatArray, original: pl.Series, is_category: bool) -> pl.Series:
    if original.dtype == pl.Boolean and not is_category:
        return pl.Series(original.name, values == 1.0)
    if is_category:
        return pl.Series(original.name, np.array(_levels(original))[values.astype(np.int64)]).cast(original.dtype)
    return pl.Series(original.name, values).cast(original.dtype)  # only values that occur: nothing is cut


def _predictors(rows: pl.DataFrame, protocol: Protocol) -> FloatArray:
    """The arm, the exact columns, and the covariates whose missing values are used in another way."""
    chosen = protocol.covariates
    imputed = set(chosen.named_with("multiple_imputation"))
    kept = {
        form: tuple(name for name in getattr(chosen, form) if name not in imputed)
        for form in ("numeric", "squared", "categorical", "is_zero")
    }
    indicators = _arms(rows)
    exact = [name for name in protocol.design.exact if name not in imputed]  # else it would predict itself
    if not (kept["numeric"] or kept["categorical"] or exact or chosen.codes):
        return indicators
    others = build_baseline(rows, chosen.model_copy(update=kept), exact, may_be_empty=True)
    return np.column_stack([indicators, others.matrix])


def _arms(rows: pl.DataFrame) -> FloatArray:
    """(n, arms - 1) an indicator of each arm but the first."""
    arms = sorted(rows["arm"].unique().to_list())[1:]
    columns = ((rows["arm"] == arm).cast(pl.Float64).to_numpy()[:, None] for arm in arms)
    return np.column_stack([np.ones((rows.height, 0)), *columns])


def pool_designs(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What design.json says of all copies together: means of what describes, the worst of what is judged."""
    pooled = deepcopy(summaries[0])
    for place, contrast in enumerate(pooled["contrasts"]):
        by_copy = [summary["contrasts"][place]["designs"] for summary in summaries]
        contrast["designs"] = [_pool_entries(entries) for entries in zip(*by_copy, strict=True)]
    pooled["accepted"] = bool(pooled["contrasts"][0]["designs"][0]["accepted"])
    return pooled


def with_verdicts_of(pooled: Mapping[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """One copy's summary, with a design accepted only where it is in all copies."""
    said = deepcopy(summary)
    for contrast, of_all in zip(said["contrasts"], pooled["contrasts"], strict=True):
        for entry, together in zip(contrast["designs"], of_all["designs"], strict=True):
            entry["accepted"] = together["accepted"]
            entry["verdicts"] = together["verdicts"]
    said["accepted"] = pooled["accepted"]
    return said


def _pool_entries(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = deepcopy(entries[0])
    first["accepted"] = all(entry["accepted"] for entry in entries)
    first["imputations"] = len(entries)
    first["notes"] = _mean([entry["notes"] for entry in entries])
    first["verdicts"] = _worst_verdicts([entry["verdicts"] for entry in entries])
    first["balance"] = _pool_balance([entry["balance"] for entry in entries])
    if first["overlap"] is not None:
        first["overlap"] = {name: _worst_overlap(name, entries) for name in first["overlap"]}
    if first["diagnostics"] is not None:
        first["diagnostics"] = _pool_diagnostics([entry["diagnostics"] for entry in entries])
    # The copy with most candidates outside is that with the smallest pool: both together are the same in all.
    first["outside_exact_groups"] = max(entry["outside_exact_groups"] for entry in entries)
    return first


def _pool_diagnostics(of_copies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Averages; products as in the copy where they are worst; of those left out the most, their means averaged."""
    pooled: dict[str, Any] = _mean(of_copies)
    if "products" in pooled:
        pooled["products"] = max((one["products"] for one in of_copies), key=lambda found: found["max_abs_smd"])
    if "generalisability" in pooled:
        parts = [one["generalisability"] for one in of_copies]
        pooled["generalisability"] |= {
            "index": min(part["index"] for part in parts),
            "n_left_out": max(part["n_left_out"] for part in parts),
            "max_abs_smd": max(part["max_abs_smd"] for part in parts),
            "rows": _mean_by_covariate([part["rows"] for part in parts]),
            "n_untreated_left_out": max(part["n_untreated_left_out"] for part in parts),
            "untreated_rows": _mean_by_covariate([part["untreated_rows"] for part in parts]),
        }
    return pooled


def _mean_by_covariate(of_copies: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Means over the copies that have one: in a copy that left nobody out, there is none of those left out."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for rows in of_copies:
        for row in rows:
            by_name.setdefault(row["covariate"], []).append(row)
    pooled = []
    for covariate, rows in by_name.items():
        means = {
            name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0] if name != "covariate"
        }
        pooled.append({"covariate": covariate} | {n: float(np.mean(v)) if v else math.nan for n, v in means.items()})
    return pooled


def _worst_verdicts(of_copies: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each check once: the copy furthest from passing."""
    found: dict[str, list[dict[str, Any]]] = {}
    for verdicts in of_copies:
        for verdict in verdicts:
            found.setdefault(verdict["check"], []).append(verdict)
    return [min(verdicts, key=_distance_to_passing) for verdicts in found.values()]


def _distance_to_passing(verdict: Mapping[str, Any]) -> tuple[bool, float]:
    value = verdict["value"]
    if value is None or math.isnan(value):
        return bool(verdict["passed"]), -math.inf
    return bool(verdict["passed"]), -value if verdict["check"].startswith("max_") else value


def _pool_balance(of_copies: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """By covariate: means averaged; standardised difference, distance and variance ratio after the design the worst."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for rows in of_copies:
        for row in rows:
            by_name.setdefault(row["covariate"], []).append(row)
    pooled = []
    for rows in by_name.values():
        mean = _mean(rows)
        for name, size in (("smd_after", abs), ("ks_after", abs), ("variance_ratio_after", _off_one)):
            mean[name] = max((row[name] for row in rows), key=lambda value, size=size: size(value))  # type: ignore[misc]
        pooled.append(mean)
    return pooled


def _off_one(ratio: float) -> float:
    return abs(math.log(ratio)) if ratio > 0 else (math.inf if ratio == 0 else -1.0)


def _worst_overlap(name: str, entries: Sequence[Mapping[str, Any]]) -> float:
    values: list[float] = [entry["overlap"][name] for entry in entries]
    if name in SAME_IN_ALL:
        return values[0]
    return max(values) if name in WORST_IS_LARGEST else min(values)


def _mean(parts: Sequence[Any]) -> Any:
    """Numbers averaged inside nested dicts; lists and texts as in the first."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: _mean([part[name] for part in parts if name in part]) for name in first}
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    average = float(np.mean([float(part) for part in parts]))
    return round(average) if isinstance(first, int) else average
