"""A tall matrix, a strip of rows at a time → the sums that a logistic regression needs, without a copy of the matrix.

Rows are read in strips, strips are shared out over threads, and their sums are added in the order of the rows: the
answer does not depend on the number of threads. A strip is worked on in blocks that fit into the cache; there they are
turned into 64-bit numbers and centred, so the matrix may be 32-bit or a memory map of a file.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from models.results import BoolArray, FloatArray

BLOCK_BYTES = 1 << 20
BLOCKS_IN_A_STRIP = 16

Found = TypeVar("Found")


@dataclass(frozen=True)
class Moments:
    """(p,) mean and standard deviation (n, not n - 1, below), the deviation 1 for columns that do not vary;
    cross_product (p, p) Σ of centred columns, or None when it was not asked for."""

    mean: FloatArray
    scale: FloatArray
    variance: FloatArray
    cross_product: FloatArray | None


@dataclass(frozen=True)
class Sums:
    """At one set of coefficients: the summed log-loss, Σ (treated - score) of (1, centred columns), the sum of the
    scores, and the information Σ score (1 - score) row row' unless only the gradient was asked for."""

    loss: float
    gradient: FloatArray
    total_score: float
    information: FloatArray | None


class Strips:
    """The rows of a matrix that a fit uses, in strips.

    matrix (n, p); rows (n,) those that count. Linear predictors are for all rows.
    """

    def __init__(self, matrix: FloatArray, rows: BoolArray) -> None:
        self.matrix, self.rows, self.uses_all = matrix, rows, bool(rows.all())
        self.n, self.p = matrix.shape
        self.block = max(256, BLOCK_BYTES // (8 * (self.p + 1)))

    def moments(self, with_cross_product: bool) -> Moments:
        """Mean and spread of the columns over the rows that count; nan where a value is not finite."""
        parts = list(self._over_strips(self._strip_moments))
        number = sum(part[0] for part in parts)
        mean = np.sum([part[0] * part[1] for part in parts], axis=0) / number
        between = np.sum([part[0] * (part[1] - mean) ** 2 for part in parts], axis=0)
        variance = (np.sum([part[2] for part in parts], axis=0) + between) / number
        # The limits of rounding, as scikit-learn's StandardScaler takes them: a constant column has no spread.
        noise = np.finfo(np.float64).eps
        varies = variance > number * noise * variance + (number * mean * noise) ** 2
        scale = np.where(varies, np.sqrt(variance), 1.0)
        cross = self._cross_product(mean) if with_cross_product and np.isfinite(mean).all() else None
        return Moments(mean, scale, variance, cross)

    def sums(
        self,
        treated: BoolArray,
        intercept: float,
        slopes: FloatArray,
        centre: FloatArray,
        linear: FloatArray,
        with_information: bool,
    ) -> Sums:
        """`slopes` are of centred columns; writes the linear predictor of every row into `linear`."""

        def strip(start: int, stop: int) -> tuple[float, FloatArray, float, FloatArray | None]:
            return self._strip_sums(start, stop, treated, intercept, slopes, centre, linear, with_information)

        loss, total = 0.0, 0.0
        gradient = np.zeros(self.p + 1)
        information = np.zeros((self.p + 1, self.p + 1)) if with_information else None
        for part in self._over_strips(strip):
            loss, gradient, total = loss + part[0], gradient + part[1], total + part[2]
            if information is not None and part[3] is not None:
                information += part[3]
        return Sums(loss, gradient, total, information)

    def _over_strips(self, work: Callable[[int, int], Found]) -> Iterator[Found]:
        height = self.block * BLOCKS_IN_A_STRIP
        starts = range(0, self.n, height)
        stops = [min(start + height, self.n) for start in starts]
        n_threads = min(threads(), len(starts))
        with threadpool_limits(1, user_api="blas"):
            if n_threads == 1:
                yield from map(work, starts, stops)
            else:
                with ThreadPoolExecutor(n_threads) as pool:
                    yield from pool.map(work, starts, stops)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[slice, FloatArray]]:
        for first in range(start, stop, self.block):
            here = slice(first, min(first + self.block, stop))
            yield here, self.matrix[here]

    def _strip_moments(self, start: int, stop: int) -> tuple[int, FloatArray, FloatArray]:
        """(rows, mean, Σ squared distance from it), blocks put together as Chan, Golub & LeVeque (1983) do."""
        number, mean, squares = 0, np.zeros(self.p), np.zeros(self.p)
        for here, raw in self._blocks(start, stop):
            block = raw if self.uses_all else raw[self.rows[here]]
            if len(block) == 0:
                continue
            with np.errstate(invalid="ignore"):
                of_block = block.mean(axis=0, dtype=np.float64)
                centred = block - of_block
                move = of_block - mean
            both = number + len(block)
            squares = squares + np.einsum("ij,ij->j", centred, centred) + move**2 * (number * len(block) / both)
            mean, number = mean + move * (len(block) / both), both
        return number, mean, squares

    def _cross_product(self, mean: FloatArray) -> FloatArray:
        def strip(start: int, stop: int) -> FloatArray:
            total = np.zeros((self.p, self.p))
            for here, raw in self._blocks(start, stop):
                block = raw - mean
                block = block if self.uses_all else block[self.rows[here]]
                total += block.T @ block
            return total

        return np.asarray(sum(self._over_strips(strip), np.zeros((self.p, self.p))))

    def _strip_sums(
        self,
        start: int,
        stop: int,
        treated: BoolArray,
        intercept: float,
        slopes: FloatArray,
        centre: FloatArray,
        linear: FloatArray,
        with_information: bool,
    ) -> tuple[float, FloatArray, float, FloatArray | None]:
        buffer = np.empty((self.block, self.p + 1))
        buffer[:, 0] = 1.0
        beta = np.concatenate([[intercept], slopes])
        loss, total, gradient = 0.0, 0.0, np.zeros(self.p + 1)
        information = np.zeros((self.p + 1, self.p + 1)) if with_information else None
        for here, raw in self._blocks(start, stop):
            block = buffer[: len(raw)]
            block[:, 0] = 1.0
            np.subtract(raw, centre, out=block[:, 1:])
            predictor = block @ beta
            linear[here] = predictor
            target = treated[here]
            if not self.uses_all:
                counts = self.rows[here]
                block, predictor, target = block[counts], predictor[counts], target[counts]
            score = expit(predictor)
            loss += float(np.logaddexp(0.0, predictor).sum() - predictor[target].sum())
            total += float(score.sum())
            gradient += (target - score) @ block
            if information is not None:
                block *= np.sqrt(score * (1.0 - score))[:, None]
                information += block.T @ block
        return loss, gradient, total, information


def threads() -> int:
    """As many as the process may use; OMP_NUM_THREADS limits them, as it limits those of the libraries."""
    may_use = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(may_use, int(limit))) if limit.isdigit() else may_use
