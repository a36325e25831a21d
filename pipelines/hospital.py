"""HES episodes become spells, spells continuous inpatient spells (CIPS), and those with a psychiatric specialty stays.

Choice made (DOMAIN C1, the Health Foundation's HES pipeline): a row is compared with the one before it in time, of the
same person and provider for spells, of the same person for continuous spells. Episodes that are not finished yet stay:
the finished version of the same admission follows them in the same spell.
"""

import polars as pl

from pipelines.id_order import in_order, sort_by_id

PSYCHIATRIC_SPECIALTIES = [
    *[str(code) for code in (700, 710, 711, 712, 713, 714, 715, *range(720, 728), 730)],
]
TRANSFER_PLACES = ["51", "52", "53"]  # of ADMISORC and DISDEST
TRANSFER_METHODS = ["2B", "67", "81"]
NOT_THE_LAST_EPISODE = ["8", "9"]  # DISMETH of an episode whose spell goes on
TRANSFER_GAP_DAYS = 3
SAME_EPISODE = [
    "person_id",
    "episode_start_date",
    "episode_end_date",
    "episode_order",
    "provider_id",
    "transit_code",
    "admission_date",
    "discharge_date",
]
STAY_COLUMNS = ["start_date", "end_date", "primary_code", "method_code", "n_spells", "is_psychiatric"]
_ORDER = ["person_id", "provider_id", "episode_start_date", "episode_order", "transit_code", "episode_end_date"]


def continuous_stays(episode: pl.DataFrame) -> pl.DataFrame:
    """Continuous inpatient spells of canonical hospital_episode rows, sorted by person_id and start_date.

    Columns person_id, cips_id (from 0 within the person), start_date, end_date (null while a spell has no end),
    primary_code (diagnosis_1_code of the first episode), method_code of the first spell, n_spells, is_psychiatric.
    """
    spells = number_stays(join_spells(deduplicate_episodes(episode)))
    return (
        _whole(spells)
        .with_columns(cips_id=pl.int_range(pl.len()).over("person_id"))
        .select("person_id", "cips_id", *STAY_COLUMNS)
    )


def psychiatric_stays(episode: pl.DataFrame) -> pl.DataFrame:
    """person_id, start_date, end_date of stays under a psychiatric specialty: of each continuous spell the days from
    the first to the last spell with such a specialty. One that has not ended is left out."""
    spells = number_stays(join_spells(deduplicate_episodes(episode)))
    stays = _whole(spells.filter("is_psychiatric"))
    return stays.drop_nulls("end_date").select("person_id", "start_date", "end_date").sort(pl.all())


def deduplicate_episodes(episode: pl.DataFrame) -> pl.DataFrame:
    """One row for each person, period, order, provider, transit and admission: the most complete, then the newest."""
    filled = pl.sum_horizontal(pl.all().is_not_null().cast(pl.Int64))
    return (
        sort_by_id(episode.with_columns(_filled=filled), ["_filled", "sent_date"])
        .unique(SAME_EPISODE, keep="last", maintain_order=True)
        .drop("_filled")
    )


def is_psychiatric() -> pl.Expr:
    """Whether either specialty of an episode is a psychiatric one."""
    columns = ("main_specialty_code", "treatment_specialty_code")
    return pl.any_horizontal(pl.col(name).is_in(PSYCHIATRIC_SPECIALTIES).fill_null(False) for name in columns)


def join_spells(episode: pl.DataFrame) -> pl.DataFrame:
    """Spells of deduplicated episodes: person_id, provider_id, start_date, end_date, source_code and method_code of the
    first episode, destination_code of the last, primary_code, is_psychiatric.

    An episode goes on with the spell before it, of the same person and provider, when it has its admission date or its
    start, or when that one was not the last of its spell and ended on the day this one starts.
    """
    ordered = (
        _fill_admission(episode)
        .with_columns(_end=_end_of_episode(), _psychiatric=is_psychiatric())
        .sort(*_ORDER, *in_order("row_id"), nulls_last=False)
    )
    goes_on = pl.col("discharge_method_code").is_in(NOT_THE_LAST_EPISODE).shift(1) & (
        pl.col("episode_start_date") == pl.col("episode_end_date").shift(1)
    )
    continues = (
        _as_before("person_id")
        & _as_before("provider_id")
        & (_as_before("admission_date") | _as_before("episode_start_date") | goes_on.fill_null(False))
    )
    return (
        ordered.with_columns(
            spell=(~continues).cum_sum(), start_date=pl.min_horizontal("episode_start_date", "admission_date")
        )
        .group_by("spell", maintain_order=True)
        .agg(
            pl.col("person_id").first(),
            pl.col("provider_id").first(),
            pl.col("start_date").min(),
            end_date=pl.col("_end").max(),
            last_end=pl.col("_end").last(),
            source_code=pl.col("source_code").first(),
            method_code=pl.col("method_code").first(),
            destination_code=pl.col("destination_code").last(),
            primary_code=pl.col("diagnosis_1_code").first(),
            is_psychiatric=pl.col("_psychiatric").any(),
        )
        .with_columns(end_date=pl.when(pl.col("last_end").is_not_null()).then("end_date"))
        .drop("spell", "last_end")
    )


def number_stays(spells: pl.DataFrame) -> pl.DataFrame:
    """Adds cips_id, rising with person and time: a spell belongs to the one before it when it starts at most three days
    after that one's end and either side carries a transfer code."""
    order = ["start_date", "end_date", "provider_id", "primary_code", "source_code", "method_code", "destination_code"]
    ordered = spells.sort("person_id", *order, nulls_last=True)
    gap = (pl.col("start_date") - pl.col("end_date").shift(1)).dt.total_days()
    is_transfer = _arrives_by_transfer() | pl.col("destination_code").is_in(TRANSFER_PLACES).shift(1).fill_null(False)
    continues = _as_before("person_id") & (gap <= TRANSFER_GAP_DAYS).fill_null(False) & is_transfer
    return ordered.with_columns(cips_id=(~continues).cum_sum())


def _whole(spells: pl.DataFrame) -> pl.DataFrame:
    """One row for each cips_id, in its order; without an end where one of its spells has none."""
    return (
        spells.group_by("cips_id", maintain_order=True)
        .agg(
            pl.col("person_id").first(),
            pl.col("start_date").min(),
            pl.col("end_date").max(),
            pl.col("primary_code", "method_code").first(),
            n_spells=pl.len().cast(pl.Int64),
            is_psychiatric=pl.col("is_psychiatric").any(),
            n_open=pl.col("end_date").null_count(),
        )
        .with_columns(end_date=pl.when(pl.col("n_open") == 0).then("end_date"))
    )


def _as_before(column: str) -> pl.Expr:
    """Whether the row before has the same value; nothing is not the same as nothing."""
    return (pl.col(column) == pl.col(column).shift(1)).fill_null(False)


def _arrives_by_transfer() -> pl.Expr:
    return pl.col("source_code").is_in(TRANSFER_PLACES).fill_null(False) | pl.col("method_code").is_in(
        TRANSFER_METHODS
    ).fill_null(False)


def _fill_admission(episode: pl.DataFrame) -> pl.DataFrame:
    """A missing admission date is the start of a first episode that is no transfer."""
    filled = pl.when((pl.col("episode_order") == 1) & ~_arrives_by_transfer()).then("episode_start_date")
    return episode.with_columns(admission_date=pl.coalesce("admission_date", filled))


def _end_of_episode() -> pl.Expr:
    """The discharge, else the end of the episode; neither may lie before its start."""
    start = pl.col("episode_start_date")
    usable = [pl.when(pl.col(name) >= start).then(pl.col(name)) for name in ("discharge_date", "episode_end_date")]
    return pl.coalesce(usable)
