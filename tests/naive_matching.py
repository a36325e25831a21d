"""The slow, obvious versions of matching and balance: plain loops over plain lists, one rule per line."""

import math
from statistics import variance

from models.results import Baseline, BoolArray, FloatArray


def naive_caliper_width(baseline: Baseline, treated: BoolArray, linear: FloatArray, caliper: float) -> float:
    rows = naive_comparable(baseline, treated)
    arms = [[float(linear[i]) for i in rows if treated[i] == is_treated] for is_treated in (True, False)]
    return caliper * math.sqrt(sum(variance(arm) if len(arm) > 1 else 0.0 for arm in arms) / 2)


def naive_comparable(baseline: Baseline, treated: BoolArray) -> list[int]:
    treated_people = {baseline.person[i] for i in range(len(treated)) if treated[i]}
    may_serve = [i for i in range(len(treated)) if treated[i] or baseline.person[i] not in treated_people]
    groups_of_treated = {baseline.exact_group[i] for i in may_serve if treated[i]}
    groups_of_controls = {baseline.exact_group[i] for i in may_serve if not treated[i]}
    return [i for i in may_serve if baseline.exact_group[i] in groups_of_treated & groups_of_controls]


def naive_nearest_neighbour(
    baseline: Baseline, treated: BoolArray, linear: FloatArray, *, ratio: int, width: float, calendar_days: float
) -> list[tuple[int, list[int]]]:
    """(treated row, its controls in the order chosen), in the order of the first match."""
    day, person, group = baseline.index_day, baseline.person, baseline.exact_group
    everybody = range(len(treated))
    treated_people = {person[i] for i in everybody if treated[i]}
    hardest_first = sorted(
        (i for i in everybody if treated[i]), key=lambda i: (-round(float(linear[i]), 9), day[i], person[i], group[i])
    )
    found: dict[int, list[int]] = {}
    served: set[int] = set()
    for _ in range(ratio):
        for i in hardest_first:
            allowed = [
                j
                for j in everybody
                if not treated[j]
                and group[j] == group[i]
                and person[j] not in treated_people
                and person[j] not in served
                and abs(linear[j] - linear[i]) <= width
                and abs(day[j] - day[i]) <= calendar_days
            ]
            if allowed:
                best = min(
                    allowed,
                    key=lambda j: (
                        round(float(abs(linear[j] - linear[i])), 9),
                        abs(day[j] - day[i]),
                        day[j],
                        person[j],
                    ),
                )
                found.setdefault(i, []).append(best)
                served.add(person[best])
    return list(found.items())


def naive_mean_and_variance(values: list[float], weights: list[float]) -> tuple[float, float]:
    """Weighted mean, and the variance that divides by (Σw - Σw²/Σw) instead of Σw."""
    total = math.fsum(weights)
    mean = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / total
    squares = math.fsum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))
    return mean, squares / (total - math.fsum(w * w for w in weights) / total)
