"""The person: sex, ethnicity, deprivation, marital status, accommodation and employment (DOMAIN B10, K15)."""

from datetime import date

import polars as pl

from pipelines.covariates.records import KEY, Records, join_on_key
from pipelines.extract import LAST_DAY_OF_MONTH_ID
from pipelines.id_order import sort_by_id

ETHNIC_GROUPS = {
    **dict.fromkeys("ABC", "white"),
    **dict.fromkeys("DEFG", "mixed"),
    **dict.fromkeys("HJKL", "asian"),
    **dict.fromkeys("MNP", "black"),
    **dict.fromkeys("RS", "other"),
}
GENDERS = {"1": "male", "2": "female", "3": "non_binary", "4": "other"}
LAST_DAY_OF_IMD_2015 = date(2019, 12, 31)
HOMELESS = r"^HM0[0-7]$"
CODE_OF_VERSION_4 = r"^[A-Z]{2}\d"  # MA00, HM01, ...: the numbered codes of later versions have no public labels


def measure(records: Records) -> pl.DataFrame:
    """Covariates of the person, a row per index row."""
    return join_on_key(
        records,
        [
            demographics(records),
            deprivation(records),
            ethnic_category(records),
            accommodation(records),
            employment(records),
        ],
    )


def demographics(records: Records) -> pl.DataFrame:
    """Sex and marital status as last sent in the months up to the index date."""
    newest = (
        _months_before(records)
        .group_by(KEY)
        .agg(code=pl.col("gender_code").drop_nulls().last(), marital_status=pl.col("marital_code").drop_nulls().last())
    )
    return newest.select(
        *KEY,
        is_female=pl.when(pl.col("code").is_in(["1", "2"])).then(pl.col("code") == "2"),
        gender=pl.col("code").replace_strict(GENDERS, default=None, return_dtype=pl.String),
        is_married=pl.col("marital_status") == "M",
        marital_status="marital_status",
    )


def deprivation(records: Records) -> pl.DataFrame:
    """Deciles of the index of multiple deprivation of the area last sent, in the releases of 2015 and 2019."""
    lsoa = _months_before(records).group_by(KEY).agg(lsoa_code=pl.col("lsoa_code").drop_nulls().last())
    of_period = (
        pl.when(pl.col("index_date") <= LAST_DAY_OF_IMD_2015).then("imd_2015_decile").otherwise("imd_2019_decile")
    )
    return lsoa.join(records.facts.deprivation, on="lsoa_code", how="left").select(
        *KEY, "imd_2019_decile", imd_decile="imd_2015_decile", imd_decile_of_period=of_period
    )


def _months_before(records: Records) -> pl.DataFrame:
    months = records.tables["person_month"].with_columns(month_end=LAST_DAY_OF_MONTH_ID)
    before = (
        records.index.select(KEY)
        .join(months, on="person_id")
        .filter(pl.col("month_end").dt.month_start() <= pl.col("index_date"))
    )
    return sort_by_id(before, ["month_id"])


def ethnic_category(records: Records) -> pl.DataFrame:
    """The most frequent valid letter over all months (K15), and its group; a tie goes to the first in the alphabet."""
    letters = (
        records.tables["person_month"]
        .filter(pl.col("ethnicity_code").is_in(list(ETHNIC_GROUPS)))
        .group_by("person_id", "ethnicity_code")
        .len()
        .sort("len", "ethnicity_code", descending=[True, False])
        .group_by("person_id", maintain_order=True)
        .first()
        .select("person_id", ethnic_category="ethnicity_code")
    )
    group = pl.col("ethnic_category").replace_strict(ETHNIC_GROUPS, default=None, return_dtype=pl.String)
    return (
        records.index.select(KEY)
        .join(letters, on="person_id", how="left", maintain_order="left")
        .with_columns(ethnic_group=group.fill_null("unknown"))
    )


def accommodation(records: Records) -> pl.DataFrame:
    """Whether accommodation was settled, and whether there was none, as last recorded in [-365, 0]."""
    settled = _latest_status(records, "accommodation", "settled_code")
    code = pl.col("accommodation_code")
    housed = _latest_status(records, "accommodation", "accommodation_code").select(
        *KEY, is_homeless=pl.when(code.str.contains(CODE_OF_VERSION_4)).then(code.str.contains(HOMELESS))
    )
    is_settled = pl.when(pl.col("settled_code").is_in(["Y", "N"])).then(pl.col("settled_code") == "Y")
    return join_on_key(records, [settled.select(*KEY, is_settled=is_settled), housed])


def employment(records: Records) -> pl.DataFrame:
    """Employment as last recorded in [-365, 0]; not stated and not known are no status."""
    code = pl.col("employment_code")
    is_stated = code.is_in(["ZZ", "99"]).not_()
    return _latest_status(records, "employment", "employment_code").select(
        *KEY,
        is_employed=pl.when(is_stated).then(code.is_in(["01", "1"])),
        employment_status=pl.when(is_stated).then(code.str.zfill(2)),
    )


def _latest_status(records: Records, table: str, code: str) -> pl.DataFrame:
    days = (pl.col("index_date") - pl.col("status_date")).dt.total_days()
    columns = ("person_id", "status_date", "month_id", "row_id", "record_id", code)
    known = (
        records.index.select(KEY)
        .join(records.tables[table].select(columns), on="person_id")
        .filter(days.is_between(0, 365) & pl.col(code).is_not_null())
    )
    return sort_by_id(known, ["status_date", "month_id"]).group_by(KEY).agg(pl.col(code).last())
