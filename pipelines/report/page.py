"""The report's dict and figures become one HTML page that opens offline: style and drawings inside, no script."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import wording
from pipelines.report.effects_facts import at_landmarks

HERE = Path(__file__).parent


def write_page(summary: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The whole page as text; the same dict and figures give the same text."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "label": wording.label,
        "contrast": wording.contrast_label,
        "whole": wording.whole,
        "number": wording.number,
        "mid": wording.mid,
        "p_value": wording.p_value,
        "percent": wording.percent,
        "interval": wording.interval,
        "effect": wording.effect,
        "cell": _cell,
        "reason": wording.reason,
        "arm": wording.arm_label,
        "verdict_number": _verdict_number,
    }
    page = environment.get_template("page.html")
    return page.render(
        s=summary,
        study=summary["study"],
        effects=summary["effects"],
        figures={name: Markup(svg) for name, svg in figures.items()},  # our own drawings, escaped where drawn
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # our own file
        words=_sentences(summary),
        landmarks=at_landmarks(summary["effects"]["curves"]) if _has(summary, "curves") else [],
        table1=_group_rows(summary["table1"]["rows"]),
    )


def _has(summary: Mapping[str, Any], part: str) -> bool:
    return bool(summary["effects"]) and bool(summary["effects"][part])


def _sentences(summary: Mapping[str, Any]) -> dict[str, Any]:
    study, effects = summary["study"], summary["effects"]
    treated = "those offered peer support" if study["treated_label"] == "peer" else "participants"
    words: dict[str, Any] = {
        "treated": treated,
        "Treated": "Peer support" if study["treated_label"] == "peer" else "Participants",
        "missing": wording.USE_OF_MISSING,
    }
    if not effects:
        return words
    estimate = effects["headline"]["difference"]
    if estimate is None and study["primary_outcome"] in effects["withheld"]:
        words["headline"] = (
            "The primary outcome was not estimated: the outcome of part of the people was not observed, and those left "
            "fall short of what the protocol had set beforehand; see the table of estimates and the remarks below."
        )
    elif estimate is None or estimate["value"] is None or estimate["lower"] is None:
        words["headline"] = "The primary estimate could not be computed or may not be released; see the remarks below."
    else:
        words["headline"] = wording.headline_sentence(estimate, treated, "their virtual controls", study["confidence"])
    if effects["triad"]:
        words["triad"] = wording.triad_sentence(effects["triad"][-1]["difference"], study["confidence"])
    return words


def _cell(mean: float | None, is_proportion: bool) -> str:
    """A mean of table 1: a percentage for 0/1 covariates."""
    if mean is None:
        return wording.SUPPRESSED_MARK
    return wording.percent(mean, 1) if is_proportion else wording.number(mean)


def _verdict_number(verdict: Mapping[str, Any], which: str) -> str:
    value = verdict[which]
    if value is None:
        if verdict["kind"] == "share" and verdict["passed"]:  # withheld because the rest is too few people
            return "all but a few"
        return "withheld" if which == "value" else "–"
    if verdict["kind"] == "count":
        return wording.whole(value)
    return wording.percent(value, 0) if verdict["kind"] == "share" else wording.number(value)


def _group_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Levels of one category under its name; other covariates as they come."""
    groups: list[dict[str, Any]] = []
    for row in rows:
        is_level = " = " in row["covariate"]
        if is_level and groups and groups[-1]["variable"] == row["variable"] and groups[-1]["is_category"]:
            groups[-1]["rows"].append(row)
        else:
            groups.append({"variable": row["variable"], "is_category": is_level, "rows": [row]})
    for group in groups:
        for row in group["rows"]:
            row["name"] = row["covariate"].partition(" = ")[2] if group["is_category"] else row["covariate"]
    return groups
