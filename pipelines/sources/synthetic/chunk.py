"""One chunk of people, from their birth to their rows in the files."""

import numpy as np

from pipelines.sources.synthetic import community_rows, linked_rows, recorded_rows, truth
from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.clinical import Clinical, code_stays
from pipelines.sources.synthetic.histories import Histories
from pipelines.sources.synthetic.hospital_rows import SPELLS_PER_CHUNK, HospitalRows
from pipelines.sources.synthetic.listing import Listing
from pipelines.sources.synthetic.monthly import MonthlyRows
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import People, draw_people
from pipelines.sources.synthetic.spells import (
    arrange_stays,
    cut_into_spells,
    draw_legal_periods,
    draw_wards,
    is_acute_stay,
)
from pipelines.sources.synthetic.timeline import LAST_DAY, NEVER, Array, Columns, pick
from pipelines.sources.synthetic.trial import run_trial
from pipelines.sources.synthetic.writing import ExtractFiles

STAGES = ("population", "histories", "trial", "spells", "clinical", "rows", "moves")


def write_chunk(
    files: ExtractFiles,
    listing: Listing,
    number: int,
    size: tuple[int, int, int],
    seed: int,
    network: Network,
    imd_decile: Array,
    a: Assumptions,
) -> None:
    """Append chunk `number` to the files. `size`: number of the first person, people, participants."""
    first, n, quota = size
    random = {
        stage: np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, place)))
        for place, stage in enumerate(STAGES)
    }
    people = draw_people(first, n, seed, network, imd_decile, a, random["population"])
    histories = Histories(people, network, a, random["histories"])
    histories.run()
    participants = run_trial(histories, quota, a, random["trial"])
    stays = arrange_stays(histories, a)
    spells = cut_into_spells(stays, a, random["spells"])
    wards = draw_wards(stays, spells, network, a, random["spells"])
    periods = draw_legal_periods(stays, spells, network, a, random["spells"])
    clinical = code_stays(people, stays, spells, network, a, random["clinical"])
    community = {kind: histories.community.all(kind) for kind in ("referrals", "contacts", "emergencies", "physical")}
    referrals = community["referrals"]
    referrals["is_move"] = community_rows.draw_moves(referrals, people, a, random["moves"])
    community["contacts"] = community_rows.contacts_sent(community["contacts"], people, network)
    deaths = linked_rows.draw_registrations(people, a, random["rows"])
    recovered = truth.recover(people, stays, spells, is_acute_stay(stays, spells, wards), network)
    index = truth.index_rows(recovered, people, stays, spells, clinical, participants, a)
    known_death = np.full(n, NEVER)
    known_death[deaths["person"]] = deaths["known"]
    outcomes = truth.outcome_frame(index, recovered, _in_data(community), known_death, people, network)
    index_frame = truth.index_frame(index, people, network)
    files.append_truth("stays", truth.stays_frame(recovered, people, network))
    files.append_truth("index", index_frame)
    files.append_truth("outcomes", outcomes)
    files.append_truth("moves", community_rows.moves_sent(referrals, people, network))
    rows = MonthlyRows(people, network, number, a, random["rows"])
    hospital = HospitalRows(rows, stays, spells, a, random["rows"])
    _write_hospital(files, hospital, wards, periods, clinical, _orders(histories, people, number))
    _write_community(files, rows, community, random["rows"])
    files.append("MHS001MPI", rows.person_index())
    files.append(
        "HES_APC",
        linked_rows.episode_rows(
            people, network, stays, spells, clinical.episodes, community["physical"], number, a, random["rows"]
        ),
    )
    files.append("ECDS", linked_rows.attendance_rows(people, community["emergencies"], a, random["rows"]))
    files.append("ONS_deaths", linked_rows.death_rows(people, deaths, a, random["rows"]))
    listing.add(participants, people, network, stays, spells, hospital.spell_number, seed, a, random["trial"])
    listing.add_effect(index_frame, outcomes, participants, people)


def _in_data(community: dict[str, Columns]) -> dict[str, Columns]:
    emergencies = community["emergencies"]
    return community | {"emergencies": pick(emergencies, (emergencies["day"] >= 0) & (emergencies["day"] <= LAST_DAY))}


def _orders(histories: Histories, people: People, chunk: int) -> Columns:
    """Community treatment orders with their trust and a number that no legal period in hospital has."""
    orders = histories.community.all("orders")
    n = len(orders["person"])
    number = (chunk * SPELLS_PER_CHUNK + 1 + np.arange(n)) * 10 + 9
    orders |= {"trust": people.home_trust[orders["person"]], "number": number}
    return pick(orders, (orders["end"] >= 0) & (orders["start"] <= LAST_DAY))


def _write_hospital(
    files: ExtractFiles, hospital: HospitalRows, wards: Columns, periods: Columns, clinical: Clinical, orders: Columns
) -> None:
    order_months = community_rows.months_open(orders, "start", "end", orders["trust"], hospital.network)
    files.append("MHS501HospProvSpell", hospital.spell_rows())
    files.append("MHS502WardStay", hospital.ward_rows(wards))
    files.append("MHS401MHActPeriod", recorded_rows.legal_rows(hospital, periods, orders, order_months))
    files.append("MHS404CommTreatOrder", recorded_rows.order_rows(hospital, orders, order_months))
    files.append("MHS509HomeLeave", hospital.leave_rows())
    primary, secondary = recorded_rows.diagnosis_rows(hospital, clinical)
    files.append("MHS604PrimDiag", primary)
    files.append("MHS605SecDiag", secondary)
    files.append("MHS606CodedScoreAssessmentRefer", recorded_rows.score_rows(hospital))
    accommodation, employment = recorded_rows.circumstance_rows(hospital)
    files.append("MHS003AccommStatus", accommodation)
    files.append("MHS004EmpStatus", employment)


def _write_community(
    files: ExtractFiles, rows: MonthlyRows, community: dict[str, Columns], rng: np.random.Generator
) -> None:
    referrals, teams = community_rows.referral_rows(rows, community["referrals"], rng)
    files.append("MHS101Referral", referrals)
    files.append("MHS102ServiceTypeReferredTo", teams)
    files.append("MHS201CareContact", community_rows.contact_rows(rows, community["contacts"], rng))
