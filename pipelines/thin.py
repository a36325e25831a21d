"""Counts by month become the months that hold too little to be the whole of what happened in them.

Choice made (DOMAIN I15, 0b.13): a month is judged against its neighbours, so that growth, a merger or a table that
came late does not count as a gap; it has to be both far below them and improbably so, so that neither a slow month of
a large series nor an empty month of a small one does. Counts vary more than by chance alone, by season and because
rows come in groups; how much more is taken from the steps between months, which a trend or a gap hardly touches.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from scipy.special import pdtr

NEIGHBOURS = 12  # months on either side: a year, so that every season is among them
ENOUGH_FOR_DISPERSION = 8  # ordinary months; fewer say nothing about how much counts vary
_MEDIAN_OF_CHI_SQUARED = 0.4549  # with one degree of freedom


def find_thin(counts: Sequence[int], below: float, chance: float, minimum: float = 0) -> list[bool]:
    """Whether each month of a series without holes (a month without rows has 0) holds too little to count.

    A month's usual number is the lower of two medians: of the nearest 12 ordinary months before it and of those after
    it (at either end, of the side there is). Ordinary are months with at least `below` times the median of all months
    that hold anything. A month is thin where its count is less than `below` times the usual number, and a Poisson
    count would be as small with a probability of less than `chance`, both numbers divided by the series' dispersion.
    Nothing is said of a series of which fewer than half of the months are ordinary.

    Args:
        counts: rows of each month, in order.
        below: share of the usual number; 0 finds nothing.
        chance: 1 leaves only the share to decide.
        minimum: a month whose usual number is smaller is not judged.
    """
    ordinary = _ordinary_months(counts, below)
    if below == 0 or 2 * len(ordinary) < len(counts):
        return [False] * len(counts)
    spread = dispersion(counts) if len(ordinary) >= ENOUGH_FOR_DISPERSION else 1.0
    return [
        usual >= minimum and count < below * usual and _is_rare(count, usual, spread, chance)
        for count, usual in zip(counts, usual_numbers(counts, below), strict=True)
    ]


def usual_numbers(counts: Sequence[int], below: float) -> list[float]:
    """The usual number of each month (find_thin); 0 where no other month says what is usual."""
    ordinary = _ordinary_months(counts, below)
    return [_usual(counts, ordinary, month) for month in range(len(counts))]


def _ordinary_months(counts: Sequence[int], below: float) -> list[int]:
    some = [count for count in counts if count > 0]
    least = below * median(some) if some else 0
    return [month for month, count in enumerate(counts) if count > 0 and count >= least]


def dispersion(counts: Sequence[int]) -> float:
    """How many times as much the counts vary from month to month as Poisson counts would; at least 1.

    The difference of two Poisson counts, squared and divided by their sum, is about chi-squared with one degree of
    freedom; the median over all pairs of successive months is compared with that distribution's.
    """
    steps = [(after - before) ** 2 / (after + before) for before, after in pairwise(counts) if after + before > 0]
    return max(1.0, median(steps) / _MEDIAN_OF_CHI_SQUARED) if steps else 1.0


def _usual(counts: Sequence[int], ordinary: Sequence[int], month: int) -> float:
    before = [counts[other] for other in ordinary if other < month][-NEIGHBOURS:]
    after = [counts[other] for other in ordinary if other > month][:NEIGHBOURS]
    return min((float(median(side)) for side in (before, after) if side), default=0.0)


def _is_rare(count: int, usual: float, spread: float, chance: float) -> bool:
    return chance >= 1 or float(pdtr(count // spread, usual / spread)) < chance
