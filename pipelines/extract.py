"""What is known about an extract as a whole: its end, who submitted when and how much, which provider became which.

Choice made (DOMAIN I15, K12): a month counts as submitted when the provider's header came, with at least half of its
usual number of spells unless chance may have left so few (pipelines.thin), in a month that spells were sent for at
all. A provider code is judged by its own history, since a merged provider is larger than each of those it came from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import polars as pl

from pipelines.tables import month_id
from pipelines.thin import find_thin

MONTH = ["provider_id", "month_id"]
MONTH_SCHEMA = {"provider_id": pl.String, "month_id": pl.Int64}
Span = tuple[date, date]
LAST_DAY_OF_MONTH_ID = pl.date(
    1900 + (pl.col("month_id") + 2) // 12, (pl.col("month_id") + 2) % 12 + 1, 1
).dt.month_end()


def month_id_of(day: pl.Expr) -> pl.Expr:
    """UniqMonthID of the month that holds `day`."""
    return month_id(day.dt.year().cast(pl.Int64), day.dt.month().cast(pl.Int64))


def count_spells(spell: pl.DataFrame) -> pl.DataFrame:
    """provider_id, month_id, n_spells: the distinct spells in each provider's monthly submission; of rows of the
    table `spell` (all of it, or one bucket of people: add_up_spells puts buckets together)."""
    return (
        spell.select("person_id", "spell_id", *MONTH)
        .drop_nulls(MONTH)
        .unique()
        .group_by(MONTH)
        .agg(n_spells=pl.len().cast(pl.Int64))
        .sort(MONTH)
    )


def add_up_spells(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The counts of all people from those of disjoint sets of people."""
    return pl.concat(parts).group_by(MONTH).agg(pl.col("n_spells").sum()).sort(MONTH)


def thin_months(
    submissions: pl.DataFrame, spells: pl.DataFrame, below: float, chance: float, minimum: float = 0
) -> pl.DataFrame:
    """The months a provider submitted with too few spells to count (DOMAIN I15), by the rule of thin.find_thin on the
    months the code submitted.

    Args:
        submissions: the table `submission`.
        spells: provider_id, month_id, n_spells (count_spells); a month without a row had none.
        below, chance, minimum: as of find_thin.

    Returns:
        provider_id, month_id, in order.
    """
    sent = submissions.select(MONTH).unique().join(spells, on=MONTH, how="left").sort(MONTH)
    found = [sent.select(MONTH).clear()]
    for _, months in sent.group_by("provider_id", maintain_order=True):
        counts = months["n_spells"].fill_null(0).to_list()
        is_thin = pl.Series(find_thin(counts, below, chance, minimum), dtype=pl.Boolean)
        found.append(months.select(MONTH).filter(is_thin))
    return pl.concat(found)


def months_in(submissions: pl.DataFrame, gaps: Iterable[Span]) -> pl.DataFrame:
    """provider_id, month_id of the submissions for a month that begins in one of the gaps."""
    begins = LAST_DAY_OF_MONTH_ID.dt.month_start()
    inside = pl.any_horizontal(pl.lit(False), *[begins.is_between(*gap) for gap in gaps])
    return submissions.select(MONTH).filter(inside).unique().sort(MONTH)


@dataclass(frozen=True)
class ExtractFacts:
    """period_end: last day anybody submitted for; last_month_id: its month; the next three are reference tables
    (`submission`, `provider_successor`, `area_deprivation` in pipelines.tables). `thin` holds the months that were
    submitted with too little in them to count (provider_id, month_id: thin_months); hospital_start and hospital_end
    are the first and last day that hospital episodes (HES) cover, None where there are none or it is not known. `reach`
    holds the first and last day that each table covers (look_back.table_reach), `gaps` the first and last days of the
    months in between that it does not (look_back.table_gaps); both are empty where they were not looked for."""

    period_end: date
    last_month_id: int
    submissions: pl.DataFrame
    successors: pl.DataFrame
    deprivation: pl.DataFrame
    thin: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MONTH_SCHEMA))
    hospital_start: date | None = None
    hospital_end: date | None = None
    reach: Mapping[str, Span] = field(default_factory=dict)
    gaps: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)

    @cached_property
    def first_day(self) -> date | None:
        """First day of the first month anybody submitted; None where there are no submissions."""
        first: date | None = self.submissions["period_start_date"].min()  # type: ignore[assignment]
        return first

    def reach_of(self, table: str) -> Span | None:
        """First and last day over which finding nothing in a table the extract holds is knowledge; None where no row
        says so. Where `reach` was not looked for, that of hospital episodes or of the extract as a whole."""
        first = self.first_day
        if first is None:
            return date.min, self.period_end
        if self.reach:
            return self.reach.get(table)
        if table == "hospital_episode":
            return self.hospital_start or first, self.hospital_end or self.period_end
        return first, self.period_end

    def gaps_of(self, table: str) -> tuple[Span, ...]:
        """First and last days, in order, of runs of months within its reach in which too little of a table came for
        finding nothing to be knowledge; `stays` names what spells and ward stays tell together."""
        return self.gaps.get(table, ())

    @cached_property
    def final_code(self) -> dict[str, str]:
        """Provider code -> the code it has in the end, through any number of mergers (DOMAIN I12, K5)."""
        step = dict(self.successors.select("old_provider_id", "new_provider_id").iter_rows())
        return {old: _follow(old, step) for old in step}

    @cached_property
    def silence(self) -> pl.DataFrame:
        """For each provider code and month: the next month that it did not submit, or not enough of (K12, I15).

        Columns provider_id, month_id, silent_from_month_id (the month after the last one where nothing is missing).
        A code counts as submitting when it or a code it became submitted enough, so a merger is no silence.
        """
        sent: dict[str, set[int]] = {}
        for provider, month in self.submissions.join(self.thin, on=MONTH, how="anti").select(MONTH).iter_rows():
            sent.setdefault(provider, set()).add(month)
        rows = []
        step = dict(self.successors.select("old_provider_id", "new_provider_id").iter_rows())
        for provider in sorted(sent.keys() | step.keys()):
            months = set().union(*(sent.get(code, set()) for code in _lineage(provider, step)))
            if not months:
                continue
            silent_from = self.last_month_id + 1
            for month in range(self.last_month_id, min(months) - 2, -1):
                rows.append((provider, month, silent_from))
                if month not in months:
                    silent_from = month
        schema = {"provider_id": pl.String, "month_id": pl.Int64, "silent_from_month_id": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _lineage(code: str, step: dict[str, str]) -> list[str]:
    """A provider code and every code it became, in order; a circle ends where it closes."""
    seen = [code]
    while seen[-1] in step and step[seen[-1]] not in seen:
        seen.append(step[seen[-1]])
    return seen


def _follow(code: str, step: dict[str, str]) -> str:
    return _lineage(code, step)[-1]
