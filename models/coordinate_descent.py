"""A small quadratic function with an L1 penalty → its minimum, a coordinate at a time."""

from numba import njit

from models.results import FloatArray


@njit(cache=True)
def coordinate_descent(
    information: FloatArray, slopes: FloatArray, start: FloatArray, l1: FloatArray, tolerance: float, most: int
) -> tuple[FloatArray, bool]:
    """((p,) the minimum over b of -slopes (b - start) + (b - start)' information (b - start) / 2 + Σ l1 |b|, whether it
    was reached): until no move changes a slope by more than `tolerance`, or `most` rounds are over."""
    b = start.copy()
    slope = slopes.copy()
    for _ in range(most):
        largest = 0.0
        for j in range(len(b)):
            curvature = information[j, j]
            if curvature <= 0.0:
                continue
            wanted = slope[j] + curvature * b[j]
            if wanted > l1[j]:
                new = (wanted - l1[j]) / curvature
            elif wanted < -l1[j]:
                new = (wanted + l1[j]) / curvature
            else:
                new = 0.0
            move = new - b[j]
            if move != 0.0:
                b[j] = new
                for k in range(len(b)):
                    slope[k] -= move * information[k, j]
                largest = max(largest, abs(move) * curvature)
        if largest <= tolerance:
            return b, True
    return b, False
