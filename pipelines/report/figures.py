"""The report's dict becomes SVG figures: released numbers only, the same dict gives the same bytes.

Choice made: text stays text (readable by screen readers and searchable), colours are distinguishable without red and
green, and every group also differs by position, marker or line style. Each figure carries its own description.
"""

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from models.results import FloatArray
from pipelines.report.flow import draw_flow
from pipelines.report.heat_maps import draw_missing_months, draw_provider_months
from pipelines.report.specification_curve import draw_specification_curve
from pipelines.report.wording import contrast_label, interval, label, mid, no_effect

INK, MUTED, RULE = "#1f2933", "#616e7c", "#cbd2d9"
TREATED, VIRTUAL, RANDOMISED, POOL = "#1d5b8f", "#c2571a", "#2b7a6b", "#c9ced6"
COLOUR = {"peer": TREATED, "participants": TREATED, "virtual": VIRTUAL, "randomised": RANDOMISED, "control": RANDOMISED}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "virtual-controls",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
}
PAGE_FONT = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MAX_LOVE_POINTS = 45
WIDTH = 9.2  # inches; one width for all figures gives one size of letters on the page


def draw_figures(summary: dict[str, Any]) -> dict[str, str]:
    """SVG texts by name, only those for which the summary holds something."""
    effects, quality = summary["effects"] or {}, summary["quality"] or {}
    wanted: list[tuple[str, Callable[[dict[str, Any]], str], Any]] = [
        ("flow", draw_flow_figure, summary["flow"]),
        ("overlap", draw_overlap, summary["overlap"]),
        ("love", draw_love, summary["love"]["points"]),
        ("triad", draw_triad, effects.get("triad")),
        ("incidence", draw_incidence, effects.get("curves")),
        ("mean_count", draw_mean_count, effects.get("mean_counts")),
        ("forest", draw_forest, effects.get("forest")),
        ("sites", draw_sites, (effects.get("sites") or {}).get("rows")),
        ("multiverse", draw_multiverse, effects.get("multiverse")),
        ("individual", draw_individual, effects.get("individual")),
        ("providers", draw_provider_months, quality.get("providers")),
        ("missing", draw_missing_months, quality.get("months")),
    ]
    return {name: draw(summary) for name, draw, content in wanted if content}


def draw_multiverse(summary: dict[str, Any]) -> str:
    """The specification curve."""
    return draw_specification_curve(summary, STYLE, WIDTH, _finish)


def draw_flow_figure(summary: dict[str, Any]) -> str:
    """Participant and candidate flow."""
    return draw_flow(summary["flow"], summary["study"])


def _finish(figure: Figure, name: str, title: str, description: str) -> str:
    """A figure as SVG that can stand alone and be put into a page: unique ids, title, description, no outside links."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    svg = svg.replace("'DejaVu Sans'", PAGE_FONT)
    return add_description(svg, name, title, description)


def add_description(svg: str, name: str, title: str, description: str) -> str:
    """Give an SVG a title and a description that assistive technology reads."""
    head = f' role="img" aria-labelledby="{name}-title {name}-desc"'
    opened = svg.index(">", svg.index("<svg"))
    texts = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    return svg[:opened] + head + ">" + texts + svg[opened + 1 :]


def draw_overlap(summary: dict[str, Any]) -> str:
    """Mirrored histogram: treated above; candidates and, over them, the chosen controls below."""
    data = summary["overlap"]
    edges = np.array(data["edges"])
    width, middle = np.diff(edges), (edges[:-1] + edges[1:]) / 2

    def shares(name: str) -> FloatArray:
        counts: FloatArray = np.array([0 if n is None else n for n in data[name]], dtype=np.float64)
        return counts * (100 / max(float(counts.sum()), 1))

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        axes = figure.add_subplot()
        up = axes.bar(middle, shares("treated"), width * 0.96, color=TREATED, label=_treated(summary))
        pool = axes.bar(middle, -shares("pool"), width * 0.96, color=POOL, label="All candidates")
        down = -shares("controls")
        line = axes.stairs(down, edges, color=VIRTUAL, linewidth=1.8, label="Virtual controls", baseline=None)
        _mark_withheld(axes, data, middle)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("Propensity score, log-odds" if data["is_log_odds"] else "Propensity score")
        axes.set_ylabel("Share of the group, %")
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        axes.legend(handles=[up, line, pool], loc="upper left", fontsize=9)
        coefficient = data.get("overlap_coefficient")
        said = f" Overlap coefficient {coefficient:.2f}." if coefficient is not None else ""
        return _finish(
            figure,
            "overlap",
            "Overlap of propensity scores",
            "Mirrored histogram: treated people above the line, all candidates and the weighted virtual controls "
            f"below.{said}",
        )


def _mark_withheld(axes: Axes, data: dict[str, Any], middle: FloatArray) -> None:
    """A small mark where a bin holds too few people to be shown."""
    low, high = axes.get_ylim()
    offset = 0.02 * (high - low)
    for name, side, colour in (("treated", 1, TREATED), ("controls", -1, VIRTUAL)):
        at = [x for x, n in zip(middle, data[name], strict=True) if n is None]
        if at:
            axes.plot(at, [offset * side] * len(at), ".", color=colour, markersize=3.5, clip_on=False)


def draw_love(summary: dict[str, Any]) -> str:
    """Absolute standardised differences before and after each design."""
    love = summary["love"]
    points = love["points"][:MAX_LOVE_POINTS][::-1]
    rows = np.arange(len(points))
    markers = {
        method: (marker, colour) for method, marker, colour in zip(love["methods"], "osD", _SHADES, strict=False)
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.0 + 0.23 * len(points)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(love["limit"], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot([p["before"] for p in points], rows, "o", mfc="white", mec=MUTED, markersize=5.5, label="Before")
        for method, (marker, colour) in markers.items():
            have = [(p["after"][method], row) for p, row in zip(points, rows, strict=True) if method in p["after"]]
            if have:
                x, y = zip(*have, strict=True)
                axes.plot(x, y, marker, color=colour, markersize=5, label=f"After: {mid(label(method))}")
        axes.set_yticks(rows, [_short(label(p["covariate"])) for p in points], fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.8, len(points) - 0.2)
        axes.set_xlim(left=-0.008)
        axes.grid(axis="y", color="#eceff2", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"Absolute standardised mean difference (dashed: limit {love['limit']:g})")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=9, borderaxespad=0.2, handletextpad=0.3)
        return _finish(
            figure,
            "love",
            "Love plot: balance before and after the design",
            f"Absolute standardised mean differences of {len(points)} covariates, hollow before and filled after the "
            f"design, with the limit at {love['limit']:g}. The numbers are in balance.csv.",
        )


_SHADES = (TREATED, VIRTUAL, RANDOMISED)


def _short(text: str) -> str:
    return text if len(text) <= 46 else text[:45] + "…"


def _treated(summary: dict[str, Any]) -> str:
    return "Peer support" if summary["study"]["treated_label"] == "peer" else "Participants"


def draw_triad(summary: dict[str, Any]) -> str:
    """The three contrasts of the benchmark on the difference scale."""
    rows = []
    for entry in summary["effects"]["triad"]:
        first = entry["contrast"].split("_vs_")[0]
        colour = RANDOMISED if first == "randomised" else VIRTUAL if entry["contrast"].endswith("_virtual") else TREATED
        rows.append((contrast_label(entry["contrast"]), entry["difference"], colour, "o"))
    usable = [row for row in rows if row[1] is not None and row[1]["value"] is not None]
    said = "; ".join(f"{name}: {interval(estimate)}" for name, estimate, _, _ in usable)
    return _intervals(rows, "triad", "Benchmark triad", f"Estimates with intervals. {said}.", None)


def draw_forest(summary: dict[str, Any]) -> str:
    """The primary outcome by contrast, design and method."""
    rows = []
    for estimate in summary["effects"]["forest"]:
        is_trial = estimate["design"] == "randomised"
        name = f"{label(estimate['design'])}, {mid(label(estimate['method']))}"
        rows.append((name, estimate, RANDOMISED if is_trial else VIRTUAL, "s" if is_trial else "o"))
    # The protocol's reference value has no scale of its own: it is drawn only where there is one it can be on.
    is_difference = bool(rows) and rows[0][1]["scale"] == "mean_difference"
    benchmark = summary["effects"]["benchmark"] if is_difference else None
    return _intervals(
        rows,
        "forest",
        "Estimates of the primary outcome by design and method",
        f"{len(rows)} estimates with intervals, squares from randomised and circles from virtual controls. "
        "The numbers are in estimates.csv.",
        benchmark,
    )


def draw_sites(summary: dict[str, Any]) -> str:
    """The primary outcome in each site, and pooled."""
    rows = [
        (label(row["name"]), row, VIRTUAL if row["is_pooled"] else TREATED, "o" if row["is_pooled"] else "s")
        for row in summary["effects"]["sites"]["rows"]
    ]
    said = f"{len(rows)} estimates with intervals, of sites and pooled. The numbers are in estimates.csv."
    return _intervals(rows, "sites", "Estimates by site", said, None)


def _intervals(
    rows: list[tuple[str, Any, str, str]], name: str, title: str, description: str, benchmark: dict[str, Any] | None
) -> str:
    """A forest plot with the numbers beside it; rows without a number keep their place."""
    scale = next((estimate["scale"] for _, estimate, _, _ in rows if estimate is not None), "mean_difference")
    factor = 100 if scale == "risk_difference" else 1
    with mpl.rc_context(STYLE):
        below, height = 0.62, 0.62 + 0.08 + 0.34 * len(rows)
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.39, below / height, 0.38, 1 - (below + 0.08) / height))
        axes.axvline(no_effect(scale) * factor, color=INK, linewidth=0.8)
        if benchmark is not None:
            axes.axvline(benchmark["value"], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for place, (_, estimate, colour, marker) in enumerate(reversed(rows)):
            if estimate is None or estimate["value"] is None:
                continue
            if estimate["lower"] is not None and estimate["upper"] is not None:
                limits = [factor * estimate["lower"], factor * estimate["upper"]]
                axes.plot(limits, [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
            axes.plot(factor * estimate["value"], place, marker, color=colour, markersize=6.5)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        for place, (text, estimate, _, _) in enumerate(reversed(rows)):
            axes.text(-1.02, place, text, transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=9.5)
            number = interval(estimate)
            axes.text(1.04, place, number, transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=9.5)
        unit = ", percentage points" if scale == "risk_difference" else ""
        axes.set_xlabel(f"{label(scale)}{unit}")
        return _finish(figure, name, title, description)


def draw_incidence(summary: dict[str, Any]) -> str:
    """Cumulative incidence with limits and bands: the primary outcome large, how the groups differ in it below, other
    events in small panels."""
    curves = summary["effects"]["curves"]
    main = _main_outcome(curves, summary["study"]["primary_outcome"])
    others = [name for name in dict.fromkeys(line["outcome"] for line in curves["lines"]) if name != main]
    difference = next((one for one in summary["effects"]["differences"] if one["outcome"] == main), None)
    first, n_rows = 1 + (difference is not None), -(-len(others) // 2)
    heights = [4.3, *[2.2] * (first - 1), *[2.9] * n_rows]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        _draw_curves(figure.add_subplot(grid[0, :]), curves, main)
        if difference is not None:
            _draw_difference(figure.add_subplot(grid[1, :]), difference, curves["landmarks"])
        for number, outcome in enumerate(others):
            axes = figure.add_subplot(grid[first + number // 2, number % 2])
            _draw_curves(axes, curves, outcome)
            axes.set_title(label(outcome), fontsize=9, loc="left")
        return _finish(
            figure,
            "incidence",
            f"Cumulative incidence: {mid(label(main))}",
            f"Step curves by group with limits{_rebuilt(summary)}, and their difference with limits and band. The "
            "table below the figure gives the values.",
        )


def draw_mean_count(summary: dict[str, Any]) -> str:
    """Mean number of readmissions by each day, with limits and band."""
    curves = summary["effects"]["mean_counts"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
        axes = figure.add_subplot()
        _draw_curves(axes, curves, curves["lines"][0]["outcome"], factor=1)
        axes.set_ylabel("Mean number by person")
        return _finish(
            figure,
            "mean_count",
            "Mean number of readmissions by each day",
            f"Step curves by group with limits{_rebuilt(summary)}. The differences at the end are in the table below "
            "the figure.",
        )


def _rebuilt(summary: dict[str, Any]) -> str:
    is_hidden = summary["disclosure"]["suppress_below"] > 1
    return ", rebuilt from counts rounded to the midpoint of six" if is_hidden else ""


def _draw_curves(axes: Axes, curves: dict[str, Any], outcome: str, factor: float = 100) -> None:
    """The groups' curves of one outcome: shaded the limits of each day, thin lines the band of the whole curve."""
    lines = [line for line in curves["lines"] if line["outcome"] == outcome]
    for number, line in enumerate(lines):
        colour = COLOUR.get(line["arm"], MUTED)
        y, lower, upper, *band = (
            [np.nan if value is None else factor * value for value in line[side]]
            for side in ("incidence", "lower", "upper", "band_lower", "band_upper")
        )
        dashes = (0, ()) if number == 0 else (0, (5, 1.5))
        axes.step(line["day"], y, where="post", color=colour, linestyle=dashes, linewidth=1.9, label=line["label"])
        axes.fill_between(line["day"], lower, upper, step="post", color=colour, alpha=0.13, linewidth=0)
        for edge in band:
            axes.step(line["day"], edge, where="post", color=colour, linestyle=dashes, linewidth=0.6)
    axes.set_xlim(0, max(line["day"][-1] for line in lines))
    axes.set_ylim(bottom=0)
    axes.set_xticks([0, *curves["landmarks"]])
    axes.set_xlabel("Days since time zero")
    axes.set_ylabel("Cumulative incidence, %")
    axes.legend(loc="upper left", fontsize=9)


def _draw_difference(axes: Axes, difference: dict[str, Any], landmarks: list[int]) -> None:
    """Treated minus control, in percentage points: shaded the limits of each day, thin lines the band of all."""
    day = difference["day"]
    axes.axhline(0, color=INK, linewidth=0.8)
    sides = {
        name: [np.nan if value is None else 100 * value for value in difference[name]]
        for name in ("value", "lower", "upper", "band_lower", "band_upper")
    }
    axes.step(day, sides["value"], where="post", color=TREATED, linewidth=1.9)
    axes.fill_between(day, sides["lower"], sides["upper"], step="post", color=TREATED, alpha=0.13, linewidth=0)
    for name in ("band_lower", "band_upper"):
        axes.step(day, sides[name], where="post", color=TREATED, linewidth=0.6)
    axes.set_xlim(0, day[-1])
    axes.set_xticks([0, *landmarks])
    axes.set_xlabel("Days since time zero")
    axes.set_ylabel("Difference,\npercentage points")


def _main_outcome(curves: dict[str, Any], primary: str) -> str:
    outcomes = [line["outcome"] for line in curves["lines"]]
    return primary if primary in outcomes else outcomes[0]


def draw_individual(summary: dict[str, Any]) -> str:
    """Individual effects as a histogram of merged bins: height is people per unit of effect."""
    data = summary["effects"]["individual"]
    forest = summary["effects"]["forest"]
    is_risk = bool(forest) and forest[0]["scale"] == "risk_difference"
    edges = np.array(data["edges"]) * (100 if is_risk else 1)
    width = np.diff(edges)
    share = 100 * np.array(data["counts"]) / max(sum(data["counts"]), 1)
    height = share / width * width.min()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.bar(edges[:-1], height, width, align="edge", color=TREATED, edgecolor="white", linewidth=0.8)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("Predicted individual effect" + (", percentage points" if is_risk else ""))
        axes.set_ylabel(f"People per bin of {width.min():g}, %")
        for place, text in ((0, "and below"), (-1, "and above")):
            at = (edges[:-1][place] + width[place] / 2, height[place])
            axes.annotate(text, at, (0, 3), textcoords="offset points", fontsize=8, color=MUTED, ha="center")
        return _finish(
            figure,
            "individual",
            "Distribution of predicted individual effects",
            "Histogram of the causal forest's individual effects; bins are merged so that none holds few people and "
            "the outer bins are open-ended.",
        )
