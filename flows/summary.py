"""A run's release/ → tables for the terminal and Markdown for Prefect's page. Nothing private is opened here."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.report import summarise_for_terminal
from pipelines.store import REPORT, RunFolder

Rows = Sequence[Sequence[str]]
ESTIMATE_HEADER = ("contrast", "outcome", "scale", "design · method", "estimate", "interval", "treated / controls")
VERDICT_HEADER = ("check", "must be", "limit", "value", "")
ATTRITION_HEADER = ("group", "rule", "discharges removed", "discharges left", "people left")
SENSITIVITY_HEADER = ("rules", "design", "difference", "interval", "treated / controls")
DESIGN_OF_VARIANT = {
    "open": "accepted",
    "refused": "NOT ACCEPTED: outcomes not opened",
    "main_refused": "accepted; outcomes not opened",
    "no_cohort": "nobody to study",
}
WITHHELD = "–"


def show_summary(run: RunFolder, console: Console) -> None:
    """Print a finished run's released summary."""
    summary = summarise_for_terminal(run)
    study = summary["study"]
    console.print(Panel.fit(Group(*_heading(summary, run)), title=Text(study["title"])))
    console.print(_table("Acceptance of the primary design", VERDICT_HEADER, verdict_rows(summary["verdicts"])))
    if summary["triad"]:
        triad = [row["difference"] for row in summary["triad"] if row["difference"]]
        console.print(_table("Benchmark: the randomised controls", ESTIMATE_HEADER, estimate_rows(triad)))
    estimates = [row for row in summary["estimates"] if row["subgroup"] == "all"]
    if estimates:
        console.print(_table("Estimates", ESTIMATE_HEADER, estimate_rows(estimates)))
    if summary["sensitivity"]:
        console.print(_table("Under other rules", SENSITIVITY_HEADER, sensitivity_rows(summary["sensitivity"])))
    if summary["attrition"]:
        console.print(_table("Who was left out", ATTRITION_HEADER, attrition_rows(summary["attrition"])))
    for note in _notes(summary):
        console.print(Text(f"Note: {note}"))
    console.print(Text(f"{WITHHELD} withheld or not defined. Page: {run.file(REPORT)}"))


def summary_markdown(run: RunFolder) -> str:
    """A finished run's released summary as Markdown."""
    summary = summarise_for_terminal(run)
    study = summary["study"]
    primary = [
        row for row in summary["estimates"] if row["outcome"] == study["primary_outcome"] and row["subgroup"] == "all"
    ]
    parts = [
        f"# {study['title']}",
        *(["**Synthetic data: no row describes a real person.**"] if study["is_synthetic"] else []),
        study["question"],
        f"**{_verdict(summary)}**",
        _markdown_table(VERDICT_HEADER, verdict_rows(summary["verdicts"])),
        *(["## Primary outcome", _markdown_table(ESTIMATE_HEADER, estimate_rows(primary))] if primary else []),
        *(_sensitivity_markdown(summary["sensitivity"]) if summary["sensitivity"] else []),
        f"Run `{run.path.name}`; the page is `release/report.html` in its folder. {WITHHELD} is withheld or undefined.",
    ]
    return "\n\n".join(parts) + "\n"


def _sensitivity_markdown(variants: Iterable[dict[str, Any]]) -> list[str]:
    return ["## Under other rules", _markdown_table(SENSITIVITY_HEADER, sensitivity_rows(variants))]


def verdict_rows(verdicts: Iterable[dict[str, Any]]) -> Rows:
    """One row per acceptance check."""
    return [
        (
            check["check"],
            check["direction"],
            _number(check["limit"]),
            _number(check["value"]),
            "met" if check["passed"] else "NOT MET",
        )
        for check in verdicts
    ]


def estimate_rows(estimates: Iterable[dict[str, Any]]) -> Rows:
    """One row per estimate."""
    return [
        (
            *(str(row[name]) for name in ("contrast", "outcome", "scale")),
            f"{row['design']} · {row['method']}",
            _number(row["value"]),
            WITHHELD if row["lower"] is None else f"{_number(row['lower'])} to {_number(row['upper'])}",
            f"{_count(row['n_treated'])} / {_count(row['n_control'])}",
        )
        for row in estimates
    ]


def sensitivity_rows(variants: Iterable[dict[str, Any]]) -> Rows:
    """One row for the main analysis and each variant."""
    return [
        (
            variant["title"],
            DESIGN_OF_VARIANT[variant["state"]],
            *(estimate_rows([variant["difference"]])[0][4:] if variant["difference"] else [WITHHELD] * 3),
        )
        for variant in variants
    ]


def attrition_rows(attrition: Iterable[dict[str, Any]]) -> Rows:
    """One row per step of the attrition."""
    counts = ("n_discharges_removed", "n_discharges_left", "n_people_left")
    return [(str(row["group"]), str(row["rule"]), *(_count(row[name]) for name in counts)) for row in attrition]


def _heading(summary: dict[str, Any], run: RunFolder) -> list[RenderableType]:
    study = summary["study"]
    lines: list[RenderableType] = [Text(study["question"])]
    if study["is_synthetic"]:
        lines.append(Text("Synthetic data: no row describes a real person.", style="bold"))
    lines.append(Text(_verdict(summary), style="bold green" if summary["accepted"] else "bold red"))
    lines.append(Text(f"run {run.path.name}"))
    return lines


def _verdict(summary: dict[str, Any]) -> str:
    if summary["accepted"]:
        return "The design was accepted; outcomes were opened."
    return "THE DESIGN WAS NOT ACCEPTED. No outcome was opened and no effect is reported."


def _notes(summary: dict[str, Any]) -> list[str]:
    return [" · ".join(str(value) for value in note.values() if value) for note in summary["notes"]]


def _table(title: str, header: Sequence[str], rows: Rows) -> Table:
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _markdown_table(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return WITHHELD
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _count(value: int | None) -> str:
    return WITHHELD if value is None else f"{value:,}"
