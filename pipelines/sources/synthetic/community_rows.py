"""Community referrals, their teams and contacts as rows of the monthly tables, and the anonymous provider's."""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.community import ATTENDANCE, COMMUNITY_TEAM, CRISIS_TEAM
from pipelines.sources.synthetic.hospital_rows import labels, times
from pipelines.sources.synthetic.messes import soil
from pipelines.sources.synthetic.monthly import MonthlyRows, months_of_days, row_numbers
from pipelines.sources.synthetic.network import ANONYMOUS, Network
from pipelines.sources.synthetic.population import GROUP_OF_CODE, People
from pipelines.sources.synthetic.spells import Months
from pipelines.sources.synthetic.timeline import (
    FIRST_UNIQ_MONTH_ID,
    LAST_DAY,
    N_MONTHS,
    Array,
    Columns,
    date_series,
    draw_labels,
    expit,
    month_number,
    month_of,
    pick,
    spread,
)

REFERRALS_PER_CHUNK = 10_000_000
ANONYMOUS_RECORDS = 900_000_000_000_000  # record numbers that no person index holds
CRISIS_CODES_RETIRED = month_number("2019-04")  # A03 and A04 become A02, the first of the list (DOMAIN B6)


def contacts_sent(contacts: Columns, people: People, network: Network) -> Columns:
    """The contacts that arrive, with the trust that sends them."""
    trust = people.home_trust[contacts["person"]]
    sent = months_of_days(contacts["person"], trust, contacts["day"], network)
    return pick(contacts | {"trust": trust}, sent)


def months_open(events: Columns, first: str, last: str, trust: Array, network: Network) -> Months:
    """The months in which each event is open and its trust submits."""
    row, month = spread(np.maximum(month_of(events[first]), 0), np.minimum(month_of(events[last]), N_MONTHS - 1))
    sent = network.is_sent[trust[row], month]
    return Months(row[sent], month[sent])


def referral_rows(rows: MonthlyRows, referrals: Columns, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """MHS101Referral and MHS102ServiceTypeReferredTo of community and crisis teams."""
    people, network, a = rows.people, rows.network, rows.a
    trust = people.home_trust[referrals["person"]]
    months = months_open(referrals, "opened", "closed", trust, network)
    of, of_trust, n = pick(referrals, months.row), trust[months.row], len(months.row)
    is_crisis = of["team"] == CRISIS_TEAM
    is_end = (months.month == month_of(of["closed"])) & (of["closed"] <= LAST_DAY)
    number = labels("RC", rows.chunk * REFERRALS_PER_CHUNK + of["referral"])
    group = GROUP_OF_CODE[people.code[of["person"]]]
    referral = rows.start("101", of["person"], of_trust, months.month).with_columns(
        UniqServReqID=number,
        ReferralRequestReceivedDate=date_series(of["opened"]),
        ServDischDate=date_series(of["closed"], is_end),
        SourceOfReferralMH=pl.Series(np.where(is_crisis, "H1", "A1")),
        ClinRespPriorityType=pl.Series(np.where(is_crisis, "1", "3")),
        PrimReasonReferralMH=pl.Series(["02", "14", "04"]).gather(np.minimum(group, 2)),
        ReferRejectionDate=pl.lit(None, pl.Date),
        ReferClosReason=pl.when(pl.Series(is_end & of["is_move"]))
        .then(pl.lit(a["codes.closing_reason"]["moved"]))
        .when(pl.Series(is_end))
        .then(pl.lit(a["codes.closing_reason"]["other"])),
    )
    team = _team_types(referrals, months, a, rng)
    teams = rows.start("102", of["person"], of_trust, months.month).with_columns(
        UniqServReqID=number,
        UniqCareProfTeamID=referral["OrgIDProv"] + "T" + team,
        ServTeamTypeRefToMH=team,
        ReferClosureDate=date_series(of["closed"], is_end),
        ReferRejectionDate=pl.lit(None, pl.Date),
    )
    referral = referral.with_columns(soil("SourceOfReferralMH", rng, n, a), soil("PrimReasonReferralMH", rng, n, a))
    return with_duplicates(referral, rng, a), teams.with_columns(soil("ServTeamTypeRefToMH", rng, n, a))


def draw_moves(referrals: Columns, people: People, a: Assumptions, rng: np.random.Generator) -> Array:
    """Which referrals a community team closes because the person moved out of the area."""
    level, per_severity = a["contacts.moved_away"]
    chance = expit(level + per_severity * people.severity[referrals["person"]])
    moves: Array = (rng.random(len(chance)) < chance) & (referrals["team"] == COMMUNITY_TEAM)
    return moves


def moves_sent(referrals: Columns, people: People, network: Network) -> pl.DataFrame:
    """truth/moves.parquet: the moves whose closing arrives."""
    closed = referrals["closed"]
    moved = pick(referrals, referrals["is_move"] & (closed >= 0) & (closed <= LAST_DAY))
    trust = people.home_trust[moved["person"]]
    arrives = network.is_sent[trust, month_of(moved["closed"])]
    moved, trust = pick(moved, arrives), trust[arrives]
    return pl.DataFrame(
        {
            "person_id": people.person_id.gather(moved["person"]),
            "trust": pl.Series(network.codes).gather(network.final_code[trust]),
            "moved_date": date_series(moved["closed"]),
        }
    )


def _team_types(referrals: Columns, months: Months, a: Assumptions, rng: np.random.Generator) -> pl.Series:
    """Team type of each row: the same in all months of a referral, but for crisis codes that are retired."""
    crisis, community = (list(a[f"codes.{kind}_team"]) for kind in ("crisis", "community"))
    n = len(referrals["team"])
    drawn = np.where(
        referrals["team"] == CRISIS_TEAM,
        draw_labels(rng, a["codes.crisis_team"], n),
        len(crisis) + draw_labels(rng, a["codes.community_team"], n),
    )[months.row]
    is_retired = (drawn < len(crisis)) & (months.month >= CRISIS_CODES_RETIRED)
    return pl.Series(crisis + community).gather(np.where(is_retired, 0, drawn))


def contact_rows(rows: MonthlyRows, contacts: Columns, rng: np.random.Generator) -> pl.DataFrame:
    """MHS201CareContact of contacts that are sent, with some exact duplicates and the anonymous provider's contacts."""
    n, chunk, a = len(contacts["day"]), rows.chunk, rows.a
    crisis = contacts["team"] == CRISIS_TEAM
    month = month_of(contacts["day"])
    frame = rows.start("201", contacts["person"], contacts["trust"], month).with_columns(
        UniqServReqID=labels("RC", chunk * REFERRALS_PER_CHUNK + contacts["referral"]),
        UniqCareContID=labels("CC", chunk * REFERRALS_PER_CHUNK + np.arange(n)),
        CareContDate=date_series(contacts["day"]),
        AttendOrDNACode=pl.Series(ATTENDANCE).gather(contacts["attendance"]),
        ActLocTypeCode=pl.Series(np.where(crisis, "A01", "B01")),
        PlannedCareContIndicator=pl.Series(np.where(crisis, "N", "Y")),
        **_contact_details(n, a, rng),
    )
    frame = with_duplicates(frame.with_columns(soil("AttendOrDNACode", rng, n, a)), rng, a)
    return pl.concat([frame, _anonymous_contacts(rows, n, rng).select(frame.columns)])


def _contact_details(n: int, a: Assumptions, rng: np.random.Generator) -> dict[str, pl.Series | pl.Expr]:
    return {
        "CareContTime": times(rng, n),
        "ConsMechanismMH": pl.Series(list(a["codes.mechanism"])).gather(draw_labels(rng, a["codes.mechanism"], n)),
        "ClinContDurOfCareCont": pl.Series(rng.integers(10, 90, n)),
        "CareContCancelDate": pl.lit(None, pl.Date),
    }


def _anonymous_contacts(rows: MonthlyRows, n_contacts: int, rng: np.random.Generator) -> pl.DataFrame:
    """Contacts of the anonymous provider: no person, one that does not exist, or somebody's pseudonym by accident."""
    people, chunk = rows.people, rows.chunk
    n = int(rng.binomial(n_contacts, rows.a["messes.anonymous_contacts"]))
    day = rng.integers(0, LAST_DAY + 1, n)
    person = people.person_id.gather(rng.integers(0, len(people), n))
    unstable = labels("DFC", chunk * REFERRALS_PER_CHUNK + np.arange(n))
    kind = rng.integers(0, 3, n)
    number = chunk * REFERRALS_PER_CHUNK + np.arange(n)
    return pl.DataFrame(
        {
            "Person_ID": pl.select(
                pl.when(pl.Series(kind == 0)).then(unstable).when(pl.Series(kind == 1)).then(person)
            ).to_series(),
            "RecordNumber": ANONYMOUS_RECORDS + number,
            "OrgIDProv": [ANONYMOUS] * n,
            "UniqMonthID": month_of(day) + FIRST_UNIQ_MONTH_ID,
            "month": month_of(day),
            "UniqServReqID": labels("RD", number),
            "UniqCareContID": labels("CD", number),
            "CareContDate": date_series(day),
            "AttendOrDNACode": pl.Series(["5", "3"]).gather(rng.integers(0, 2, n)),
            "ActLocTypeCode": ["A01"] * n,
            "PlannedCareContIndicator": ["N"] * n,
        },
        schema_overrides={"RecordNumber": pl.Int64},
    ).with_columns(
        row_numbers("MHS201UniqID", chunk, n) + 50_000_000,  # after the chunk's other contacts
        **_contact_details(n, rows.a, rng),
    )


def with_duplicates(frame: pl.DataFrame, rng: np.random.Generator, a: Assumptions) -> pl.DataFrame:
    """Some rows twice, exactly."""
    row = np.arange(frame.height)
    twice = np.repeat(row, 1 + (rng.random(frame.height) < a["messes.duplicate_rows"]))
    return frame[twice]
