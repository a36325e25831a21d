"""The allocation list and the true effect, gathered over chunks and written at the end."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.hospital_rows import labels
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import People, person_ids
from pipelines.sources.synthetic.timeline import LAST_DAY, Array, Columns, date_series, day_number, month_of
from pipelines.sources.synthetic.trial import Participants

UNKNOWN_PERSONS = 5_000_000_000  # running numbers that no person of the extract has


class Listing:
    """Participants of all chunks, and sums for the true effect."""

    def __init__(self) -> None:
        self._listed: list[pl.DataFrame] = []
        self._potential: list[pl.DataFrame] = []
        self._peers: list[pl.DataFrame] = []
        self._n_virtual = self._n_virtual_readmitted = self._n_near = self._n_near_readmitted = 0

    def add(
        self,
        participants: Participants,
        people: People,
        network: Network,
        stays: Columns,
        spells: Columns,
        spell_number: Array,
        seed: int,
        a: Assumptions,
        rng: np.random.Generator,
    ) -> None:
        """Append a chunk's participants, and its ids that the extract does not hold."""
        n = participants.n
        stay_of_spell = spells["stay"]
        key = stays["person"][stay_of_spell] * 10_000 + stays["start"][stay_of_spell]
        first_spell = np.searchsorted(key, participants.person * 10_000 + participants.admission_day)
        given = rng.random(n) < a["trial.index_spell_given"]
        spell = pl.select(pl.when(pl.Series(given)).then(labels("SP", spell_number[first_spell]))).to_series()
        code = network.code_at[participants.trust, month_of(participants.allocation_day)]
        met = participants.is_peer & (rng.random(n) >= a["trial.never_met"])
        sessions = np.where(met, 1 + rng.poisson(a["trial.sessions_mean"], n), 0)
        first_session = np.minimum(participants.allocation_day + rng.integers(1, 15, n), LAST_DAY)
        listed = _listed(
            people.person_id.gather(participants.person),
            participants.is_peer,
            pl.Series(network.codes).gather(code),
            participants.allocation_day,
            spell,
            sessions,
            np.where(met, first_session, -1),
            participants.is_consenting,
        )
        self._listed += [listed, self._unknown(participants.n_unknown, people, network, seed, a, rng)]

    def _unknown(
        self, n: int, people: People, network: Network, seed: int, a: Assumptions, rng: np.random.Generator
    ) -> pl.DataFrame:
        first, last = (day_number(date) for date in a["trial.recruitment"])
        day = rng.integers(first, last + 1, n)
        trust = rng.choice(np.flatnonzero(network.is_trial), n)
        return _listed(
            person_ids(UNKNOWN_PERSONS + int(people.number[0]) + np.arange(n), seed),
            np.arange(n) % 2 == 0,
            pl.Series(network.codes).gather(network.code_at[trust, month_of(day)]),
            day,
            pl.Series([None] * n, dtype=pl.String),
            np.zeros(n, dtype=np.int64),
            np.full(n, -1),
            np.ones(n, dtype=bool),
        )

    def add_effect(
        self, index: pl.DataFrame, outcomes: pl.DataFrame, participants: Participants, people: People
    ) -> None:
        """Potential outcomes of a chunk's linked participants, and how its other eligible discharges fared."""
        usable = participants.is_linked & participants.is_consenting
        potential = pl.DataFrame(
            {
                "person_id": people.person_id.gather(participants.person),
                "arm": np.where(participants.is_peer, "peer", "control"),
                "index_date": date_series(participants.index_day),
                "y0": participants.y0,
                "y1": participants.y1,
                "risk0": participants.risk0,
                "risk1": participants.risk1,
            }
        ).filter(pl.Series(usable, dtype=pl.Boolean))
        self._potential.append(potential)
        eligible = index.filter("is_eligible")
        key = ["person_id", "index_date"]
        peers = eligible.filter(pl.col("arm") == "peer").select(key)
        self._peers.append(potential.join(peers, on=key, how="semi"))
        virtual = eligible.filter(pl.col("arm") == "virtual").select(*key, "trust")
        known = virtual.join(outcomes.select(*key, "readmitted_365d").drop_nulls(), on=key)
        near = known.join(eligible.filter(pl.col("arm") != "virtual").select("trust").unique(), on="trust", how="semi")
        self._n_virtual += known.height
        self._n_virtual_readmitted += int(known["readmitted_365d"].sum())
        self._n_near += near.height
        self._n_near_readmitted += int(near["readmitted_365d"].sum())

    def write(self, folder: Path, a: Assumptions) -> None:
        """participants.csv, truth/potential_outcomes.parquet and truth/effect.json."""
        listed = pl.concat(self._listed).sort("allocation_date", "person_id")
        listed.write_csv(folder / "participants.csv")
        pl.concat(self._potential).sort("person_id").write_parquet(folder / "truth" / "potential_outcomes.parquet")
        content = json.dumps(self.effect(a), indent=1) + "\n"
        (folder / "truth" / "effect.json").write_text(content, encoding="utf-8")

    def effect(self, a: Assumptions) -> dict[str, float | int | None]:
        """The true effect of peer support in the eligible linked peer arm, and what an unadjusted contrast shows.

        risk_* are shares of 0/1 potential outcomes; expected_* the same with each person's risk in place of the
        outcome; naive_* contrasts take the eligible discharges of non-participants whose year is known.
        """
        peers = pl.concat(self._peers)
        usual, support = _mean(peers["y0"]), _mean(peers["y1"])
        virtual = _share(self._n_virtual_readmitted, self._n_virtual)
        near = _share(self._n_near_readmitted, self._n_near)
        expected_usual, expected_support = _mean(peers["risk0"]), _mean(peers["risk1"])
        return {
            "n_peers": peers.height,
            "risk_under_peer_support": support,
            "risk_under_usual_care": usual,
            "risk_difference": _minus(support, usual),
            "risk_ratio": None if not usual or support is None else support / usual,
            "expected_risk_under_peer_support": expected_support,
            "expected_risk_under_usual_care": expected_usual,
            "expected_risk_difference": _minus(expected_support, expected_usual),
            "hazard_ratio": a["effect.hazard_ratio"],
            "hazard_ratio_black": a["effect.hazard_ratio_black"],
            "n_candidate_discharges": self._n_virtual,
            "risk_of_candidates": virtual,
            "naive_risk_difference": _minus(support, virtual),
            "naive_risk_difference_in_trial_trusts": _minus(support, near),
            "selection_bias": _minus(usual, virtual),
            "selection_bias_in_trial_trusts": _minus(usual, near),
            "expected_selection_bias": _minus(expected_usual, virtual),
        }


def _listed(
    person_id: pl.Series,
    is_peer: Array,
    site: pl.Series,
    allocation_day: Array,
    spell: pl.Series,
    sessions: Array,
    first_session_day: Array,
    is_consenting: Array,
) -> pl.DataFrame:
    """Rows of participants.csv; sessions are known for the peer arm only."""
    return pl.DataFrame(
        {
            "person_id": person_id,
            "arm": pl.Series(np.where(is_peer, "peer", "control"), dtype=pl.String),
            "site": site,
            "allocation_date": date_series(allocation_day),
            "index_spell_id": spell,
            "sessions_attended": pl.select(pl.when(pl.Series(is_peer)).then(pl.Series(sessions))).to_series(),
            "first_session_date": date_series(first_session_day, first_session_day >= 0),
            "consent_to_linkage": pl.Series(np.where(is_consenting, "Y", "N"), dtype=pl.String),
        }
    )


def _mean(values: pl.Series) -> float | None:
    return float(values.cast(pl.Float64).mean()) if len(values) else None  # type: ignore[arg-type]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
