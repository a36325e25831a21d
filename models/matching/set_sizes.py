"""A protocol's limits on controls per treated row in a set → how many partners a row may have.

Choice made: limits as in R's optmatch (Hansen & Klopfer 2006, J Comput Graph Stat 15:609): a ratio of controls to
treated rows, k or 1/k, that every set keeps.
"""

from dataclasses import dataclass

import numpy as np

from models.results import IntArray

ANY = 1 << 40
WITHIN = 1e-6  # how close to a whole number or 1/k a limit is written


@dataclass(frozen=True)
class SetSizes:
    """How many partners a row has in its set, `fewest` to `most`: controls of a treated row, treated rows of a
    control."""

    fewest_of_treated: int
    most_of_treated: int
    fewest_of_control: int
    most_of_control: int

    @property
    def min_controls(self) -> str:
        return as_ratio(self.fewest_of_treated, self.most_of_control)

    @property
    def max_controls(self) -> str:
        return as_ratio(self.most_of_treated, self.fewest_of_control)

    def hold(self, of_treated: IntArray, of_control: IntArray) -> bool:
        """Whether everybody who has partners (0: in no set) has as many as this."""
        own, other = of_treated[of_treated > 0], of_control[of_control > 0]
        return bool(
            ((own >= self.fewest_of_treated) & (own <= self.most_of_treated)).all()
            and ((other >= self.fewest_of_control) & (other <= self.most_of_control)).all()
        )


ANY_SIZE = SetSizes(1, ANY, 1, ANY)


def set_sizes(min_controls: float | None, max_controls: float | None) -> SetSizes:
    """The numbers that two ratios of controls to treated rows allow, None for no limit. Raises ValueError for a ratio
    that is neither a whole number nor 1/k, and for a smallest one above the largest."""
    fewest = (1, ANY) if min_controls is None else _fraction("min_controls", min_controls)
    most = (ANY, 1) if max_controls is None else _fraction("max_controls", max_controls)
    if fewest[0] * most[1] > most[0] * fewest[1]:
        raise ValueError(f"min_controls must be at most max_controls ({as_ratio(*most)}), not {as_ratio(*fewest)}")
    return SetSizes(fewest[0], most[0], most[1], fewest[1])


def as_ratio(controls: int, treated: int) -> str:
    """k or 1/k, as a protocol writes it; one of the two is 1."""
    return f"{controls}" if treated == 1 else f"1/{treated}"


def _fraction(name: str, ratio: float) -> tuple[int, int]:
    """(k, 1) or (1, k)."""
    if ratio > 0 and np.isfinite(ratio):
        whole = max(round(ratio if ratio >= 1 else 1 / ratio), 1)
        if abs((ratio if ratio >= 1 else 1 / ratio) - whole) <= WITHIN * whole:
            return (whole, 1) if ratio >= 1 else (1, whole)
    raise ValueError(f"{name} must be a whole number, or 1/k for one control to k treated people, not {ratio:g}")
