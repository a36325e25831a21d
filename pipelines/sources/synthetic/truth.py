"""What the declared rules (DOMAIN K) must recover from the extract: stays, index discharges, outcomes.

Choice made: known from what was drawn and from which months arrive, never by reading rows back.

Where DOMAIN leaves a choice: died_day and censored_day are given each for itself, even when the other came first;
days in hospital are the days of readmission stays from their start to their end or day 365 (or to the day follow-up
ended by death), the day of discharge not counted.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.clinical import Clinical, has_organic, recover_primary, three_characters
from pipelines.sources.synthetic.community import CRISIS_TEAM, MISSED, N_ATTENDED, SAFETY_ZERO_DAYS
from pipelines.sources.synthetic.hazards import YEAR
from pipelines.sources.synthetic.histories import CHILD_BED
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import People
from pipelines.sources.synthetic.spells import recover_stays
from pipelines.sources.synthetic.timeline import (
    LAST_DAY,
    N_MONTHS,
    NEVER,
    Array,
    Columns,
    date_series,
    day_number,
    month_end,
    month_of,
    pick,
)
from pipelines.sources.synthetic.trial import LOOK_BACK_DAYS, Participants

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Recovered:
    """Stays as sent (only those of which anything arrives), by person and start; `row` numbers the drawn stay."""

    row: Array
    columns: Columns

    def __len__(self) -> int:
        return len(self.row)


def recover(people: People, stays: Columns, spells: Columns, is_acute: Array, network: Network) -> Recovered:
    """The continuous stays that rules K1-K7 make of what is sent."""
    sent = recover_stays(stays, spells, network)
    row = np.flatnonzero(sent["is_seen"])
    kept, made = pick(stays, row), pick(sent, row)
    reason = np.select(
        [made["is_open"], made["is_inactive"], kept["is_death"]], ["open", "inactive", "death"], "discharge"
    )
    is_zero_day = made["end"] == kept["start"]
    is_safety = kept["kind"] >= SAFETY_ZERO_DAYS
    return Recovered(
        row,
        {
            "person": kept["person"],
            "start": kept["start"],
            "end": made["end"],
            "reason": reason,
            "trust": kept["last_trust"],
            "n_spells": kept["n_spells"],
            "is_acute": is_acute[row] & (kept["bed"] != CHILD_BED),
            "is_adult": kept["bed"] != CHILD_BED,
            "is_zero_day": is_zero_day,
            "is_safety": is_safety,
            "is_real": ~is_zero_day & ~is_safety,
            "is_detained": kept["is_detained"],
            "age": people.age_at(kept["person"], kept["start"]),
        },
    )


def stays_frame(recovered: Recovered, people: People, network: Network) -> pl.DataFrame:
    """truth/stays.parquet."""
    stays = recovered.columns
    return pl.DataFrame(
        {
            "person_id": people.person_id.gather(stays["person"]),
            "start_date": date_series(stays["start"]),
            "end_date": date_series(np.minimum(stays["end"], LAST_DAY), stays["end"] < NEVER),
            "end_reason": stays["reason"],
            "trust": pl.Series(network.codes).gather(network.final_code[stays["trust"]]),
            "is_acute": stays["is_acute"],
            "is_zero_day": stays["is_zero_day"],
            "is_place_of_safety_only": stays["is_safety"],
            "n_spells": stays["n_spells"],
        }
    )


def index_rows(
    recovered: Recovered,
    people: People,
    stays: Columns,
    spells: Columns,
    clinical: Clinical,
    participants: Participants,
    a: Assumptions,
) -> Columns:
    """Index stays by person and day: person, index_day, admission_day, trust, stratum, arm, failed ('' if eligible)."""
    at = recovered.columns
    first, last = (day_number(date) for date in a["trial.recruitment"])
    ended = np.isin(at["reason"], ["discharge", "death"])
    in_trial = np.isin(at["person"], participants.person)
    arm = np.where(ended & ~in_trial & (at["end"] >= first) & (at["end"] <= last), "virtual", "")
    usable = participants.is_linked & participants.is_consenting
    key = at["person"] * 10_000 + at["end"]
    for is_peer, name in ((True, "peer"), (False, "control")):
        own = usable & (participants.is_peer == is_peer)
        arm = np.where(ended & np.isin(key, participants.person[own] * 10_000 + participants.index_day[own]), name, arm)
    rows = np.flatnonzero(arm != "")
    has_prior = _has_prior_stay(at)[rows]
    index = pick(at, rows)
    code = three_characters(recover_primary(clinical, stays, spells, recovered.row[rows]))
    organic = has_organic(clinical, people, stays, recovered.row[rows])
    failed = np.select(
        [
            index["is_zero_day"],
            index["is_safety"],
            index["reason"] == "death",
            index["age"] < 18,
            ~index["is_acute"],
            ~has_prior,
            organic,
            code == "F50",
            (code >= "F70") & (code <= "F79"),
            (code >= "F10") & (code <= "F19"),
        ],
        [
            "zero_day",
            "place_of_safety_only",
            "died_in_hospital",
            "under_18",
            "not_acute_adult",
            "no_prior_stay_730",
            "organic_any",
            "primary_F50",
            "primary_F70_F79",
            "primary_F10_F19",
        ],
        "",
    )
    return {
        "person": index["person"],
        "index_day": index["end"],
        "admission_day": index["start"],
        "trust": index["trust"],
        "stratum": _stratum(code),
        "arm": arm[rows],
        "failed": failed,
    }


def _has_prior_stay(at: Columns) -> Array:
    """Rule K3: stays lie in the order of time, so the real stay before reaches furthest into the window."""
    place = np.arange(len(at["person"]))
    real = np.maximum.accumulate(np.where(at["is_real"], place, -1))
    before = np.concatenate([[-1], real[:-1]])
    known = (before >= 0) & (at["person"][before] == at["person"])
    reaches: Array = known & (at["end"][before] >= at["start"] - LOOK_BACK_DAYS)
    return reaches


def _stratum(code: Array) -> Array:
    other = (
        ((code >= "F30") & (code <= "F59")) | ((code >= "F62") & (code <= "F69")) | ((code >= "F80") & (code <= "F98"))
    )
    return np.select(
        [(code >= "F20") & (code <= "F29"), (code == "F60") | (code == "F61"), other],
        ["psychotic", "personality", "other"],
        UNKNOWN,
    )


def index_frame(index: Columns, people: People, network: Network) -> pl.DataFrame:
    """truth/index.parquet."""
    return pl.DataFrame(
        {
            "person_id": people.person_id.gather(index["person"]),
            "index_date": date_series(index["index_day"]),
            "admission_date": date_series(index["admission_day"]),
            "trust": pl.Series(network.codes).gather(network.final_code[index["trust"]]),
            "stratum": index["stratum"],
            "arm": index["arm"],
            "is_eligible": index["failed"] == "",
            "first_failed_rule": index["failed"],
        }
    )


def outcome_frame(
    index: Columns,
    recovered: Recovered,
    events: dict[str, Columns],
    death_day: Array,
    people: People,
    network: Network,
) -> pl.DataFrame:
    """truth/outcomes.parquet, for eligible rows of `index`. `events` holds contacts and emergencies as sent;
    `death_day` (per person) is the day as registered."""
    chosen = pick(index, index["failed"] == "")
    died = death_day[chosen["person"]] - chosen["index_day"]
    censored = _censoring_day(chosen, network)
    last_day = np.minimum(np.minimum(died, censored), YEAR)
    at = pick(recovered.columns, recovered.columns["is_real"] & recovered.columns["is_adult"])
    stays = pl.DataFrame({"person": at["person"], "day": at["start"], "end": at["end"], "formal": at["is_detained"]})
    keys = pl.DataFrame(
        {"row": np.arange(len(died)), "person": chosen["person"], "at": chosen["index_day"], "last_day": last_day}
    )
    contacts, emergencies = events["contacts"], events["emergencies"]
    attended = contacts["attendance"] < N_ATTENDED
    counts = {
        "n_dna_365d": _count(keys, pick(contacts, contacts["attendance"] == MISSED)),
        "n_crht_365d": _count(keys, pick(contacts, attended & (contacts["team"] == CRISIS_TEAM))),
        "n_ed_365d": _count(keys, emergencies),
    }
    is_complete = (censored >= YEAR) | (died <= censored)
    seen = _after(keys, stays).sort("row", "after")
    first = seen.group_by("row").agg(
        days_to_readmission=pl.col("after").first(),
        is_first_readmission_formal=pl.col("formal").first(),
        n_readmissions_365d=pl.len().cast(pl.Int64),
        days_in_hospital_365d=(pl.min_horizontal(pl.col("end") - pl.col("at"), "last_day") - pl.col("after")).sum(),
    )
    totals = ["n_readmissions_365d", "days_in_hospital_365d", *counts]
    return (
        keys.join(first, on="row", how="left", maintain_order="left")
        .with_columns(
            person_id=people.person_id.gather(chosen["person"]),
            index_date=date_series(chosen["index_day"]),
            complete=pl.Series(is_complete),
            died_day=pl.when(pl.Series(died <= YEAR)).then(pl.Series(died)),
            censored_day=pl.when(pl.Series(censored < YEAR)).then(pl.Series(censored)),
            **{name: pl.Series(count) for name, count in counts.items()},
        )
        .with_columns(pl.when("complete").then(pl.col(name).fill_null(0)).alias(name) for name in totals)
        .with_columns(
            readmitted_365d=pl.when(pl.col("days_to_readmission").is_not_null())
            .then(pl.lit(True))
            .when("complete")
            .then(pl.lit(False))
        )
        .select(
            "person_id",
            "index_date",
            "readmitted_365d",
            "days_to_readmission",
            "n_readmissions_365d",
            "days_in_hospital_365d",
            "is_first_readmission_formal",
            "died_day",
            "censored_day",
            *counts,
        )
    )


def _censoring_day(chosen: Columns, network: Network) -> Array:
    """Days to the end of the data, or of the last month before the trust's next silence (K12)."""
    next_silent = np.full((network.n_trusts, N_MONTHS + 1), N_MONTHS)
    for month in range(N_MONTHS - 1, -1, -1):
        next_silent[:, month] = np.where(network.is_sent[:, month], next_silent[:, month + 1], month)
    silent = next_silent[chosen["trust"], month_of(chosen["index_day"])]
    days: Array = np.minimum(month_end(silent - 1), LAST_DAY) - chosen["index_day"]
    return days


def _after(keys: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Events on day 1 to last_day of each row, `after` days from it."""
    return (
        keys.join(events, on="person")
        .with_columns(after=pl.col("day") - pl.col("at"))
        .filter((pl.col("after") > 0) & (pl.col("after") <= pl.col("last_day")))
    )


def _count(keys: pl.DataFrame, events: Columns) -> Array:
    found = _after(keys, pl.DataFrame({"person": events["person"], "day": events["day"]}))
    return np.bincount(found["row"].to_numpy(), minlength=keys.height)
