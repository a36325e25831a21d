"""What happened after time zero: readmission, death, contacts, emergency use; and when observation ended.

Choice made (DOMAIN A5, K11-K15): the first later adult psychiatric stay at any provider within the follow-up; death
competes; the end of the data, a provider's silence and a move out of the area (where asked for) censor. A value that
was not observed is null, never 0. What each outcome means is said in pipelines/outcome_registry.py; a family's function
in measures.py has its name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from pipelines.extract import ExtractFacts, Span
from pipelines.outcome_registry import DESCRIBED, FAMILIES, split_name
from pipelines.outcomes import measures
from pipelines.outcomes.events import events_of
from pipelines.outcomes.exposure import Reach, count_observed, list_readmissions
from pipelines.outcomes.leaving import day_of_leaving
from pipelines.outcomes.moves import closed_referrals
from pipelines.outcomes.nhs_readmission import readmitted_nhs_14d
from pipelines.outcomes.observation import observation_end
from pipelines.outcomes.seen import KEY, Events, Seen, follow, is_covered, where
from pipelines.protocol import FollowUp

__all__ = [
    "closed_referrals",
    "count_observed",
    "day_of_leaving",
    "follow_outcomes",
    "list_readmissions",
    "measure_outcomes",
    "observation_end",
    "outcomes_of",
    "windows_of",
]

MEASURED_ELSEWHERE = ("neg_control_admission",)  # pipelines/negative_controls.py


@dataclass(frozen=True)
class Followed:
    """Index rows with the end of their observation, and what happened to them (seen.follow); `reach` is the first and
    last day of each table, None for one that the extract does not hold; `gaps` those of months in between that it does
    not cover."""

    rows: pl.DataFrame
    events: Events
    reach: Mapping[str, Reach]
    gaps: Mapping[str, tuple[Span, ...]]


def follow_outcomes(
    index: pl.DataFrame,
    stays: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    facts: ExtractFacts,
    follow_up: FollowUp,
    present: frozenset[str],
) -> Followed:
    """What happened to each index row (person_id, index_date, provider_id as submitted), in the order of `index`.

    Args:
        stays: the stays that count as readmissions.
        present: tables the extract holds.
    """
    left = day_of_leaving(index, tables, facts, follow_up)
    observed = observation_end(index, tables["death"], left, facts, follow_up)
    reach = {table: facts.reach_of(table) if table in present else None for table in tables}
    rows, events = follow(observed, events_of(stays, tables, facts, reach["legal_period"]))
    return Followed(rows, events, reach, facts.gaps)


def measure_outcomes(
    followed: Followed,
    tables: Mapping[str, pl.DataFrame],
    facts: ExtractFacts,
    follow_up: FollowUp,
    named: Iterable[str] = (),
) -> pl.DataFrame:
    """Outcomes of each index row, in order. What needs a table that the extract does not hold is null, as is a window
    that one does not cover whole.

    Args:
        named: outcomes in further windows (readmitted_30d) or by a rule of their own (readmitted_nhs_14d).

    Returns:
        KEY, died_day, censored_day, what describes the first readmission, every family over the whole follow-up
        (readmitted_365d), and the outcomes named. All but died_day count days 1 to the end of follow-up.
    """
    rows, events, reach = followed.rows, followed.events, followed.reach
    columns = measures.describe_first_readmission(rows, events)
    for name in outcomes_of(follow_up, named):
        split = split_name(name)
        if split is None:
            columns.append(readmitted_nhs_14d(rows, tables, facts).alias(name))
            continue
        family, days = split
        values = getattr(measures, family)(Seen(days, rows, events))
        needed = FAMILIES[family].must_cover
        gaps = [gap for table in needed for gap in facts.gaps_of(table)]
        covered = rows.select(covered=is_covered(days, [reach[table] for table in needed], gaps))
        columns.append(where(covered.to_series(), values).alias(name))
    return (
        rows.select(*KEY, "died_day", "censored_day")
        .with_columns(columns)
        .select(*KEY, *DESCRIBED, pl.exclude(*KEY, *DESCRIBED))
    )


def outcomes_of(follow_up: FollowUp, named: Iterable[str]) -> list[str]:
    """Names of everything that is measured here: all families over the whole follow-up, and what is named."""
    whole = [f"{family}_{follow_up.days}d" for family in FAMILIES]
    wanted = [name for name in dict.fromkeys([*whole, *named]) if name != "placebo_readmission_prior"]
    return [name for name in wanted if (split_name(name) or ("",))[0] not in MEASURED_ELSEWHERE]


def windows_of(family: str, follow_up: FollowUp, named: Iterable[str]) -> list[int]:
    """Windows in which a family is measured, in days."""
    splits = [split_name(name) for name in named]
    return sorted({follow_up.days, *(split[1] for split in splits if split and split[0] == family)})
