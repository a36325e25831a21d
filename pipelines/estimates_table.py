"""The columns of the table of estimates, exact as the estimate stage writes it and as the report releases it."""

import polars as pl

EXACT_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "estimand": pl.String,
    "scale": pl.String,
    "design": pl.String,
    "method": pl.String,
    "subgroup": pl.String,
    "value": pl.Float64,
    "std_error": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "p_value": pl.Float64,
    "n_treated": pl.Int64,
    "n_control": pl.Int64,
    "effective_n": pl.Float64,
    "n_unobserved": pl.Int64,
    "fewest_events": pl.Int64,
    "fewest_apart": pl.Int64,
}
NUMBERS = ("value", "std_error", "lower", "upper", "p_value")
COUNTS = ("n_treated", "n_control", "effective_n")
_PRIVATE = ("n_unobserved", "fewest_events", "fewest_apart")

RELEASED_SCHEMA = {
    **{name: kind for name, kind in EXACT_SCHEMA.items() if name not in _PRIVATE},
    **dict.fromkeys(COUNTS, pl.Int64),
}
