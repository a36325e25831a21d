"""Exact effects become effects from which neither a small number of people nor anybody's value can be worked out.

Choice made. Estimates of models are no risk by themselves (OpenSAFELY, "Releasing files"; NHS Digital 2018, HES
disclosure control), but fractions of counts are, and under the ATT every estimate hides one: each treated person counts
once, so a difference and a ratio of an outcome solve to how many treated had it, whatever the method, and two such
numbers (two designs, two variants, a part and the whole) subtract to a handful. Therefore
1. a difference stands on a grid of what one person adds to it, and its standard error counts the rounding;
2. a ratio is the one that goes with that difference when the treated with the outcome are counted to the midpoint of
   six, as the curves are ("midpoint 6 derived"); where this would move it by more than a fifth of its standard error it
   is withheld: no number is better than one that says something else;
3. standard errors that are functions of counts (of ratios of shares, and of the difference where both arms are plain
   shares, as in randomised arms and pairs) are those of the same six counts, the largest of them; a ratio for which
   that is more than a quarter larger than the exact one is withheld;
4. intervals and p-values are those of the released value and standard error; where the exact interval holds no effect
   and theirs would not, the standard error is as large as it takes.
Deriving the difference itself from rounded counts was tried: 12 of 90 against 20 of 95 went from p = 0.16 to 0.04.
Nothing is rounded where the protocol suppresses nothing, as in studies of public data.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from scipy.special import stdtr

from pipelines.disclosure import is_exact, midpoint_six
from pipelines.estimates_table import NUMBERS
from pipelines.protocol import Disclosure

Row = Mapping[str, Any]
Numbers = dict[str, float | None]

DIFFERENCE_OF = {
    "risk_ratio": "risk_difference",
    "odds_ratio": "risk_difference",
    "mean_ratio": "mean_difference",
    "rate_ratio": "rate_difference",
    "mean_count_ratio": "mean_count_difference",
    "time_lost_ratio": "time_lost_difference",
}
PLAIN_RATIO = {difference: ratio for ratio, difference in DIFFERENCE_OF.items() if ratio != "odds_ratio"}
MOST_MOVED = 0.2
"""Standard errors that a ratio may be moved by before it is withheld."""
MOST_WIDENED = 1.25
"""Times that a ratio's standard error may grow by not knowing the six counts apart before it is withheld."""
COARSEST = 0.25
"""Standard errors: a grid is no coarser than this for want of knowing what one person can add to a mean."""
FACTOR_STEP = 0.05
"""To what a standard error is compared with that of plain counts: finer, it would tell the counts."""
_NORMAL = NormalDist()


def round_effects(by_scale: Mapping[str, Row], rule: Disclosure) -> dict[str, Numbers]:
    """The five numbers of each estimate as they may be released, by scale; one that is withheld is missing.

    `by_scale` are the rows of estimates.parquet of one design, method, outcome and subgroup.
    """
    by_scale = {scale: {**row, **{name: _finite(row[name]) for name in NUMBERS}} for scale, row in by_scale.items()}
    if is_exact(rule):
        return {scale: {name: row[name] for name in NUMBERS} for scale, row in by_scale.items()}
    released = {}
    for scale, row in by_scale.items():
        if row["value"] is None:
            released[scale] = dict.fromkeys(NUMBERS)
            continue
        is_ratio = scale.endswith("ratio")
        difference = by_scale.get(DIFFERENCE_OF.get(scale, "")) if is_ratio else row
        arms = _arms(by_scale, difference, rule.suppress_below) if difference is not None else None
        numbers = _ratio(row, difference, arms) if is_ratio else _difference(row, arms)
        if numbers is not None:
            released[scale] = numbers
    return released


@dataclass(frozen=True)
class _Arms:
    """Means of the treated and the controls: exact, and at the middle and the two ends of the six counts that the
    treated with the outcome are among, the controls always the released difference away. `is_table` says that both are
    plain shares of whole people."""

    exact: tuple[float, float]
    could_be: tuple[tuple[float, float], ...]
    people: tuple[float, float]
    is_table: bool

    @property
    def counted(self) -> tuple[float, float]:
        return self.could_be[0]

    def plain_error(self, shares: tuple[float, float], of_difference: float | None, scale: str) -> float:
        """The delta method's standard error of two shares on a scale. The variance of weighted controls is what the
        treated leave of that of the difference."""
        variances = [p * (1 - p) / n for p, n in zip(shares, self.people, strict=True)]
        if not self.is_table:
            variances[1] = max((of_difference or 0.0) ** 2 - variances[0], 0.0)
        slopes = [{"risk_ratio": 1 / p, "odds_ratio": 1 / (p * (1 - p))}.get(scale, 1.0) for p in shares]
        return math.sqrt(sum(v * slope**2 for v, slope in zip(variances, slopes, strict=True)))


def _arms(by_scale: Mapping[str, Row], difference: Row, enough: int) -> _Arms | None:
    """None where the difference stands alone, so that it does not solve. `enough` people have an outcome, and have it
    not, or the estimate is withheld."""
    ratio = by_scale.get(PLAIN_RATIO.get(difference["scale"], ""))
    gap, factor = difference["value"], None if ratio is None else ratio["value"]
    if ratio is None or gap is None or factor is None or factor <= 0:
        return None
    is_share = difference["scale"] == "risk_difference"
    if abs(gap) > 1e-9 and abs(factor - 1) > 1e-9:
        exact = (factor * gap / (factor - 1), gap / (factor - 1))
    elif is_share and difference["std_error"] and ratio["std_error"]:  # equal arms: only their errors tell the share
        exact = (difference["std_error"] / ratio["std_error"],) * 2
    else:
        return None
    people = (difference["n_treated"], difference["n_control"])
    if not all(people) or min(exact) <= 0 or (is_share and max(exact) >= 1):
        return None
    with_outcome = [share * n for share, n in zip(exact, people, strict=True)]
    is_table = is_share and all(abs(k - round(k)) < 1e-5 for k in with_outcome)
    known = with_outcome[0] if is_share else _finite(difference.get("fewest_events"))
    step = step_of_difference(difference)
    released_gap = round_to_step(gap, step)
    treated = _as_counted(exact[0], known, people[0])
    middle = (treated, treated - released_gap)
    if min(middle) <= 0 or (is_share and max(middle) >= 1):
        return None
    least = (enough, enough if is_table else 1)
    ends = _ends(with_outcome[0], people, released_gap, step, least) if is_share else ()
    return _Arms(exact, (middle, *ends), (midpoint_six(people[0]), midpoint_six(people[1])), is_table)


def _as_counted(mean: float, with_outcome: float | None, people: int) -> float:
    """The mean of the treated arm with its people counted to the midpoint of six: those of the arm, and those with the
    outcome, who bring what they have on average. To two digits where it is not known how many these are."""
    if not with_outcome or with_outcome < 0.5:
        return float(f"{mean:.2g}")
    return mean * (midpoint_six(with_outcome) / with_outcome) * (people / midpoint_six(people))


def _ends(
    with_outcome: float, people: tuple[int, int], gap: float, step: float, least: tuple[int, int]
) -> tuple[tuple[float, float], ...]:
    """The smallest and the largest shares of both arms that would have been counted, and rounded, as these are. At
    `least` so many people of an arm have the outcome, and have it not: an estimate on fewer is withheld, and a share of
    next to nobody has an error without end."""
    counted, whole = midpoint_six(with_outcome), midpoint_six(people[0])
    few = [min(n_least / (midpoint_six(n) + 3), 0.5) for n_least, n in zip(least, people, strict=True)]
    found = []
    for treated, beyond in (((counted - 2) / (whole + 3), -step / 2), ((counted + 3) / (whole - 2), step / 2)):
        pair = (treated, treated - gap + beyond)
        found.append((min(max(pair[0], few[0]), 1 - few[0]), min(max(pair[1], few[1]), 1 - few[1])))
    return tuple(found)


def _difference(row: Row, arms: _Arms | None) -> Numbers:
    step, error = step_of_difference(row), row["std_error"]
    if error is not None and arms is not None and arms.is_table:
        error = _error_from(row, arms, None, None)
    wider = None if error is None else math.sqrt(error**2 + step**2 / 12)  # what the rounding adds
    return _with_limits(row, round_to_step(row["value"], step), wider)


def _error_from(row: Row, arms: _Arms, exact: float | None, released: float | None) -> float:
    """The standard error of plain shares at whichever of the counts that could be has the largest, times what the exact
    one is of that of the exact shares, rounded up. `exact` and `released` are the difference's own."""
    plain = arms.plain_error(arms.exact, exact, row["scale"])
    factor = max(round_to_step(row["std_error"] / plain, FACTOR_STEP, 1), FACTOR_STEP) if plain > 0 else 1.0
    return factor * max(arms.plain_error(shares, released, row["scale"]) for shares in arms.could_be)


def _ratio(row: Row, difference: Row | None, arms: _Arms | None) -> Numbers | None:
    if difference is None:
        return _on_log_grid(row)
    error = row["std_error"]
    if arms is None:
        return _on_log_grid(row) if row["value"] > 0 and abs(math.log(row["value"])) < 1e-9 else None
    treated, control = (_odds(p) for p in arms.counted) if row["scale"] == "odds_ratio" else arms.counted
    if error and abs(math.log(treated / control / row["value"])) > MOST_MOVED * error:
        return None
    if error and difference["scale"] == "risk_difference":
        exact, error = (
            error,
            _error_from(row, arms, difference["std_error"], _difference(difference, arms)["std_error"]),
        )
        if error > MOST_WIDENED * exact:
            return None
    return _with_limits(row, treated / control, error)


def _on_log_grid(row: Row) -> Numbers:
    """A ratio that stands alone. One person adds about std_error² to the logarithm of a ratio of events (1/k where k
    people have one), and about std_error over the root of n to that of a ratio of means. The step is the larger,
    rounded up: as it is it would tell the error."""
    error, value = row["std_error"], row["value"]
    if value <= 0:
        return dict.fromkeys(NUMBERS)
    people = max(min(row["n_treated"], row["n_control"]), 1)
    step = round_step(max(error / math.sqrt(people), error**2) if error else 1 / people)
    wider = round_to_step(error, step / 4, 1) if error else None
    return _with_limits(row, math.exp(round_to_step(math.log(value), step)), wider)


def _with_limits(row: Row, value: float, error: float | None) -> Numbers:
    """Limits and p-value of the released value and error, as far from it in errors as the exact ones are. Where the
    exact interval holds no effect, the error is as large as it takes for the released one to hold it too."""
    before, exact_p = row["std_error"], row["p_value"]
    on, back = (math.log, math.exp) if row["scale"].endswith("ratio") else (float, float)
    released: Numbers = {**dict.fromkeys(NUMBERS), "value": _tidy(value)}
    centre, moved = on(row["value"]), on(value)
    limits = {name: row[name] for name in ("lower", "upper")}
    known = {name: on(x) for name, x in limits.items() if x is not None and (on is not math.log or x > 0)}
    away = {name: round((x - centre) / before, 3) for name, x in known.items()} if before and error else {}  # quantiles
    if error:
        error = three_digits(error)
        facing = away.get("lower" if moved > 0 else "upper")
        if facing and len(known) == 2 and known["lower"] <= 0 <= known["upper"]:
            error = max(error, _three_digits_up(abs(moved / facing)))
        released |= {name: _tidy(back(moved + quantile * error)) for name, quantile in away.items()}
    released["std_error"] = error
    if exact_p is not None and before and error:
        released["p_value"] = _p_value(exact_p, abs(centre) / before, abs(moved) / error)
    return released


def _p_value(exact: float, before: float, after: float) -> float:
    """The p-value of a statistic of `after` in the distribution that gave `exact` for `before`: a t where that is what
    it is, else a normal one bent to it. Three digits: with two, 0.0496 would be 0.05 beside an interval without 0."""
    if before < 1e-9 or not 1e-300 < exact < 1:
        return three_digits(2 * _NORMAL.cdf(-after))
    bent = round(-_NORMAL.inv_cdf(exact / 2) / before, 2)  # 1 for a normal distribution
    if bent < 1:
        degrees = _degrees_of_freedom(exact, before)
        return three_digits(float(2 * stdtr(degrees, -after)))
    return three_digits(2 * _NORMAL.cdf(-bent * after))


def _degrees_of_freedom(p_value: float, statistic: float) -> float:
    """Of the t distribution that gives a statistic this p-value, to two digits."""
    low, high = 1.0, 1e6  # the more, the smaller the p-value
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if 2 * stdtr(middle, -statistic) > p_value else (low, middle)
    return float(f"{low:.2g}")


def step_of_difference(row: Row) -> float:
    """What one person adds to a difference, rounded up to 1, 2 or 5 times a power of ten. One person in the smaller arm
    adds at most 1/n to a share or to a mean of events; to a mean of something else about a standard deviation over n,
    and that is the standard error over the root of n."""
    people = max(min(row["n_treated"], row["n_control"]), 1)
    one, error = 1 / people, _finite(row["std_error"])
    if row["scale"] != "risk_difference" and error:
        one = max(error / math.sqrt(people), min(one, COARSEST * error))
    return round_step(one)


def round_step(one: float) -> float:
    """1, 2 or 5 times a power of ten, the smallest that is at least `one`."""
    power = 10.0 ** math.floor(math.log10(one))
    return float(f"{next(k * power for k in (1, 2, 5, 10) if k * power >= one * (1 - 1e-9)):.3g}")


def round_to_step(value: float, step: float, towards: int = 0) -> float:
    """`value` on multiples of `step`: the nearest, or the next one down (-1) or up (1)."""
    times = round(value / step, 6)
    whole = math.floor(times + 0.5) if towards == 0 else math.floor(times) if towards < 0 else math.ceil(times)
    return float(f"{whole * step:.12g}") + 0.0


def cut_digits(content: Any) -> Any:
    """Every number in it to three digits, whole ones as they are: for what is no share and no mean of people."""
    if isinstance(content, Mapping):
        return {name: cut_digits(part) for name, part in content.items()}
    if isinstance(content, list | tuple):
        return [cut_digits(part) for part in content]
    return three_digits(content) if isinstance(content, float) and math.isfinite(content) else content


def three_digits(value: float) -> float:
    return float(f"{value:.3g}") + 0.0


def _three_digits_up(value: float) -> float:
    return round_to_step(value * (1 + 1e-6), 10.0 ** (math.floor(math.log10(value)) - 2), 1) if value > 0 else 0.0


def _tidy(value: float) -> float:
    return float(f"{value:.5g}") + 0.0


def _odds(risk: float) -> float:
    return risk / (1 - risk)


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
