"""The slow, obvious versions of matching and balance: plain loops over plain lists, one rule per line."""

import math
from collections.abc import Callable
from statistics import variance

from models.results import Baseline, BoolArray, FloatArray


def naive_caliper_width(baseline: Baseline, treated: BoolArray, linear: FloatArray, caliper: float) -> float:
    rows = naive_comparable(baseline, treated)
    arms = [[float(linear[i]) for i in rows if treated[i] == is_treated] for is_treated in (True, False)]
    return caliper * math.sqrt(sum(variance(arm) if len(arm) > 1 else 0.0 for arm in arms) / 2)


def naive_comparable(baseline: Baseline, treated: BoolArray) -> list[int]:
    rows = range(len(treated))
    days: dict[int, list[int]] = {}
    for i in rows:
        if treated[i]:
            days.setdefault(int(baseline.person[i]), []).append(int(baseline.index_day[i]))

    def waits(i: int) -> bool:
        return baseline.not_yet_treated and bool(baseline.index_day[i] < min(days[int(baseline.person[i])]))

    may_serve = [i for i in rows if treated[i] or int(baseline.person[i]) not in days or waits(i)]
    groups_of_treated = {baseline.exact_group[i] for i in may_serve if treated[i]}
    groups_of_controls = {baseline.exact_group[i] for i in may_serve if not treated[i]}
    return [i for i in may_serve if baseline.exact_group[i] in groups_of_treated & groups_of_controls]


def naive_nearest_neighbour(
    baseline: Baseline,
    treated: BoolArray,
    linear: FloatArray,
    *,
    ratio: int,
    width: float,
    calendar_days: float,
    replace: bool = False,
    order: str = "hardest_first",
    min_ratio: int = 1,
    covariate_calipers: dict[str, float] | None = None,
    anti_exact: tuple[str, ...] = (),
    distance: Callable[[int, int], float] | None = None,
    seeks_treated: bool = False,
) -> list[tuple[int, list[int]]]:
    """(seeking row, those chosen for it in the order chosen), in the order of the first match. Treated rows seek
    untreated ones; with `seeks_treated` the other way round."""
    day, person, group = baseline.index_day, baseline.person, baseline.exact_group
    apart = distance or (lambda i, j: abs(float(linear[i] - linear[j])))
    may_serve = set(naive_comparable(baseline, treated))
    seekers = [i for i in range(len(treated)) if treated[i] != seeks_treated and i in may_serve]
    sign = 1 if seeks_treated else -1
    seekers.sort(key=lambda i: (sign * round(float(linear[i]), 9), day[i], person[i], group[i]))
    if order == "calendar":
        seekers.sort(key=lambda i: day[i])

    def differs_enough(i: int, j: int) -> bool:
        near = all(
            abs(baseline.matrix[i, baseline.columns.index(name)] - baseline.matrix[j, baseline.columns.index(name)])
            <= limit
            for name, limit in (covariate_calipers or {}).items()
        )
        columns = [
            [k for k, column in enumerate(baseline.columns) if column == name or column.startswith(name + " = ")]
            for name in anti_exact
        ]
        return near and all(any(baseline.matrix[i, k] != baseline.matrix[j, k] for k in some) for some in columns)

    def best_for(i: int, taken: set[int]) -> tuple[float, int] | None:
        allowed = [
            (round(apart(i, j), 9), abs(day[j] - day[i]), day[j], person[j], linear[j], j)
            for j in may_serve
            if treated[j] == seeks_treated
            and group[j] == group[i]
            and person[j] not in taken
            and abs(linear[j] - linear[i]) <= width
            and abs(day[j] - day[i]) <= calendar_days
            and differs_enough(i, j)
        ]
        return (min(allowed)[0], min(allowed)[-1]) if allowed else None

    found: dict[int, list[int]] = {}
    served: set[int] = set()
    for _ in range(ratio):
        waiting = list(seekers)
        while waiting:
            i = waiting[0]
            if order == "closest_first" and not replace:
                nearest = {k: best_for(k, served) for k in waiting}
                waiting = [k for k in waiting if nearest[k]]
                if not waiting:
                    break
                i = min(waiting, key=lambda k: (nearest[k][0], seekers.index(k)))
            waiting.remove(i)
            best = best_for(i, {int(person[j]) for j in found.get(i, [])} if replace else served)
            if best:
                found.setdefault(i, []).append(best[1])
                served.add(person[best[1]])
    return [(i, found[i]) for i in seekers if len(found.get(i, [])) >= min_ratio]


def naive_mean_and_variance(values: list[float], weights: list[float]) -> tuple[float, float]:
    """Weighted mean, and the variance that divides by (Σw - Σw²/Σw) instead of Σw."""
    total = math.fsum(weights)
    mean = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / total
    squares = math.fsum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))
    return mean, squares / (total - math.fsum(w * w for w in weights) / total)
