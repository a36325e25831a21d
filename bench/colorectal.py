"""Readmissions after colorectal cancer surgery -> what every method for times, rates and repeated events says of them.

403 patients (González et al. 2005, J Epidemiol Community Health 59:506; frailtypack's `readmission`), 458 readmissions
at days, 109 deaths. The contrast is chemotherapy; covariates are those known at the first discharge.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from models.propensity import fit_propensity
from models.refusals import Refused
from models.registry import DESIGNS, EFFECTS, OutcomeKind, check_capability
from models.results import Baseline, Design, Estimand, Estimate
from pipelines.design_matrix import build_baseline
from pipelines.protocol import Covariates

FOLDER, HORIZON, DAYS_A_YEAR = "colorectal_readmission", 365, 365.25
CENSORED, READMITTED, DIED = 0, 1, 2
KINDS: tuple[OutcomeKind, ...] = ("recurrent", "count", "time_to_event")
DESIGNS_SHOWN: tuple[tuple[str, Estimand], ...] = (("nearest_neighbour", "ATT"), ("propensity_weighting", "ATE"))
NOT_HERE = "first_readmission_type"  # there is one kind
UNADJUSTED = "nobody left out, no weights"
SOURCE = f"""\
Readmissions after colorectal cancer surgery (403 patients, 458 readmissions, 109 deaths; González et al. 2005, data of
the R package frailtypack), chemotherapy against none, at {HORIZON} days; rates and hazards over the whole follow-up.
Andersen-Gill in R (survival 3.5-3): ratio 0.642 (0.458 to 0.899) for chemotherapy alone, which is `lwyy` without
weights, and 0.784 (0.567 to 1.084) given sex, stage and comorbidity at each readmission. The designs balance sex, stage
and comorbidity at the first discharge, so theirs is a marginal effect, not the same question."""


class Patients:
    """The patients' baseline and treatment, and their histories as each kind of method takes them."""

    def __init__(self, path: Path) -> None:
        rows = pl.read_csv(path)
        people = rows.group_by("id", maintain_order=True).agg(
            pl.col("chemo", "sex", "dukes", "charlson").first(),
            until=pl.col("t.stop").max(),
            died=pl.col("death").max(),
        )
        described = people.with_row_index("person_id").with_columns(index_date=pl.lit(None, pl.Date))
        self.baseline: Baseline = build_baseline(described, Covariates(categorical=("sex", "dukes", "charlson")), [])
        self.treated = (people["chemo"] == "Treated").to_numpy()
        events = rows.filter(pl.col("event") == 1)
        self.row = events.join(people.select("id").with_row_index("row"), on="id", maintain_order="left")["row"]
        self.row = self.row.cast(pl.Int64).to_numpy()
        self.day = events["t.stop"].cast(pl.Float64).to_numpy()
        self.until = people["until"].cast(pl.Float64).to_numpy()
        self.died = (people["died"] > 0).to_numpy()

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """Day and code of what came first: readmission, death or the end of observation."""
        day = np.full(self.until.size, np.inf)
        np.minimum.at(day, self.row, self.day)
        event = np.where(day <= self.until, READMITTED, np.where(self.died, DIED, CENSORED))
        return np.minimum(day, self.until), event.astype(np.int64)


def estimate_all(patients: Patients) -> Iterator[dict[str, object]]:
    """Every method with no design and with each of DESIGNS_SHOWN; a row an estimate."""
    baseline, treated = patients.baseline, patients.treated
    propensity = fit_propensity(baseline, treated, l2_penalty=1.0)
    n = treated.size
    as_they_are = Design(UNADJUSTED, "ATE", treated, np.full(n, 0.5), np.ones(n), np.full(n, -1))
    designs = {(UNADJUSTED, "ATE"): as_they_are}
    for name, estimand in DESIGNS_SHOWN:
        rng = np.random.default_rng(2016)
        designs[name, estimand] = DESIGNS[name].function(baseline, treated, propensity, estimand=estimand, rng=rng)
    for (name, estimand), design in designs.items():
        for effect in EFFECTS:
            for kind in (kind for kind in KINDS if kind in EFFECTS[effect].kinds):
                by = "propensity_weighting" if name == UNADJUSTED else name
                if (
                    effect == NOT_HERE
                    or EFFECTS[effect].individual_effects
                    or check_capability(by, effect, estimand, kind) is not None
                ):
                    continue
                place = {"design": f"{name}, {estimand}", "effect": effect}
                try:
                    found = list(_estimate(effect, kind, patients, design))
                except Refused:
                    yield {**place, "of": "refused"}
                    continue
                for of, item in found:
                    yield {**place, "of": of, "value": item.value, "lower": item.lower, "upper": item.upper}


def _estimate(effect: str, kind: OutcomeKind, patients: Patients, design: Design) -> Iterator[tuple[str, Estimate]]:
    function, baseline = EFFECTS[effect].function, patients.baseline
    if kind == "recurrent":
        horizon = int(patients.until.max()) if effect == "lwyy" else HORIZON
        found = function(patients.row, patients.day, patients.until, patients.died, baseline, design, horizon=horizon)
    elif kind == "count":
        count = np.bincount(patients.row, minlength=patients.until.size).astype(np.float64)
        found = function(count, patients.until / DAYS_A_YEAR, baseline, design)
    else:
        day, event = patients.first()
        for of in function(day, event, baseline, design, horizon=HORIZON).effects:
            yield from ((f"{of.event}, {item.scale}", item) for item in of.estimates)
        return
    yield from ((item.scale, item) for item in (found if isinstance(found, tuple) else found.estimates))


def as_markdown(rows: pl.DataFrame) -> list[str]:
    """A line an estimate, a column a design."""
    designs = list(dict.fromkeys(rows["design"]))
    lines = ["### Readmissions of 403 patients", "", SOURCE, "", f"| effect | of | {' | '.join(designs)} |"]
    lines.append(f"|{'---|' * (len(designs) + 2)}")
    for (effect, of), part in rows.group_by("effect", "of", maintain_order=True):
        by_design = {row["design"]: row for row in part.to_dicts()}
        cells = [_cell(by_design.get(name)) for name in designs]
        lines.append(f"| {effect} | {str(of).replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, object] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    return f"{row['value']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})"
