"""What is known about an extract as a whole: its end, who submitted when, and which provider became which."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import polars as pl

LAST_DAY_OF_MONTH_ID = pl.date(
    1900 + (pl.col("month_id") + 2) // 12, (pl.col("month_id") + 2) % 12 + 1, 1
).dt.month_end()


def month_id_of(day: pl.Expr) -> pl.Expr:
    """UniqMonthID of the month that holds `day`."""
    return (day.dt.year().cast(pl.Int64) - 1900) * 12 + day.dt.month().cast(pl.Int64) - 3


@dataclass(frozen=True)
class ExtractFacts:
    """period_end: last day anybody submitted for; last_month_id: its month; then reference tables (`submission`,
    `provider_successor`, `area_deprivation` in pipelines.tables); first and last day that hospital episodes (HES)
    cover, None where the extract has none or it is not known."""

    period_end: date
    last_month_id: int
    submissions: pl.DataFrame
    successors: pl.DataFrame
    deprivation: pl.DataFrame
    hospital_start: date | None = None
    hospital_end: date | None = None

    @cached_property
    def first_day(self) -> date | None:
        """First day of the first month anybody submitted; None where there are no submissions."""
        first: date | None = self.submissions["period_start_date"].min()  # type: ignore[assignment]
        return first

    @cached_property
    def final_code(self) -> dict[str, str]:
        """Provider code -> the code it has in the end, through any number of mergers (DOMAIN I12, K5)."""
        step = dict(self.successors.select("old_provider_id", "new_provider_id").iter_rows())
        return {old: _follow(old, step) for old in step}

    @cached_property
    def silence(self) -> pl.DataFrame:
        """For each provider code and month: the next month that it did not submit (K12).

        Columns provider_id, month_id, silent_from_month_id (the month after the last one where nothing is missing).
        A code counts as submitting when it or a code it became submitted, so a merger is no silence.
        """
        sent: dict[str, set[int]] = {}
        for provider, month in self.submissions.select("provider_id", "month_id").iter_rows():
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
