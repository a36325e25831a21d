"""NHS England's own readmission rule, on hospital spells as they are and not on continuous stays (DOMAIN B11).

Choice made: the index spell is the one whose discharge is time zero (of several that end that day, the one that began
first); any other spell of the person that starts on day 0 to 13 is a readmission, of any bed class and length. The rule
speaks of spell ids; spells are taken after the repairs of their dates and without twins (K6, K7), since the same spell
under two ids would be its own readmission.
"""

from collections.abc import Mapping

import polars as pl

from pipelines.extract import ExtractFacts
from pipelines.id_order import in_order
from pipelines.outcome_registry import DAYS_OF_NHS_RULE
from pipelines.outcomes.seen import is_whole
from pipelines.stays import usable_spells

EXCLUDED_METHODS = ["4", "6", "7", "8"]  # died, discharged themselves, by a relative; not applicable
EXCLUDED_DESTINATIONS = ["48", "49", "50", "53", "79", "84", "87"]  # other psychiatric hospitals; died
LAST_DAY = DAYS_OF_NHS_RULE - 1


def readmitted_nhs_14d(rows: pl.DataFrame, tables: Mapping[str, pl.DataFrame], facts: ExtractFacts) -> pl.Series:
    """Whether another spell started within 14 days of the index discharge, for each of `rows` (place, person_id,
    index_date, died_day, censored_day, last_day); null where the rule leaves the discharge out, or days are missing.
    """
    spells = usable_spells(tables, facts)
    index = (
        rows.join(spells, left_on=["person_id", "index_date"], right_on=["person_id", "end_date"])
        .sort("place", "start_date", *in_order("spell_id"))
        .unique("place", keep="first", maintain_order=True)
        .select("place", "person_id", "index_date", "last_day", "discharge_method_code", "destination_code", "spell_id")
    )
    is_left_out = pl.col("discharge_method_code").is_in(EXCLUDED_METHODS).fill_null(False) | pl.col(
        "destination_code"
    ).is_in(EXCLUDED_DESTINATIONS).fill_null(False)
    counted = index.filter(~is_left_out)
    day = (pl.col("start_date") - pl.col("index_date")).dt.total_days()
    came_back = (
        counted.join(spells.select("person_id", "start_date", other_id="spell_id"), on="person_id")
        .filter((pl.col("other_id") != pl.col("spell_id")) & (day >= 0))
        .filter(day <= pl.min_horizontal("last_day", pl.lit(LAST_DAY)))
        .select("place")
        .unique()
        .with_columns(came_back=pl.lit(True))
    )
    not_back = pl.when(is_whole(LAST_DAY)).then(pl.lit(False))
    return (
        rows.join(counted.select("place", is_counted=pl.lit(True)), on="place", how="left", maintain_order="left")
        .join(came_back, on="place", how="left", maintain_order="left")
        .select(pl.when("is_counted").then(pl.coalesce("came_back", not_back)))
        .to_series()
    )
