"""The flow of participants and candidates becomes a drawn SVG: boxes down two columns that meet in the design."""

from html import escape
from typing import Any

from pipelines.report.wording import label, mid, whole

WIDTH = 900
COLUMN = 432
BOX = 316
STEM = 110  # the line down a column, from its left edge
LINE = 17
PAD = 11
INK, MUTED, RULE, TINT = "#1f2933", "#616e7c", "#9aa5b1", "#f3f5f7"
LEFT = {"participants": 0, "candidates": 468}
START = {"participants": "Participants, both arms", "candidates": "Candidate discharges"}


def draw_flow(flow: dict[str, Any], study: dict[str, Any]) -> str:
    """SVG of the flow with its own title and description; numbers as released."""
    parts: list[str] = []
    bottoms = []
    for column in flow["columns"]:
        bottoms.append(_draw_column(parts, column, LEFT[column["group"]], flow))
    top = max(*bottoms, _draw_unused(parts, flow, bottoms)) + 40
    for column, bottom in zip(flow["columns"], bottoms, strict=True):
        _arrow(parts, LEFT[column["group"]] + STEM, bottom, top)
    height = _draw_design(parts, flow, study, top)
    said = "; ".join(
        f"{START[c['group']]}: {whole(c['start'])} at the start, {whole(c['end'])} eligible" for c in flow["columns"]
    )
    description = f"{said}; {whole(flow.get('n_controls_kept'))} virtual controls chosen."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="flow-title flow-desc" font-family="Helvetica Neue, Arial, sans-serif" font-size="13">'
        f'<title id="flow-title">Flow of participants and candidates</title>'
        f'<desc id="flow-desc">{escape(description)}</desc>{"".join(parts)}</svg>\n'
    )


def _draw_column(parts: list[str], column: dict[str, Any], left: float, flow: dict[str, Any]) -> float:
    """Start box, exclusions to the side, eligible box; returns the bottom of the last box."""
    start = column["start_rule"]
    lines = [START[column["group"]], "n = " + whole(column["start"])]
    lines.insert(1, mid(label(start))) if start != column["group"] else None
    if column["group"] == "candidates" and column["start_people"] is not None:
        lines[-1] += f" ({whole(column['start_people'])} people)"
    bottom = _box(parts, left, 0, BOX, lines)
    listed = [f"{label(step['rule'])}: {whole(step['n'])}" for step in column["steps"]] or ["None"]
    side_top = bottom + 22
    middle = left + STEM
    side_bottom = _box(parts, middle + 24, side_top, COLUMN - STEM - 24, ["Left out", *listed], True)
    end_top = side_bottom + 24
    _arrow(parts, middle, bottom, end_top)
    parts.append(_line(middle, (side_top + side_bottom) / 2, middle + 24, (side_top + side_bottom) / 2))
    eligible = ["Eligible", "n = " + whole(column["end"])]
    if column["group"] == "candidates" and column["end_people"] is not None:
        eligible[-1] += f" ({whole(column['end_people'])} people)"
    if column["group"] == "participants":
        eligible += [f"{arm['label']}: {whole(arm['n'])}" for arm in flow["arms"]]
    return _box(parts, left, end_top, BOX, eligible)


def _draw_unused(parts: list[str], flow: dict[str, Any], bottoms: list[float]) -> float:
    """Eligible discharges that the design did not choose from, beside the line to it; returns the bottom of the box."""
    of_group = {column["group"]: bottom for column, bottom in zip(flow["columns"], bottoms, strict=True)}
    if not flow["unused"] or "candidates" not in of_group:
        return 0
    middle, top = LEFT["candidates"] + STEM, of_group["candidates"] + 22
    listed = [f"{label(reason['rule'])}: {whole(reason['n'])}" for reason in flow["unused"]]
    bottom = _box(parts, middle + 24, top, COLUMN - STEM - 24, ["Eligible, but not chosen from", *listed], True)
    parts.append(_line(middle, (top + bottom) / 2, middle + 24, (top + bottom) / 2))
    return bottom


def _draw_design(parts: list[str], flow: dict[str, Any], study: dict[str, Any], top: float) -> float:
    treated = "Peer support" if study["treated_label"] == "peer" else "Participants"
    verdict = "accepted" if flow["accepted"] else "NOT ACCEPTED"
    lines = [
        f"{label(flow['method'])}: {verdict}",
        f"{treated} in the design: {whole(flow.get('n_treated_kept'))} of {whole(flow.get('n_treated'))}",
        f"Virtual controls chosen: {whole(flow.get('n_controls_kept'))} "
        f"from {whole(flow.get('n_control_pool'))} discharges",
        _effective_numbers(flow),
    ]
    return _box(parts, 0, top, WIDTH, lines) + 2


def _effective_numbers(flow: dict[str, Any]) -> str:
    """Of the arm that stands in for the people of the estimand, or of both."""
    arms = {"ATT": ("controls",), "ATC": ("treated",)}.get(flow["estimand"], ("treated", "controls"))
    of_arms = " and ".join(f"{arm} {whole(flow.get(f'effective_n_{arm}'))}" for arm in arms)
    return f"Effective numbers: {of_arms}" if len(arms) > 1 else f"Effective number of {of_arms}"


def _box(parts: list[str], x: float, y: float, width: float, lines: list[str], is_side: bool = False) -> float:
    height = 2 * PAD + LINE * len(lines) - 3
    fill = "#ffffff" if is_side else TINT
    parts.append(
        f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{width - 2:g}" height="{height:g}" rx="3" fill="{fill}" '
        f'stroke="{RULE}" stroke-width="1"/>'
    )
    for i, text in enumerate(lines):
        weight = ' font-weight="600"' if i == 0 else ""
        size = ' font-size="12"' if is_side else ""
        baseline = y + PAD + LINE * i + 12
        parts.append(f'<text x="{x + 13:g}" y="{baseline:g}" fill="{INK}"{weight}{size}>{escape(text)}</text>')
    return y + height + 1


def _arrow(parts: list[str], x: float, top: float, bottom: float) -> None:
    parts.append(_line(x, top + 1, x, bottom - 1))
    parts.append(
        f'<path d="M {x - 4:g} {bottom - 7:g} L {x:g} {bottom:g} L {x + 4:g} {bottom - 7:g} Z" fill="{MUTED}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{MUTED}" stroke-width="1.1"/>'
