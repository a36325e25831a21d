"""What the causal forest says of differences between people becomes the report's part about them, after disclosure.

Choice made: coefficients, tests and mean effects are estimates and released; counts are rounded and suppressed; a rule
is shown only where each of its leaves holds enough people of both arms, since its thresholds are values of people.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines import disclosure as dc
from pipelines import store
from pipelines.report.rounded_effects import cut_digits, round_effects

FILE = store.SUMMARY
N_IMPORTANT = 10

Row = dict[str, Any]


def read_heterogeneity(found: Mapping[str, Any] | None, rows: Iterable[Row], log: dc.DisclosureLog) -> Row | None:
    """The report's part; None without a forest. `found` is private/heterogeneity.json, `rows` released estimates."""
    if not found:
        return None
    subgroups = [
        row
        for row in rows
        if row["subgroup"] != "all"
        and row["method"] == "causal_forest"
        and (row["contrast"], row["design"]) == (found["contrast"], found["design"])
    ]
    found = {**found, **{name: cut_digits(found[name]) for name in ("interactions", "projection", "importance")}}
    return {
        "outcome": found["outcome"],
        "scale": found["scale"],
        "better": found["settings"]["better"],
        "multiplicity": found["settings"]["multiplicity"],
        "n_trees": found["settings"]["trees"],
        "subgroups": subgroups,
        "interactions": found["interactions"],
        "projection": _projection(found["projection"]),
        "ranking": _ranking(found["ranking"], found["scale"], log),
        "importance": _importance(found["importance"]),
        "policy": _policy(found["policy"], log),
        "monte_carlo_error": cut_digits(found["monte_carlo_error"]),
        "notes": [dc.mask_text(note, log.rule) for note in found["notes"]],
    }


def estimate_row(scale: str, value: float | None, lower: float | None, upper: float | None) -> Row:
    """Numbers in the form the page writes intervals from."""
    return {"scale": scale, "value": value, "lower": lower, "upper": upper, "is_suppressed": False}


def _projection(found: Mapping[str, Any] | None) -> list[Row]:
    if found is None:
        return []
    columns = [found[name] for name in ("term", "value", "lower", "upper", "p_value")]
    return [
        {"term": term, "value": value, "lower": lower, "upper": upper, "p_value": p_value}
        for term, value, lower, upper, p_value in zip(*columns, strict=True)
    ]


def _ranking(found: Mapping[str, Any] | None, scale: str, log: dc.DisclosureLog) -> Row | None:
    if found is None:
        return None
    quarters = []
    for group in found["quarters"]:
        place = f"effects/heterogeneity/{group['name']}"
        counts = {name: log.count(group[name], FILE, f"{place}/{name}") for name in ("n_treated", "n_control")}
        fewest = group.get("fewest_events")
        rests_on_few = fewest is not None and dc.release_count(fewest, log.rule) is None
        few = rests_on_few or None in counts.values()
        numbers = [None] * 3 if few else _mean_effect(group, scale, log)
        estimate = estimate_row(scale, *numbers) | {"is_suppressed": few}
        quarters.append({"name": group["name"], "estimate": estimate, **counts})
    return {
        "slope": dict(zip(("value", "std_error", "lower", "upper"), cut_digits(found["calibration"]), strict=True)),
        "slope_p_value": cut_digits(found["calibration_p_value"]),
        "autoc": _area(found["autoc"]),
        "qini": _area(found["qini"]),
        "quarters": quarters,
    }


def _mean_effect(group: Mapping[str, Any], scale: str, log: dc.DisclosureLog) -> list[float | None]:
    """Value and limits of the mean effect in a group, rounded as those of a subgroup are."""
    error = (group["upper"] - group["lower"]) / 4  # near enough for a grid
    row = {**group, "scale": scale, "std_error": error, "p_value": None}
    released = round_effects({scale: row}, log.rule).get(scale, {})
    return [released.get(name) for name in ("value", "lower", "upper")]


def _area(found: list[float]) -> Row:
    return dict(zip(("value", "std_error", "lower", "upper", "p_value"), cut_digits(found), strict=True))


def _importance(found: Mapping[str, Mapping[str, float]]) -> list[Row]:
    largest = sorted(found.items(), key=lambda item: (-item[1]["share"], item[0]))[:N_IMPORTANT]
    return [{"covariate": name, **numbers} for name, numbers in largest if numbers["share"] > 0]


def _policy(found: Mapping[str, Any] | None, log: dc.DisclosureLog) -> Row | None:
    if found is None:
        return None
    leaves = list(_leaves(found["tree"], ()))
    too_few = any(dc.release_count(leaf[name], log.rule) is None for leaf in leaves for name in leaf["counts"])
    if too_few:
        log.note(FILE, "effects/heterogeneity/policy/rules", dc.SUPPRESSED)
    rules = [
        {
            "questions": leaf["questions"],
            "offer": leaf["offer"],
            **{name: log.count(leaf[name], FILE, "effects/heterogeneity/policy") for name in leaf["counts"]},
        }
        for leaf in leaves
    ]
    share = found["share_offered"]
    return {
        "rules": [] if too_few else rules,
        "is_withheld": too_few,
        "share_offered": round(share, 2) if math.isfinite(share) else None,
        **{
            name: dict(zip(("value", "lower", "upper"), cut_digits(found[name]), strict=True))
            for name in ("over_nobody", "over_everybody")
        },
    }


def _leaves(node: Mapping[str, Any], asked: tuple[Row, ...]) -> Iterable[Row]:
    if node["offer"] is not None:
        counts = ("n_treated", "n_control")
        yield {
            "questions": list(asked),
            "offer": node["offer"],
            "counts": counts,
            **{name: node[name] for name in counts},
        }
        return
    for side, sign in (("left", "at most"), ("right", "above")):
        question = {"covariate": node["covariate"], "sign": sign, "threshold": float(f"{node['threshold']:.3g}")}
        yield from _leaves(node[side], (*asked, question))
