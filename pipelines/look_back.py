"""How far back the sources and their tables reach, which months they leave out on the way, and for how many people
the look-back for an earlier stay is not covered.

Choice made (DOMAIN A8.5, I15): MHSDS reaches to its first submitted month, one of its tables from the first to the last
month that any row of it was sent for. Hospital episodes come by the month they
ended in, so they cover the months from the first to the last in which at least half as many ended as in the median
month: a mistyped year must not pass for a month of data. Emergency attendances likewise, by their arrival; deaths too,
from a tenth of the median month, since few of the people of an extract can have died in its first months.
A table of few rows has months without one by chance: it stops before the extract only where that little after it would
happen less than once in a thousand times if its rows fell evenly over the extract (Poisson), and starts likewise.
Between its first and last month a table leaves out those that hold far too little beside their neighbours
(pipelines.thin); a quarter is far, since emergency attendances and admissions truly fell by half in April 2020.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from math import exp, lgamma, log
from typing import Any

import polars as pl
from dask.base import compute
from dask.delayed import delayed

from pipelines.covariate_registry import REGISTRY
from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts, Span
from pipelines.lake import Lake
from pipelines.outcome_registry import FAMILIES
from pipelines.protocol import Eligibility
from pipelines.thin import find_thin

_SHARE_OF_MEDIAN = 0.5
_SHARE_OF_MEDIAN_DEATHS = 0.1
_RARE = 0.001
HOSPITAL, EMERGENCY = "hospital_episode", "emergency_attendance"
DAY_OF = {HOSPITAL: "episode_end_date", EMERGENCY: "arrival_date", "death": "death_date"}
NOT_BY_MONTH = {"stays", *DAY_OF}
STAYS = ("spell", "ward_stay")  # a stay without its wards is in no adult bed

_SHARES = {HOSPITAL: _SHARE_OF_MEDIAN, EMERGENCY: _SHARE_OF_MEDIAN, "death": _SHARE_OF_MEDIAN_DEATHS}

Counts = Mapping[str, pl.DataFrame]


def hospital_reach(counts: Counts) -> Span | None:
    """First and last day of the months that hospital episodes cover: those in which at least half the median number of
    episodes ended; None where there are none. `counts` as of count_months."""
    return _full_months(counts[HOSPITAL])


def count_months(lake: Lake) -> dict[str, pl.DataFrame]:
    """month (its first day) and n: rows sent in each month, or dated in it, of the tables that the counts, indicators
    and outcomes of the registries need, named as there, and of those that make stays. One pass over a column or two of
    each. Of a CDM, which observes each person over a period of their own, only hospital episodes."""
    by_day = {table: _count_days(lake, table, DAY_OF[table]) for table in _dated(lake)}
    if lake.has("observation_period"):
        return by_day
    of_time = [c for c in REGISTRY.values() if c.none_is_known or c.form in ("rate", "days_since")]
    wanted = {table for covariate in of_time for table in covariate.tables}
    wanted |= {table for family in FAMILIES.values() for table in family.must_cover}
    wanted |= {"care_activity", *STAYS}  # the first of covariates from codes
    tasks = [delayed(_months_sent)(lake, bucket, sorted(wanted - NOT_BY_MONTH)) for bucket in range(lake.n_buckets)]
    parts: Sequence[pl.DataFrame] = compute(*tasks)
    sent = pl.concat(parts).drop_nulls().group_by("table", "month").agg(pl.col("n").sum()).sort("table", "month")
    by_month = {str(name): months.drop("table") for (name,), months in sent.group_by("table", maintain_order=True)}
    return by_month | by_day


def _dated(lake: Lake) -> Sequence[str]:
    return [HOSPITAL] if lake.has("observation_period") else list(DAY_OF)


def _count_days(lake: Lake, table: str, column: str) -> pl.DataFrame:
    """month, n: how many days of the column fall into each month (its first day)."""

    def count(bucket: int) -> pl.DataFrame:
        return _count_by_month(lake.read_bucket(bucket, table, [column])[column])

    parts: Sequence[pl.DataFrame] = compute(*[delayed(count)(bucket) for bucket in range(lake.n_buckets)])
    return pl.concat(parts).group_by("month").agg(pl.col("n").sum())


def _count_by_month(days: pl.Series) -> pl.DataFrame:
    months = days.drop_nulls().dt.truncate("1mo").rename("month")
    return months.value_counts(name="n").with_columns(pl.col("n").cast(pl.Int64))


def _full_months(counts: pl.DataFrame, share: float = _SHARE_OF_MEDIAN) -> Span | None:
    full = counts.filter(pl.col("n") >= share * pl.col("n").median())["month"]
    if full.is_empty():
        return None
    first, last = full.min(), full.dt.month_end().max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    return first, last


def table_reach(lake: Lake, counts: Counts) -> dict[str, Span]:
    """First and last day over which finding nothing in a table is knowledge, of the tables in `counts` (count_months)
    with a row; of those that come by month, a row within the extract. Empty for a CDM."""
    if lake.has("observation_period"):
        return {}
    opened: date | None = lake.submissions["period_start_date"].min()  # type: ignore[assignment]
    sent = lake.submissions.select(LAST_DAY_OF_MONTH_ID.dt.month_start()).to_series()
    inside = pl.col("month").is_between(pl.lit(sent.min()), pl.lit(sent.max()))
    found = {}
    for name, counted in counts.items():
        months = counted if name in DAY_OF or sent.is_empty() else counted.filter(inside)
        reach = _full_months(months, _SHARES.get(name, 0.0))
        if reach is not None:
            at_edges = name == HOSPITAL  # it has months of its own, before MHSDS began
            found[name] = reach if at_edges else to_the_edges(months, reach, opened or reach[0], lake.period_end)
    return found


def table_gaps(counts: Counts, reach: Mapping[str, Span], below: float, chance: float) -> dict[str, tuple[Span, ...]]:
    """First and last days, in order, of runs of months within a table's reach that hold too little of it to count; a
    table without such a month is left out. `stays` has those of spells and of ward stays.

    `counts` as of count_months, `reach` of table_reach; `below` and `chance` of thin.find_thin.
    """
    found = {}
    for name, (first, last) in reach.items():
        months = pl.date_range(first.replace(day=1), last, "1mo", eager=True).alias("month")
        n = months.to_frame().join(counts[name], on="month", how="left", maintain_order="left")["n"].fill_null(0)
        share = min(below, _SHARE_OF_MEDIAN_DEATHS) if name == "death" else below
        thin = months.filter(pl.Series(find_thin(n.to_list(), share, chance), dtype=pl.Boolean))
        if not thin.is_empty():
            found[name] = _runs(thin)
    of_stays = [gap for table in STAYS for gap in found.get(table, ())]
    return found | ({"stays": tuple(sorted(set(of_stays)))} if of_stays else {})


def _runs(months: pl.Series) -> tuple[Span, ...]:
    """First and last day of each run of successive months."""
    days = pl.DataFrame({"first": months, "last": months.dt.month_end()})
    is_new = (pl.col("first") - pl.col("last").shift(1)).dt.total_days().fill_null(2) > 1
    runs = days.with_columns(run=is_new.cum_sum()).group_by("run", maintain_order=True)
    return tuple(runs.agg(pl.col("first").min(), pl.col("last").max()).select("first", "last").iter_rows())


def describe_coverage(counts: Counts, facts: ExtractFacts) -> list[dict[str, Any]]:
    """The entry `tables` of the data account: of each table with a row, the first and last day it covers and the months
    in between that it does not, each with the rows it holds."""
    told = []
    for name, (first, last) in sorted(facts.reach.items()):
        within = [pl.col("month").is_between(*gap) for gap in facts.gaps_of(name)]
        months = pl.date_range(first.replace(day=1), last, "1mo", eager=True).alias("month").to_frame()
        n = months.join(counts[name], on="month", how="left").filter(pl.any_horizontal(pl.lit(False), *within))
        rows = [{"month": f"{day:%Y-%m}", "rows": rows or 0} for day, rows in n.sort("month").iter_rows()]
        told.append({"table": name, "from": _text(first), "until": _text(last), "months_not_covered": rows})
    return told


def to_the_edges(counts: pl.DataFrame, reach: Span, opens: date, closes: date) -> Span:
    """`reach` up to the first and last day of the extract, on a side where so few rows beyond it may be chance.

    Args:
        counts: month (its first day) and n, the rows of a table in it.
        opens: first day of the extract; `closes` its last.
    """
    inside = counts.filter(pl.col("month").is_between(opens, closes))
    per_day = int(inside["n"].sum()) / ((closes - opens).days + 1)
    first, last = reach
    before, after = (int(inside.filter(side)["n"].sum()) for side in (pl.col("month") < first, pl.col("month") > last))
    if opens < first and _may_be_chance(before, per_day * (first - opens).days):
        first = opens
    if last < closes and _may_be_chance(after, per_day * (closes - last).days):
        last = closes
    return first, last


def _may_be_chance(seen: int, expected: float) -> bool:
    """Whether a Poisson count is as small as that more often than once in a thousand times; never where none is
    expected, since a table without a row in the extract tells nothing of it."""
    if expected <= 0:
        return False
    terms = (exp(n * log(expected) - expected - lgamma(n + 1)) for n in range(seen + 1))
    return seen >= expected or sum(terms) >= _RARE


def _months_sent(lake: Lake, bucket: int, names: Sequence[str]) -> pl.DataFrame:
    """table, month (its first day) and n rows of one bucket sent for it: all rows, those with a value in the column
    that a name has after its dot, or those with the code after '='."""
    found = []
    for name in names:
        table, _, rest = name.partition(".")
        column, _, code = rest.partition("=")
        rows = lake.read_bucket(bucket, table, ["month_id", column] if column else ["month_id"])
        if column:
            rows = rows.filter(pl.col(column) == code) if code else rows.drop_nulls(column)
        months = rows.group_by("month_id").agg(n=pl.len().cast(pl.Int64))
        found.append(months.select(table=pl.lit(name), month=LAST_DAY_OF_MONTH_ID.dt.month_start(), n="n"))
    return pl.concat(found)


def look_back_start(facts: ExtractFacts, eligibility: Eligibility) -> date | None:
    """The first day of which an earlier psychiatric stay can be known; None where nothing says so."""
    starts = [facts.first_day, facts.hospital_start if eligibility.prior_stays_from_hes else None]
    return min((start for start in starts if start is not None), default=None)


def count_truncated(people: pl.DataFrame, facts: ExtractFacts, eligibility: Eligibility) -> dict[str, Any]:
    """The entry `look_back` of the data account: first day of each source, and of candidates and participants how many
    have a window of prior stays that starts before any of them or meets months without spells.

    Args:
        people: rows of the cohort (person_id, arm, admission_date), eligible or not.
    """
    start = look_back_start(facts, eligibility)
    opens = pl.col("admission_date").dt.offset_by(f"-{eligibility.prior_stay_window_days}d")
    is_truncated = (opens < start) if start is not None else pl.lit(True)
    for first, last in facts.gaps_of("stays"):
        is_truncated |= (opens <= last) & (pl.col("admission_date") > first)
    group = pl.when(pl.col("arm") == "virtual").then(pl.lit("candidates")).otherwise(pl.lit("participants"))
    counts = people.group_by(group=group).agg(
        n_people=pl.col("person_id").n_unique(),
        n_truncated=pl.col("person_id").filter(is_truncated).n_unique(),
    )
    return {
        "window_days": eligibility.prior_stay_window_days,
        "mhsds_from": _text(facts.first_day),
        "hes_from": _text(facts.hospital_start if eligibility.prior_stays_from_hes else None),
        "has_gaps": bool(facts.gaps_of("stays")),
        "groups": counts.sort("group").to_dicts(),
    }


def describe_deaths(facts: ExtractFacts, *, is_held: bool) -> dict[str, Any]:
    """The entry `deaths` of the data account: whether the extract holds a table of them, and their first and last
    known day where those lie inside the extract; outside of them nobody can be treated as dead."""
    reach = facts.reach_of("death") if is_held else None
    if reach is None:
        return {"is_held": False, "known_from": None, "known_until": None}
    first, last = reach
    starts_late = facts.first_day is not None and first > facts.first_day
    return {
        "is_held": True,
        "known_from": _text(first if starts_late else None),
        "known_until": _text(last if last < facts.period_end else None),
    }


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
