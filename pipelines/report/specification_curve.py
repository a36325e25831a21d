"""The specification curve as a figure: estimates by size above, the choices behind each below.

Choice made: no line joins the points and none is singled out but the primary one, so that the figure reads as a range
and not as a search.
"""

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.report.wording import label, no_effect

INK, MUTED, PRIMARY, OTHER, FAINT = "#1f2933", "#616e7c", "#1d5b8f", "#c2571a", "#e4e8ec"


def draw_specification_curve(
    summary: dict[str, Any], style: dict[Any, Any], width: float, finish: Callable[[Figure, str, str, str], str]
) -> str:
    """`finish` turns the figure into an SVG with a name, a title and a description."""
    curve = summary["effects"]["multiverse"]
    shown = [one for one in curve["specifications"] if one["state"] == "estimated"]
    factor = 100 if curve["scale"] == "risk_difference" else 1
    rows = [*(("design", name) for name in curve["designs"]), *(("method", name) for name in curve["methods"])]
    is_primary = [_is_primary(one, curve) for one in shown]
    with mpl.rc_context(style):
        height = 2.9 + 0.21 * len(rows)
        figure = Figure(figsize=(width, height))
        below = 0.21 * len(rows) + 0.25
        left, right = 0.31, 0.98
        upper = figure.add_axes((left, (below + 0.15) / height, right - left, (height - below - 0.35) / height))
        lower = figure.add_axes((left, 0.12 / height, right - left, (below - 0.05) / height))
        _draw_estimates(upper, shown, is_primary, factor, curve["scale"])
        _draw_choices(lower, shown, is_primary, rows, len(curve["designs"]))
        low, middle, high = (f"{factor * curve[name]:.3g}" for name in ("low", "median", "high"))
        return finish(
            figure,
            "multiverse",
            "Specification curve of the primary outcome",
            f"{curve['estimated']} of {curve['total']} specifications were estimated, from {low} to {high}, median "
            f"{middle}. Dots below each estimate say which design and which effect method it belongs to. The numbers "
            "are in the table and in estimates.csv.",
        )


def _is_primary(one: dict[str, Any], curve: dict[str, Any]) -> bool:
    return bool(one["is_primary_design"] and one["method"] == curve["headline_method"])


def _draw_estimates(axes: Axes, shown: list[dict[str, Any]], is_primary: list[bool], factor: int, scale: str) -> None:
    axes.axhline(factor * no_effect(scale), color=INK, linewidth=0.8)
    size = float(np.clip(150 / max(len(shown), 1), 2.5, 6))
    for place, (one, primary) in enumerate(zip(shown, is_primary, strict=True)):
        estimate, colour = one["estimate"], PRIMARY if primary else OTHER
        if estimate["lower"] is not None and estimate["upper"] is not None:
            limits = [factor * estimate["lower"], factor * estimate["upper"]]
            axes.plot(
                [place, place], limits, color=colour, linewidth=1.6 if primary else 1.1, alpha=1 if primary else 0.6
            )
        axes.plot(place, factor * estimate["value"], "s" if primary else "o", color=colour, markersize=size)
    axes.set_xlim(-0.7, len(shown) - 0.3)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    unit = ", percentage points" if scale == "risk_difference" else ""
    axes.set_ylabel(f"{label(scale)}{unit}", fontsize=9)


def _draw_choices(
    axes: Axes, shown: list[dict[str, Any]], is_primary: list[bool], rows: list[tuple[str, str]], n_designs: int
) -> None:
    for line, (kind, name) in enumerate(rows):
        at = [place for place, one in enumerate(shown) if one[kind] == name]
        axes.plot(range(len(shown)), [-line] * len(shown), "|", color=FAINT, markersize=5)
        for place in at:
            colour = PRIMARY if is_primary[place] else INK
            axes.plot(place, -line, "s" if is_primary[place] else "o", color=colour, markersize=3.6)
        words = label(name) if at else f"{label(name)} (no estimate)"
        text = words if len(words) <= 44 else words[:43] + "…"
        axes.text(-0.012, -line, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8)
    axes.axhline(-n_designs + 0.5, color=MUTED, linewidth=0.6)
    axes.set_xlim(-0.7, len(shown) - 0.3)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.axis("off")
