"""Months of providers, and months of covariates, become drawn SVGs: a row each, time from left to right.

Choice made: a run of months in the same state is one rectangle, so that sixty providers over six years stay a small
file; states differ in lightness and in form, not in hue alone.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from pipelines.report.wording import label, percent

WIDTH = 900
ROW = 13
TOP = 44  # legend and years
INK, MUTED, FAINT, RULE = "#1f2933", "#616e7c", "#9aa5b1", "#dfe4e9"
PROVIDER_LEFT, COVARIATE_LEFT = 66, 262
FILLS = {"submitted": "#cddbe7", "too_few": "#e0913f", "nothing": "#6f2410", "nothing_or_too_few": "#6f2410"}
LINES = {"before_first": "none", "merged": "1.5 2.5"}  # dashes of a thin line
STATE_LABELS = {
    "submitted": "Submitted",
    "too_few": "Too few spells",
    "nothing": "Nothing",
    "nothing_or_too_few": "Nothing or too few",
    "before_first": "Not yet",
    "after_last": "Stopped for good",
    "merged": "Merged into another",
}
HEIGHTS = {"submitted": 9.0, "too_few": 6.0}  # of a row's bar; others fill the row
STEPS = (
    (0.0, "#f0f3f6", "none"),
    (0.1, "#cfe0ee", "under 10 %"),
    (0.25, "#93bbd9", "10 to 25 %"),
    (0.5, "#4a86b4", "25 to 50 %"),
    (1.0, "#173f66", "over 50 %"),
)


def draw_provider_months(summary: dict[str, Any]) -> str:
    """Which provider submitted in which month, and which months count as not submitted."""
    data = summary["quality"]["providers"]
    calendar, shown = data["calendar"], data["shown"]
    step = (WIDTH - PROVIDER_LEFT - 4) / len(calendar)
    parts = list(_years(calendar, PROVIDER_LEFT, step, len(shown)))
    parts += _studied(data.get("studied"), calendar, step)
    for place, row in enumerate(shown):
        y = TOP + ROW * place
        parts.append(_text(PROVIDER_LEFT - 8, y + 10, row["provider"], anchor="end", size=10))
        parts += _runs(row["runs"], y, step)
    parts += _legend_of_states(data["states"])
    description = (
        f"{data['all_providers']} providers over {len(calendar)} months from {calendar[0]} to {calendar[-1]}; "
        f"{data['with_gaps']} have a month that counts as not submitted. The months are in data_quality.csv."
    )
    return _svg("providers", "Submissions by provider and month", description, parts, TOP + ROW * len(shown) + 6)


def _runs(runs: Sequence[Sequence[Any]], y: float, step: float) -> Iterator[str]:
    at = 0
    for state, length in runs:
        yield _mark(state, PROVIDER_LEFT + at * step, y, length * step)
        at += length


def _mark(state: str, x: float, y: float, width: float) -> str:
    """One run of months: a bar, an empty one after the last month, or a thin line where nothing was expected."""
    if state in LINES:
        ends = f'x1="{x + 1:.1f}" y1="{y + ROW / 2:g}" x2="{x + width - 1:.1f}" y2="{y + ROW / 2:g}"'
        return f'<line {ends} stroke="{FAINT}" stroke-dasharray="{LINES[state]}"/>'
    height = HEIGHTS.get(state, ROW - 2)
    if state == "after_last":
        return (
            f'<rect x="{x + 1:.1f}" y="{y + 2.5:g}" width="{max(width - 2, 1):.1f}" height="{ROW - 5}" fill="none" '
            f'stroke="{FILLS["nothing"]}"/>'
        )
    return (
        f'<rect x="{x:.1f}" y="{y + (ROW - height) / 2:g}" width="{width:.1f}" height="{height:g}" '
        f'fill="{FILLS[state]}"/>'
    )


def _legend_of_states(states: Sequence[str]) -> Iterator[str]:
    x = float(PROVIDER_LEFT)
    for state in states:
        text = STATE_LABELS[state]
        yield _mark(state, x, 1, 22)
        yield _text(x + 28, 11.5, text)
        x += 28 + 6.6 * len(text) + 22


def _studied(months: Sequence[str] | None, calendar: Sequence[str], step: float) -> Iterator[str]:
    """A line over the months whose discharges are studied."""
    inside = [place for place, month in enumerate(calendar) if months and months[0] <= month <= months[1]]
    if inside:
        left, right = PROVIDER_LEFT + inside[0] * step, PROVIDER_LEFT + (inside[-1] + 1) * step
        yield f'<line x1="{left:.1f}" y1="{TOP - 4}" x2="{right:.1f}" y2="{TOP - 4}" stroke="{INK}" stroke-width="2"/>'


def draw_missing_months(summary: dict[str, Any]) -> str:
    """The share of candidates without a value, by covariate and month."""
    data = summary["quality"]["months"]
    calendar, rows = data["calendar"], data["covariates"]
    step = (WIDTH - COVARIATE_LEFT - 4) / len(calendar)
    parts = list(_years(calendar, COVARIATE_LEFT, step, len(rows)))
    for place, row in enumerate(rows):
        y = TOP + ROW * place
        parts.append(_text(COVARIATE_LEFT - 8, y + 10, _short(label(row["covariate"])), anchor="end", size=10.5))
        for number, share in enumerate(row["shares"]):
            parts.append(_cell(COVARIATE_LEFT + number * step, y, step, share))
    parts += _legend_of_shares()
    worst = max(rows, key=lambda row: max(share or 0 for share in row["shares"]))
    description = (
        f"{len(rows)} covariates over {len(calendar)} months; the largest share missing in a month is "
        f"{percent(max(share or 0 for share in worst['shares']))}, of {label(worst['covariate'])}. "
        "The shares are in data_quality.csv."
    )
    return _svg("missing", "Missing values by month of discharge", description, parts, TOP + ROW * len(rows) + 6)


def _cell(x: float, y: float, step: float, share: float | None) -> str:
    if share is None:
        return f'<circle cx="{x + step / 2:.1f}" cy="{y + ROW / 2:g}" r="1.2" fill="{MUTED}"/>'
    fill = next(colour for limit, colour, _ in STEPS if share <= limit)
    return f'<rect x="{x + 0.5:.1f}" y="{y + 1:g}" width="{step - 1:.1f}" height="{ROW - 2}" fill="{fill}"/>'


def _legend_of_shares() -> Iterator[str]:
    x = float(COVARIATE_LEFT)
    for _, colour, text in STEPS:
        yield f'<rect x="{x:g}" y="1" width="22" height="{ROW - 1}" fill="{colour}"/>'
        yield _text(x + 28, 11.5, text)
        x += 28 + 6.6 * len(text) + 20
    yield _cell(x + 4, 0, 8, None)
    yield _text(x + 20, 11.5, "withheld")


def _years(calendar: Sequence[str], left: float, step: float, n_rows: int) -> Iterator[str]:
    """The year over its first month shown, and a line at each January."""
    for place, month in enumerate(calendar):
        x = left + place * step
        if month.endswith("-01"):
            yield f'<line x1="{x:.1f}" y1="{TOP - 2}" x2="{x:.1f}" y2="{TOP + ROW * n_rows}" stroke="{RULE}"/>'
        is_first = place == 0 and not any(later.endswith("-01") for later in calendar[1 : int(36 / step) + 2])
        if month.endswith("-01") or is_first:
            yield _text(x, TOP - 9, month[:4], size=11, fill=MUTED)


def _text(x: float, y: float, text: str, anchor: str = "start", size: float = 12, fill: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:g}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _short(text: str) -> str:
    return text if len(text) <= 44 else text[:43] + "…"


def _svg(name: str, title: str, description: str, parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" font-family="Helvetica Neue, Arial, sans-serif">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>\n"
    )
