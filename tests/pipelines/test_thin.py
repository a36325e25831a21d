"""Which months of a series hold too little to count: the rule's edges, and how often it is wrong."""

import numpy as np
import pytest

from pipelines.thin import dispersion, find_thin, usual_numbers

GAP = slice(30, 36)


@pytest.mark.parametrize(
    ("counts", "thin"),
    [
        # exp(-7) = 0.0009, exp(-6) = 0.0025
        ([7] * 6 + [0] + [7] * 5, [6]),
        ([6] * 6 + [0] + [6] * 5, []),
        ([100] * 6 + [49] + [100] * 5, [6]),  # improbable, and below half
        ([100] * 6 + [50] + [100] * 5, []),
        ([100] * 11 + [0], [11]),  # at the end, the side there is
        ([0] + [100] * 11, [0]),
        ([round(50 * 1.03**month) for month in range(72)], []),  # growth, eightfold in six years
        ([100] * 5 + [0] * 5, [5, 6, 7, 8, 9]),  # half of the months are ordinary
        ([100] * 5 + [0] * 6, []),  # fewer are: nothing is said
        ([0, 40] * 12, []),  # it comes and goes
        ([0] * 12, []),
        ([40], []),
        ([], []),
    ],
)
def test_edges(counts: list[int], thin: list[int]) -> None:
    assert [month for month, is_thin in enumerate(find_thin(counts, 0.5, 0.001)) if is_thin] == thin


def test_the_numbers_of_the_rule() -> None:
    counts = [10] * 6 + [3] + [10] * 5
    # Poisson(10): 3 or fewer with probability 0.0103
    assert find_thin(counts, 0.5, 0.011)[6]
    assert not find_thin(counts, 0.5, 0.010)[6]
    assert find_thin(counts, 0.5, 1)[6]
    assert not find_thin(counts, 0.3, 1)[6]
    assert not any(find_thin(counts, 0, 1))
    assert not any(find_thin(counts, 0.5, 1, minimum=11))


def test_usual_is_the_lower_of_the_medians_of_a_year_on_either_side() -> None:
    counts = list(range(100, 140))
    assert usual_numbers(counts, 0.5)[20] == np.median(counts[8:20])
    assert usual_numbers(counts, 0.5)[0] == np.median(counts[1:13])


def test_dispersion_is_that_of_the_steps() -> None:
    draw = np.random.default_rng(1)
    poisson = draw.poisson(np.linspace(50, 200, 2_000))
    spread = draw.negative_binomial(50, 0.25, 2_000)  # variance / mean = 1 / 0.25
    assert dispersion(poisson.tolist()) == pytest.approx(1, abs=0.15)
    assert dispersion(spread.tolist()) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("usual", [20, 60, 500])
def test_it_is_seldom_wrong_and_finds_half_a_year_without_rows(usual: int) -> None:
    draw = np.random.default_rng(usual)
    months = np.arange(72)
    level = usual * np.exp(np.log(4) * (months / 72 - 0.5)) * (1 + 0.15 * np.sin(2 * np.pi * months / 12))
    wrong = found = 0
    for _ in range(60):
        counts = draw.poisson(level)
        wrong += sum(find_thin(counts.tolist(), 0.25, 0.001))
        counts[GAP] = 0
        found += all(find_thin(counts.tolist(), 0.25, 0.001)[GAP])
    assert wrong <= 5  # of 4,320 months
    assert found >= 57
