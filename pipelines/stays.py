"""Raw monthly spells become continuous stays: resubmissions, repairs, twins, transfers (DOMAIN B8, I1-I11, K1-K7, K13).

Choice made: the latest submitted month of a spell wins, spells at most a day apart (three with a transfer signal) are
one stay, and a spell that stopped arriving without a discharge is inactive, never a stay to this day.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts
from pipelines.id_order import sort_by_id

PLACEHOLDER_BEFORE = date(1901, 1, 2)  # NHS England takes 1901-01-01 for a placeholder too (DOMAIN I9)
FAR_FUTURE = date(9999, 12, 31)  # stands for the end of an open spell while ends are compared
FIRST_DAYS = {
    "spell": "start_date",
    "ward_stay": "start_date",
    "contact": "contact_date",
    "hospital_episode": "episode_start_date",
    "emergency_attendance": "arrival_date",
}
"""What shows that somebody was alive on a day."""
ENDS = ("discharge_date", "end_date", "closed_date")
TRANSFER_SOURCES = ["49", "51", "52", "53", "87"]
TRANSFER_DESTINATIONS = ["48", "49", "50", "51", "52", "53", "84", "87"]
TRANSFER_METHODS = ["2B", "81"]
ADULT_ACUTE_CLASSES = ["10", "200"]
CHILD_CLASSES = [str(code) for code in (*range(23, 35), *range(300, 312))]
KNOWN_CLASSES = [str(code) for code in (*range(10, 41), *range(200, 214), *range(300, 312))]
PLACE_OF_SAFETY = ["19", "20"]
HOSPITAL_DETENTION = [
    "02",
    "03",
    "07",
    "08",
    "09",
    "10",
    "12",
    "13",
    "14",
    "15",
    "16",
    "17",
    "18",
    "31",
    "32",
    "37",
    "38",
]


@dataclass(frozen=True)
class LinkingRules:
    """How far apart spells of one continuous stay may lie, in days, and which ward makes a stay acute."""

    link_gap_days: int = 1
    transfer_gap_days: int = 3
    acute_ward: str = "any"


def build_stays(tables: Mapping[str, pl.DataFrame], facts: ExtractFacts, rules: LinkingRules) -> pl.DataFrame:
    """Continuous stays of every person in `tables` (spell, ward_stay, legal_period, community_order, death).

    Returns a row per stay, sorted by person_id and start_date: person_id, stay_id (number within the person from 0),
    start_date, end_date (null when open), end_reason (discharge | death | inactive | open), trust (final code of the
    last spell's provider), provider_id (the same as submitted), n_spells, is_acute, is_adult, is_zero_day,
    is_place_of_safety_only, is_detained_on_admission, is_detained_at_discharge (null when open), is_ever_detained,
    destination_code, discharge_method_code, planned_discharge_date, los_days, distance_home, spells (a list of
    spell_ids, spell_start and spell_end).
    """
    wards = clean_wards(tables["ward_stay"])
    linked = link_spells(usable_spells(tables, facts), rules)
    stays = summarise_stays(linked, tables["death"])
    stays = _add_bed_classes(stays, linked, wards, rules)
    return _add_legal_status(stays, tables, facts).sort("person_id", "start_date")


def usable_spells(tables: Mapping[str, pl.DataFrame], facts: ExtractFacts) -> pl.DataFrame:
    """Each spell once, with a start, and an end where there is one (K6, K7)."""
    return drop_twins(repair_spells(tables["spell"], clean_wards(tables["ward_stay"]), facts), facts)


def latest(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The row of the latest submitted month for each key; a tie goes to the larger source key (id_order), then to the
    larger record number. Where both are alike or missing it goes to the row that tells an end, since what was open is
    closed later and hardly ever opened again, then to the one with more cells, then to the larger cells in their
    order."""
    month = pl.col("month_id")
    newest = frame.filter(month.eq_missing(month.max().over(keys)))
    is_tied = newest.select(keys).is_duplicated()  # few are, and texts are slow to sort
    tied = newest.filter(is_tied)
    ends = [pl.col(name).is_not_null() for name in ENDS if name in frame.columns]
    filled = pl.sum_horizontal(pl.all().is_not_null())
    has_end = [pl.any_horizontal(*ends)] if ends else []
    by_content = tied.sort(*has_end, filled, pl.all(), nulls_last=False)
    last = sort_by_id(by_content, []).unique(keys, keep="last", maintain_order=True)
    return pl.concat([newest.filter(~is_tied), last])


def clean_wards(ward_stay: pl.DataFrame) -> pl.DataFrame:
    """One row per ward stay, placeholder dates and ends before starts made missing. Without an id a ward stay is known
    by its start."""
    start = _without_placeholder("start_date")
    end = _without_placeholder("end_date")
    known = ward_stay.with_columns(start_without_id=pl.when(pl.col("ward_stay_id").is_null()).then("start_date"))
    return (
        latest(known, ["person_id", "spell_id", "ward_stay_id", "start_without_id"])
        .drop("start_without_id")
        .with_columns(start, end)
        .with_columns(
            end_date=pl.when(pl.col("end_date") >= pl.col("start_date").fill_null(pl.col("end_date"))).then("end_date")
        )
    )


def repair_spells(spell: pl.DataFrame, wards: pl.DataFrame, facts: ExtractFacts) -> pl.DataFrame:
    """One row per spell with a usable start, an end where there is one, and `is_inactive` (K6)."""
    ward_dates = wards.group_by("person_id", "spell_id").agg(
        first_ward_start=pl.col("start_date").min(),
        last_ward_end=pl.when(pl.col("end_date").is_not_null().all()).then(pl.col("end_date").max()),
    )
    is_stopped = pl.col("month_id") < facts.last_month_id
    return (
        latest(spell, ["person_id", "spell_id"])
        .join(ward_dates, on=["person_id", "spell_id"], how="left")
        .with_columns(_without_placeholder("start_date"), _without_placeholder("discharge_date"))
        .with_columns(pl.col("start_date").fill_null(pl.col("first_ward_start")))
        .filter(pl.col("start_date").is_not_null())
        .with_columns(discharge_date=pl.when(pl.col("discharge_date") >= pl.col("start_date")).then("discharge_date"))
        .with_columns(
            end_date=pl.coalesce(
                "discharge_date",
                pl.when(is_stopped & (pl.col("last_ward_end") >= pl.col("start_date"))).then("last_ward_end"),
                pl.when(is_stopped).then(pl.max_horizontal(LAST_DAY_OF_MONTH_ID, "start_date")),
            ),
            is_inactive=pl.col("discharge_date").is_null()
            & is_stopped
            & (pl.col("last_ward_end") >= pl.col("start_date")).fill_null(False).not_(),
        )
    )


def drop_twins(spells: pl.DataFrame, facts: ExtractFacts) -> pl.DataFrame:
    """One row where the same spell was sent under two ids; `spell_ids` keeps both for their wards (K7)."""
    key = ["person_id", "trust", "start_date", "end_date"]
    with_trust = spells.with_columns(trust=pl.col("provider_id").replace(facts.final_code))
    ids = with_trust.group_by(key).agg(spell_ids=pl.col("spell_id").sort())
    kept = sort_by_id(with_trust, ["month_id"], ["spell_id"]).unique(key, keep="last", maintain_order=True)
    return kept.join(ids, on=key, how="left", nulls_equal=True, maintain_order="left")


def link_spells(spells: pl.DataFrame, rules: LinkingRules) -> pl.DataFrame:
    """Number the continuous stays of each person: adds `stay_id` (from 0 within the person) and `open_end` (K1)."""
    ordered = spells.with_columns(open_end=pl.col("end_date").fill_null(FAR_FUTURE)).sort(
        "person_id", "start_date", "open_end", "spell_id"
    )
    leaving = ordered.group_by("person_id", running_end="open_end").agg(
        leaves_by_transfer=pl.col("destination_code").is_in(TRANSFER_DESTINATIONS).fill_null(False).any()
    )
    arrives_by_transfer = pl.col("source_code").is_in(TRANSFER_SOURCES).fill_null(False) | pl.col("method_code").is_in(
        TRANSFER_METHODS
    ).fill_null(False)
    gap = (pl.col("start_date") - pl.col("running_end")).dt.total_days()
    allowed = pl.when(arrives_by_transfer | pl.col("leaves_by_transfer")).then(rules.transfer_gap_days)
    return (
        ordered.with_columns(running_end=pl.col("open_end").cum_max().shift(1).over("person_id"))
        .join(leaving, on=["person_id", "running_end"], how="left", maintain_order="left")
        .with_columns(starts_stay=(gap > allowed.otherwise(rules.link_gap_days)).fill_null(True))
        .with_columns(stay_id=pl.col("starts_stay").cast(pl.Int64).cum_sum().over("person_id") - 1)
    )


def summarise_stays(linked: pl.DataFrame, death: pl.DataFrame) -> pl.DataFrame:
    """One row per stay: first start, last end, and what the last spell says about the end."""
    last_spell = sort_by_id(linked, ["person_id", "stay_id", "open_end", "start_date"], ["spell_id"])
    died = deaths(death)
    stays = last_spell.group_by("person_id", "stay_id", maintain_order=True).agg(
        pl.col("start_date").min(),
        pl.col("open_end").max(),
        pl.col("trust", "provider_id", "destination_code", "discharge_method_code", "is_inactive").last(),
        pl.col("planned_discharge_date").last(),
        n_spells=pl.len().cast(pl.Int64),
        spells=pl.struct("spell_ids", spell_start="start_date", spell_end="end_date"),
    )
    said_dead = (pl.col("discharge_method_code") == "4").fill_null(False) | (
        pl.col("destination_code") == "79"
    ).fill_null(False)
    is_dead = said_dead | (pl.col("death_date") <= pl.col("end_date")).fill_null(False)
    return (
        stays.with_columns(end_date=pl.when(pl.col("open_end") != FAR_FUTURE).then("open_end"))
        .join(died, on="person_id", how="left", maintain_order="left")
        .with_columns(
            end_reason=pl.when(pl.col("end_date").is_null())
            .then(pl.lit("open"))
            .when(is_dead)
            .then(pl.lit("death"))
            .when("is_inactive")
            .then(pl.lit("inactive"))
            .otherwise(pl.lit("discharge")),
            is_zero_day=(pl.col("end_date") == pl.col("start_date")).fill_null(False),
            los_days=(pl.col("end_date") - pl.col("start_date")).dt.total_days(),
        )
        .drop("open_end", "is_inactive", "death_date")
    )


def usable_deaths(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Rows of the table `death` but for those dated before the first day of all that is known of the person
    (FIRST_DAYS): the date is wrong, or the death is somebody else's."""
    death = tables["death"]
    days = [
        tables[table].select("person_id", _day=column).join(death, on="person_id", how="semi")
        for table, column in FIRST_DAYS.items()
    ]
    real = pl.concat(days).filter(pl.col("_day") >= PLACEHOLDER_BEFORE)
    first = real.group_by("person_id").agg(_first=pl.col("_day").min())
    is_too_early = (pl.col("death_date") < pl.col("_first")).fill_null(False)
    return death.join(first, on="person_id", how="left", maintain_order="left").filter(~is_too_early).drop("_first")


def deaths(death: pl.DataFrame) -> pl.DataFrame:
    """person_id, death_date: the earliest registered date of each person."""
    return death.drop_nulls("death_date").group_by("person_id").agg(pl.col("death_date").min())


def _add_bed_classes(
    stays: pl.DataFrame, linked: pl.DataFrame, wards: pl.DataFrame, rules: LinkingRules
) -> pl.DataFrame:
    of_stay = (
        linked.select("person_id", "stay_id", spell_id="spell_ids")
        .explode("spell_id")
        .join(wards, on=["person_id", "spell_id"])
        .filter(pl.col("bed_class_code").is_in(KNOWN_CLASSES))
        .with_columns(open_end=pl.col("end_date").fill_null(FAR_FUTURE))
    )
    acute = pl.col("bed_class_code").is_in(ADULT_ACUTE_CLASSES)
    in_time = sort_by_id(of_stay, ["open_end", "start_date"], ["ward_stay_id", "row_id"])
    classes = in_time.group_by("person_id", "stay_id").agg(
        is_acute=acute.any() if rules.acute_ward == "any" else acute.last(),
        is_adult=pl.col("bed_class_code").is_in(CHILD_CLASSES).not_().any(),
        distance_home=pl.col("distance_home").drop_nulls().last(),
    )
    return stays.join(classes, on=["person_id", "stay_id"], how="left").with_columns(
        pl.col("is_acute").fill_null(False), pl.col("is_adult").fill_null(True)
    )


def legal_periods(legal_period: pl.DataFrame, facts: ExtractFacts) -> pl.DataFrame:
    """One row per legal period (B8): the latest month of its ids, and then of the person, (final) provider, start and
    status, since a period can come again under new ids; where a file has no period ids, periods differ by their start.
    One without an end that stopped arriving ends with its last month."""
    stopped = pl.when(pl.col("month_id") < facts.last_month_id).then(LAST_DAY_OF_MONTH_ID)
    known = legal_period.with_columns(
        final_provider=pl.col("provider_id").replace(facts.final_code),
        start_without_id=pl.when(pl.col("period_id").is_null()).then("start_date"),
    )
    by_id = latest(known, ["person_id", "episode_id", "period_id", "start_without_id"])
    return (
        latest(by_id, ["person_id", "final_provider", "start_date", "legal_code"])
        .with_columns(end_date=pl.coalesce("end_date", stopped))
        .drop("final_provider", "start_without_id")
    )


def _add_legal_status(stays: pl.DataFrame, tables: Mapping[str, pl.DataFrame], facts: ExtractFacts) -> pl.DataFrame:
    periods = legal_periods(tables["legal_period"], facts).select(
        "person_id", "episode_id", "legal_code", period_start="start_date", period_end="end_date"
    )
    # An episode that is a treatment order, its recall or a conditional discharge is no detention (MHS403-405).
    community = tables["community_order"].select("person_id", "episode_id").drop_nulls().unique()
    both = stays.select("person_id", "stay_id", "start_date", "end_date").join(periods, on="person_id")
    touches_stay = (pl.col("period_start") <= pl.col("end_date")).fill_null(True) & (
        pl.col("period_end") >= pl.col("start_date")
    ).fill_null(True)
    safety = (
        both.filter(touches_stay)
        .group_by("person_id", "stay_id")
        .agg(is_only_safety=pl.col("legal_code").is_in(PLACE_OF_SAFETY).fill_null(False).all())
    )
    next_day = pl.col("start_date").dt.offset_by("1d")
    last_day = pl.col("end_date")
    detained = (
        both.join(community, on=["person_id", "episode_id"], how="anti")
        .filter(pl.col("legal_code").is_in(HOSPITAL_DETENTION))
        .group_by("person_id", "stay_id")
        .agg(
            is_detained_on_admission=_touches(pl.col("start_date"), next_day).any(),
            is_detained_at_discharge=_touches(last_day, last_day).any(),
            is_ever_detained=_touches(pl.col("start_date"), last_day.fill_null(FAR_FUTURE)).any(),
        )
    )
    key = ["person_id", "stay_id"]
    return (
        stays.join(safety, on=key, how="left")
        .join(detained, on=key, how="left")
        .with_columns(
            pl.col("is_detained_on_admission", "is_ever_detained").fill_null(False),
            is_detained_at_discharge=pl.when(last_day.is_not_null()).then(
                pl.col("is_detained_at_discharge").fill_null(False)
            ),
            is_place_of_safety_only=pl.col("is_only_safety").fill_null(False)
            & (pl.col("los_days") <= 1).fill_null(False),
        )
        .drop("is_only_safety")
    )


def _touches(first: pl.Expr, last: pl.Expr) -> pl.Expr:
    """Whether a legal period has a day in [first, last]; False where `last` is not known."""
    begins = (pl.col("period_start") <= last).fill_null(False)
    return begins & (pl.col("period_end") >= first).fill_null(True)


def _without_placeholder(column: str) -> pl.Expr:
    return pl.when(pl.col(column) >= PLACEHOLDER_BEFORE).then(pl.col(column)).alias(column)
