"""The report's dict and figures become one HTML page that opens offline: style and drawings inside, no script."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

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
        "over_two_lines": _over_two_lines,
        "effect": wording.effect,
        "cell": _cell,
        "reason": wording.reason,
        "arm": wording.arm_label,
        "question": wording.question,
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
        remarks=gather_remarks(summary["effects"]["notes"]) if summary["effects"] else [],
        landmarks=at_landmarks(summary["effects"]["curves"]) if _has(summary, "curves") else [],
        table1=_group_rows(summary["table1"]["rows"]),
    )


def gather_remarks(notes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each remark once, with where it was made: design, method, the outcomes there, and the contrasts of all that."""
    remarks: dict[str, dict[tuple[Any, ...], list[str]]] = {}
    for note in notes:
        place = note["contrast"], note.get("design"), note.get("method")
        outcomes = remarks.setdefault(note["note"].rstrip("."), {}).setdefault(place, [])
        if note.get("outcome"):
            outcomes.append(note["outcome"])
    return [{"note": note, "places": _with_contrasts_together(places)} for note, places in remarks.items()]


def _with_contrasts_together(places: Mapping[tuple[Any, ...], Sequence[str]]) -> list[dict[str, Any]]:
    together: dict[tuple[Any, ...], list[str]] = {}
    for (contrast, design, method), outcomes in places.items():
        together.setdefault((design, method, tuple(outcomes)), []).append(contrast)
    return [
        {"design": design, "method": method, "outcomes": outcomes, "contrasts": contrasts}
        for (design, method, outcomes), contrasts in together.items()
    ]


def _over_two_lines(estimate: str) -> Markup:
    """A value above its interval, for tables with many of them side by side."""
    value, bracket, limits = estimate.partition(" (")
    return Markup("{}<br>({}").format(value, limits) if bracket else escape(value)


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
