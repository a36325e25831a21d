"""Estimates from several imputations → one, with an interval that minds how much they differ (Rubin's rules).

Ratios are pooled on the log scale. Degrees of freedom of Barnard & Rubin (1999, Biometrika 86:948), as R's mice::pool
has them: the complete-data degrees of freedom limit them from above.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from models.results import FloatArray

SMALLEST_SHARE = 1e-4  # of missing information, below which the formula for the degrees of freedom is not defined


@dataclass(frozen=True)
class Pooled:
    """value, lower and upper on the scale itself; std_error on the log scale for ratios.

    df                   degrees of freedom of the t interval
    missing_information  λ: share of the total variance that comes from the imputations
    """

    value: float
    std_error: float
    lower: float
    upper: float
    p_value: float
    df: float
    missing_information: float


def pool(
    values: FloatArray,
    std_errors: FloatArray,
    *,
    is_ratio: bool,
    df_complete: float = np.inf,
    confidence: float = 0.95,
) -> Pooled:
    """values, std_errors are (m,), one an imputation; nan in any of them leaves nothing to pool: all nan.

    Raises ValueError for fewer than two imputations or ratios that are not positive.
    """
    m = len(values)
    if m < 2:
        raise ValueError(f"pooling needs at least two imputations, not {m}")
    if not (np.isfinite(values).all() and np.isfinite(std_errors).all()):
        return Pooled(*[float("nan")] * 7)
    if is_ratio and not (values > 0).all():
        raise ValueError("a ratio must be positive to be pooled on the log scale")
    each = np.log(values) if is_ratio else values
    centre, within = float(each.mean()), float((std_errors**2).mean())
    between = float(each.var(ddof=1)) * (1.0 + 1.0 / m)
    total = within + between
    std_error = float(np.sqrt(total))
    share = between / total if total > 0 else 0.0
    df = _degrees_of_freedom(max(share, SMALLEST_SHARE), m, df_complete)
    reach = float(student.ppf(0.5 + confidence / 2.0, df)) * std_error
    p_value = float(2.0 * student.sf(abs(centre) / std_error, df)) if std_error > 0 else float("nan")
    limits = (centre, centre - reach, centre + reach)
    value, lower, upper = (float(np.exp(x)) for x in limits) if is_ratio else limits
    return Pooled(value, std_error, lower, upper, p_value, df, share)


def _degrees_of_freedom(share: float, m: int, df_complete: float) -> float:
    of_imputations = (m - 1) / share**2
    if not np.isfinite(df_complete):
        return of_imputations
    observed = (df_complete + 1.0) / (df_complete + 3.0) * df_complete * (1.0 - share)
    return of_imputations * observed / (of_imputations + observed)
