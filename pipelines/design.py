"""A cohort becomes designs: who is compared with whom, judged against the protocol before any outcome is read.

Choice made: the design never sees outcomes (Rubin 2008, Ann Appl Stat 2:808): nothing here opens the outcomes file.
Every contrast gets every design of the protocol; the first design of the first contrast is the primary one, and the
study's effects are opened only when it reaches the acceptance thresholds.
"""

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.balance import measure_balance
from models.propensity import fit_propensity
from models.refusals import Refused
from models.registry import DESIGNS
from models.results import Baseline, BoolArray, Design, Propensity
from models.results import Estimand as TargetEstimand
from pipelines import store
from pipelines.artefacts import save_propensity
from pipelines.design_matrix import build_baseline, complete_rows, group_codes
from pipelines.diagnostics import diagnose, judge
from pipelines.errors import naming
from pipelines.imputation import complete_copies, is_imputed, pool_designs, with_verdicts_of, within_a_copy
from pipelines.method_settings.grid import Specification
from pipelines.protocol import Protocol
from pipelines.store import RunFolder, write_json, write_parquet

RANDOMISED = "randomised"
REFUSAL = "refusal"  # the note in which a method says why it made no design
EMPTY = (
    "nobody is in it, because no treated person has an untreated one within all of its limits (calipers, exact groups, "
    "dates, the least ratio, trimming); widen them, or take another pool"
)
HISTOGRAM_BINS = 30


@dataclass(frozen=True)
class Contrast:
    """Two arms that are compared; `is_randomised` contrasts need no design."""

    name: str
    treated_arm: str
    control_arm: str
    is_randomised: bool = False


@dataclass(frozen=True)
class DesignedContrast:
    """A contrast with one design: its rows, their baseline and propensity, all in one order. `name` is that of the
    specification, `incomplete` the treated and untreated rows that left for want of a covariate (complete_case),
    `later` the untreated rows that left because an earlier discharge of the person serves, `outside` those in exact
    groups without anybody treated, which left after that."""

    name: str
    contrast: Contrast
    rows: pl.DataFrame
    baseline: Baseline
    propensity: Propensity | None
    design: Design
    incomplete: tuple[int, int] = (0, 0)
    later: int = 0
    outside: int = 0


def contrasts_of(people: pl.DataFrame, protocol: Protocol) -> list[Contrast]:
    """Treated against virtual controls first; with a randomised control arm, the two benchmark contrasts as well."""
    label = protocol.strategies.treated_label
    contrasts = [Contrast(f"{label}_vs_virtual", "peer", "virtual")]
    if people.filter(pl.col("is_eligible") & (pl.col("arm") == "control")).height:
        contrasts.append(Contrast(f"{label}_vs_randomised", "peer", "control", is_randomised=True))
        contrasts.append(Contrast("randomised_vs_virtual", "control", "virtual"))
    return contrasts


def seeded(protocol: Protocol, *names: str) -> np.random.Generator:
    """A random stream of its own for each named piece of work, so that order and other pieces do not matter."""
    return np.random.default_rng([protocol.study.seed, zlib.crc32("|".join(names).encode())])


class Groundwork:
    """What designs of one contrast share: rows, baseline and fitted score, made once for each set of settings."""

    def __init__(self, rows: pl.DataFrame, contrast: Contrast, protocol: Protocol) -> None:
        """`rows` are eligible rows of the contrast's two arms: cohort columns and covariates, no outcome."""
        self.contrast, self.protocol = contrast, protocol
        self.rows = complete_rows(rows, protocol.covariates.named_with("complete_case"))
        counts = [int(self.is_treated(frame).sum()) for frame in (rows, self.rows)]
        self.incomplete = (counts[0] - counts[1], rows.height - self.rows.height - counts[0] + counts[1])
        self._baselines: dict[tuple[str, tuple[str, ...]], tuple[pl.DataFrame, Baseline]] = {}
        self._left: dict[tuple[str, tuple[str, ...]], tuple[int, int]] = {}
        self._scores: dict[tuple[str, tuple[str, ...], str], Propensity] = {}

    def people(self, specification: Specification) -> tuple[pl.DataFrame, Baseline]:
        """The rows that may serve, and their baseline.

        Candidates in exact groups without any treated person cannot serve and are left out first.
        """
        key = which, _ = self._key(specification)
        if key not in self._baselines:
            pool = _first_discharges(self.rows, self.contrast) if which == "first" else self.rows
            kept = _in_treated_groups(pool, self.contrast, list(specification.exact))
            baseline = build_baseline(
                kept,
                self.protocol.covariates,
                list(specification.exact),
                not_yet_treated=self.protocol.not_yet_treated,
            )
            self._baselines[key] = kept, baseline
            self._left[key] = self.rows.height - pool.height, pool.height - kept.height
        return self._baselines[key]

    def left(self, specification: Specification) -> tuple[int, int]:
        """How many untreated rows are no part of them: later discharges, and rows outside the exact groups."""
        self.people(specification)
        return self._left[self._key(specification)]

    def score(self, specification: Specification) -> Propensity:
        """Their score. Raises Refused where it cannot be fitted."""
        settings = specification.propensity
        key = (*self._key(specification), settings.model_dump_json())
        if key not in self._scores:
            rows, baseline = self.people(specification)
            rng = seeded(self.protocol, "propensity", self.contrast.name)
            self._scores[key] = fit_propensity(baseline, self.is_treated(rows), rng=rng, **settings.model_dump())
        return self._scores[key]

    def _key(self, specification: Specification) -> tuple[str, tuple[str, ...]]:
        may_serve = self.protocol.design.candidate_discharges
        which = may_serve.matching if DESIGNS[specification.method].uses_a_person_once else may_serve.weighting
        return which, specification.exact

    def is_treated(self, rows: pl.DataFrame) -> BoolArray:
        treated: BoolArray = (rows["arm"] == self.contrast.treated_arm).to_numpy()
        return treated


def choose_controls(groundwork: Groundwork, specification: Specification) -> DesignedContrast:
    """One design of one contrast, without sight of any outcome; empty where the method could not make it."""
    contrast, protocol = groundwork.contrast, groundwork.protocol
    rows, baseline = groundwork.people(specification)
    method, target, treated = specification.method, protocol.estimand.target, groundwork.is_treated(rows)
    rng = seeded(protocol, "design", contrast.name, specification.name)
    options = specification.settings.model_dump()
    propensity = _same_for_all(treated)
    try:
        with naming(f"the design {specification.name} of {contrast.name}"):
            propensity = groundwork.score(specification)
            design = DESIGNS[method].function(baseline, treated, propensity, estimand=target, rng=rng, **options)
    except Refused as refusal:
        design = _without_anybody(method, target, treated, propensity, str(refusal))
    else:
        if is_empty(design):
            design = replace(design, notes={**design.notes, REFUSAL: EMPTY})
    later, outside = groundwork.left(specification)
    return DesignedContrast(
        specification.name, contrast, rows, baseline, propensity, design, groundwork.incomplete, later, outside
    )


def take_as_randomised(groundwork: Groundwork) -> DesignedContrast:
    """The comparison of two randomised arms: nobody is chosen and everybody weighs 1."""
    baseline = build_baseline(groundwork.rows, groundwork.protocol.covariates, [])
    design = _as_randomised(groundwork.is_treated(groundwork.rows))
    rows, contrast = groundwork.rows, groundwork.contrast
    return DesignedContrast(RANDOMISED, contrast, rows, baseline, None, design, groundwork.incomplete)


def designs_of(groundwork: Groundwork) -> Iterator[DesignedContrast]:
    """Every design of a contrast, the primary one first."""
    if groundwork.contrast.is_randomised:
        yield take_as_randomised(groundwork)
        return
    for specification in groundwork.protocol.design.specifications():
        yield choose_controls(groundwork, specification)


def is_empty(design: Design) -> bool:
    """Whether nobody of one of the arms has a weight, so that nobody is compared."""
    has = design.weights > 0
    return not ((has & design.treated).any() and (has & ~design.treated).any())


def _same_for_all(treated: BoolArray) -> Propensity:
    share = treated.mean()
    return Propensity(np.full(treated.size, share), np.full(treated.size, np.log(share / (1 - share))), None, 0.0)


def _without_anybody(
    method: str, estimand: TargetEstimand, treated: BoolArray, propensity: Propensity, refusal: str
) -> Design:
    """A method that could not reach its objective leaves an empty design, which is refused, and its own words."""
    nobody, no_set = np.zeros(treated.size), np.full(treated.size, -1, dtype=np.int64)
    return Design(method, estimand, treated, propensity.score, nobody, no_set, {REFUSAL: refusal})


def _first_discharges(rows: pl.DataFrame, contrast: Contrast) -> pl.DataFrame:
    """Every treated row, and the earliest discharge of each candidate.

    Drawing one at random would condition on the future: somebody readmitted has more discharges to draw from, so a
    discharge that was followed by a readmission would be kept less often.
    """
    is_treated = pl.col("arm") == contrast.treated_arm
    is_first = pl.col("index_date").eq_missing(pl.col("index_date").min().over("person_id", "arm"))
    return rows.filter(is_treated | is_first)


def _in_treated_groups(rows: pl.DataFrame, contrast: Contrast, exact: list[str]) -> pl.DataFrame:
    coded = rows.with_columns(pl.Series(":group", group_codes(rows, exact)))
    groups = coded.filter(pl.col("arm") == contrast.treated_arm).select(":group").unique()
    return coded.join(groups, on=":group", how="semi", maintain_order="left").drop(":group")


def _as_randomised(treated: BoolArray) -> Design:
    share = np.full(treated.size, treated.mean())
    no_set = np.full(treated.size, -1, dtype=np.int64)
    return Design(RANDOMISED, "ATT", treated, share, np.ones(treated.size), no_set)


def summarise(designed: DesignedContrast, protocol: Protocol) -> dict[str, Any]:
    """What design.json says of one design of one contrast."""
    design = designed.design
    entry: dict[str, Any] = {
        "name": designed.name,
        "method": design.method,
        "estimand": design.estimand,
        "notes": dict(design.notes),
        "incomplete": {"treated": designed.incomplete[0], "control": designed.incomplete[1]},
        "later_discharges": designed.later,
        "outside_exact_groups": designed.outside,
    }
    if designed.propensity is None:
        balance = [asdict(row) for row in measure_balance(designed.baseline, design)]
        nothing_to_judge = {"accepted": True, "verdicts": [], "overlap": None, "histogram": None, "diagnostics": None}
        return {**entry, "balance": balance, **nothing_to_judge}
    left = designed.incomplete[0]
    found = diagnose(designed.baseline, design, designed.propensity, protocol.power, n_treated_left=left)
    verdicts = judge(
        found,
        protocol.acceptance,
        estimand=design.estimand,
        n_treated_left=designed.incomplete[0],
        n_control_left=designed.incomplete[1],
        n_outside=designed.outside,
    )
    if REFUSAL in design.notes:
        refused = {"check": "method_reached_its_objective", "limit": 1.0, "value": 0.0, "passed": False}
        verdicts.insert(0, {**refused, "words": design.notes[REFUSAL]})
    return {
        **entry,
        "balance": [asdict(row) for row in found.balance],
        "accepted": all(verdict["passed"] for verdict in verdicts),
        "verdicts": verdicts,
        "overlap": asdict(found.overlap),
        "histogram": _histogram(design, designed.propensity),
        "diagnostics": found.as_entry(),
    }


def _histogram(design: Design, propensity: Propensity) -> dict[str, list[float]]:
    """Scores on the log-odds scale: treated, all candidates, and controls by their weights."""
    low, high = np.quantile(propensity.linear, [0.001, 0.999])
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    inside = np.clip(propensity.linear, low, high)
    control = ~design.treated

    def count(rows: BoolArray, weights: np.ndarray | None = None) -> list[float]:
        heights: list[float] = np.histogram(inside[rows], edges, weights=weights)[0].astype(float).tolist()
        return heights

    return {
        "edges": edges.tolist(),
        "treated": count(design.treated),
        "pool": count(control),
        "controls": count(control, design.weights[control]),
    }


def design_study(run: RunFolder, out: Path, protocol: Protocol) -> bool:
    """Design every contrast of a run from its cohort and baseline files; write the design files into `out`.

    Returns whether the primary design of the primary contrast was accepted.
    """
    people = run.read(store.COHORT).filter("is_eligible")
    baseline = run.read(store.BASELINE)
    shared = [name for name in baseline.columns if name in people.columns and name != "row_id"]
    rows = people.join(baseline.drop(shared), on="row_id", how="inner", maintain_order="left")
    if is_imputed(protocol):
        return _design_copies(rows, list(baseline.columns), out, protocol)
    summary, tables = design_rows(rows, out, protocol)
    _write_designs(out, summary, tables)
    return bool(summary["accepted"])


def design_rows(rows: pl.DataFrame, out: Path, protocol: Protocol) -> tuple[dict[str, Any], list[pl.DataFrame]]:
    """Every design of every contrast of eligible rows: what design.json says, and a table of rows for each design, the
    primary one first. Fitted models go into `out`."""
    contrasts: list[dict[str, Any]] = []
    tables: list[pl.DataFrame] = []
    for contrast in contrasts_of(rows, protocol):
        of_arms = rows.filter(pl.col("arm").is_in([contrast.treated_arm, contrast.control_arm]))
        entries: list[dict[str, Any]] = []
        for designed in designs_of(Groundwork(of_arms, contrast, protocol)):
            with naming(f"the balance of the design {designed.name} of {contrast.name}"):
                entries.append(summarise(designed, protocol))
            tables.append(_rows_of(designed))
            save_propensity(out / store.MODELS / contrast.name / designed.name, designed.baseline, designed.propensity)
        arms = {"treated_arm": contrast.treated_arm, "control_arm": contrast.control_arm}
        contrasts.append({"contrast": contrast.name, **arms, "designs": entries})
    return {"accepted": bool(contrasts[0]["designs"][0]["accepted"]), "contrasts": contrasts}, tables


def _design_copies(rows: pl.DataFrame, covariates: list[str], out: Path, protocol: Protocol) -> bool:
    """The designs of every completed copy, each in a folder of its own; the run's own files hold what they say together
    and the rows of the first copy."""
    within, summaries = within_a_copy(protocol), []
    copies = complete_copies(rows, protocol, lambda number: seeded(protocol, "imputation", str(number)))
    for number, completed in copies:
        folder = RunFolder(out).imputation(number)
        summary, tables = design_rows(completed, folder.path, within)
        summaries.append(summary)
        write_parquet(folder.file(store.BASELINE), completed.select(covariates))
        write_parquet(folder.file(store.OTHER_DESIGNS), pl.concat(tables))
        if number == 1:
            first = tables
    pooled = pool_designs(summaries)
    for number, summary in enumerate(summaries, start=1):
        write_json(RunFolder(out).imputation(number).file(store.DESIGN_SUMMARY), with_verdicts_of(pooled, summary))
    _write_designs(out, pooled, first)
    return bool(pooled["accepted"])


def _write_designs(out: Path, summary: dict[str, Any], tables: list[pl.DataFrame]) -> None:
    write_parquet(out / store.DESIGN, tables[0].drop("contrast", "design"))
    write_parquet(out / store.OTHER_DESIGNS, pl.concat(tables))
    write_json(out / store.DESIGN_SUMMARY, summary)


def _rows_of(designed: DesignedContrast) -> pl.DataFrame:
    design = designed.design
    return designed.rows.select("row_id").with_columns(
        contrast=pl.lit(designed.contrast.name),
        design=pl.lit(designed.name),
        treated=pl.Series(design.treated),
        score=pl.Series(design.score),
        weight=pl.Series(design.weights),
        matched_set=pl.Series(design.matched_set),
    )
