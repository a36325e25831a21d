"""Exact counts become counts that may leave the secure environment, and a log of what was withheld.

Choice made (DOMAIN F2; HES disclosure control 2018, OpenSAFELY output checking): counts of 1-7 people are suppressed,
other counts are rounded to 5 with halves up, percentages are recomputed from rounded numbers, cumulative incidence is
rebuilt from counts rounded to the midpoint of six, totals are derived from rounded parts, and there is no minimum or
maximum. Effects are rounded to what one person adds to them (report/rounded_effects.py), because counts hide in them.
Where no count is suppressed (public data), curves and effects are exact.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.protocol import Disclosure

SUPPRESSED = "suppressed: rests on fewer than {below} people"
ROUNDED = "rounded to {to}, halves up"
MIDPOINT = "counts behind it rounded to the midpoint of six"
DERIVED = "derived from rounded numbers; a suppressed number counts as {middle} in the running total"
RECOMPUTED = "recomputed from rounded counts"
ROUNDED_EFFECT = "derived from counts at the midpoint of six, or rounded to what one person adds to it"
TOLD_BY_A_RATIO = "withheld: with the difference beside it the ratio would tell how many of the treated had the outcome"
MERGED = "neighbouring bins merged until each holds enough people; outer bins are open-ended"
MASKED = "whole numbers in the text rounded or masked"

_DIGITS = 6  # weighted counts carry floating-point dust; a count is compared after rounding to six decimals
_WHOLE_NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?![\w]|[.,]\d)")
# What a method says of its own settings counts nobody: "max_controls = 5", "on 25 covariates", "5 folds need".
_SETTING = re.compile(r"\b(?!n_)[a-z]+(?:_[a-z]+)+ = \Z")
_NO_PEOPLE = re.compile(r" (?:covariates|columns|folds|free parameters)\b")


@dataclass
class DisclosureLog:
    """What was suppressed or rounded: file, place, rule; never the value."""

    rule: Disclosure
    entries: list[dict[str, str]] = field(default_factory=list)

    def note(self, file: str, place: str, rule: str) -> None:
        """Record one place once."""
        middle = round_half_up(self.rule.suppress_below / 2, self.rule.round_to)
        text = rule.format(below=self.rule.suppress_below, to=self.rule.round_to, middle=middle)
        entry = {"file": file, "place": place, "rule": text}
        if entry not in self.entries:
            self.entries.append(entry)

    def count(self, value: float | None, file: str, place: str) -> int | None:
        """A released count; a suppressed one is logged."""
        if value is None:
            return None
        released = release_count(value, self.rule)
        if released is None:
            self.note(file, place, SUPPRESSED)
        return released


def round_half_up(value: float, to: int) -> int:
    """`value` to the nearest multiple of `to`, halves up (never Python's halves to even)."""
    return math.floor(round(value, _DIGITS) / to + 0.5) * to


def release_count(value: float, rule: Disclosure) -> int | None:
    """A count of people or rows: None when 1 to suppress_below - 1, else rounded. Zero stays zero.

    Raises ValueError for a negative or non-finite count.
    """
    if not math.isfinite(value) or value < 0:
        raise ValueError("a count must be finite and not negative")
    exact = round(value, _DIGITS)
    return None if 0 < exact < rule.suppress_below else round_half_up(exact, rule.round_to)


def release_share(part: float, whole: float, rule: Disclosure) -> float | None:
    """A share recomputed from its rounded counts; None when it or its complement rests on too few people."""
    numerator, denominator = release_count(part, rule), release_count(whole, rule)
    rest = release_count(max(whole - part, 0.0), rule)
    if numerator is None or rest is None or not denominator:
        return None
    return min(numerator / denominator, 1.0)


def release_proportion(
    share: float, people: float | None, rule: Disclosure, largest_weight: float | None = None
) -> float | None:
    """A (weighted) mean of a 0/1 covariate among `people`, recomputed from rounded counts; None when it may rest on
    too few, or on all but too few, of them.

    `largest_weight` is the largest share of the total weight that one person holds: at least share / largest_weight
    people have the trait, whatever the weights are. Without it everybody is taken to weigh the same.
    """
    if people is None or not math.isfinite(share) or release_count(people, rule) in (None, 0):
        return None
    share = min(max(round(share, 9), 0.0), 1.0)
    one = 1 / people if largest_weight is None else max(largest_weight, 1 / people)
    for side in (share, 1 - share):
        if 0 < round(side / one, _DIGITS) < rule.suppress_below - 0.5:
            return None
    if share in (0.0, 1.0):
        return share
    return min(round_half_up(share * people, rule.round_to) / round_half_up(people, rule.round_to), 1.0)


def release_running_left(start: int, removed: Sequence[int], rule: Disclosure) -> list[int | None]:
    """What is left after each step, derived from rounded numbers alone, so that subtracting neighbours gives back
    nothing but what is printed. A suppressed step counts as the same constant whatever it was."""
    middle = round_half_up(rule.suppress_below / 2, rule.round_to)
    left = release_count(start, rule)
    exact, steps = start, []
    for n in removed:
        exact -= n
        taken = release_count(n, rule)
        if left is not None:
            left = max(left - (middle if taken is None else taken), 0)
        too_few = exact > 0 and (release_count(exact, rule) is None or (left or 0) < rule.suppress_below)
        steps.append(None if too_few else 0 if exact == 0 else left)
    return steps


def is_exact(rule: Disclosure) -> bool:
    """Whether effects and curves are released as they are: no count from 1 on is suppressed."""
    return rule.suppress_below <= 1


def midpoint_six(value: float) -> int:
    """The midpoint of the six counts that `value` lies in: 0 stays 0, 1-6 give 3, 7-12 give 9 (OpenSAFELY)."""
    exact = round(value, _DIGITS)
    return 0 if exact <= 0 else math.ceil(exact / 6) * 6 - 3


@dataclass(frozen=True)
class ReleasedCurve:
    """A cumulative incidence curve on whole weeks, rebuilt from midpoint-six counts (exact where nothing is
    suppressed); None on days after the first until enough people had the event, when nobody was observed any more, and
    of the band where it does not reach."""

    day: list[int]
    incidence: list[float | None]
    lower: list[float | None]
    upper: list[float | None]
    at_risk: list[int | None]
    band_lower: list[float | None]
    band_upper: list[float | None]


def release_curve(
    day: Sequence[float],
    incidence: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    at_risk: Sequence[float],
    *,
    days: Sequence[int],
    rule: Disclosure,
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
    most: float = 1.0,
) -> ReleasedCurve | None:
    """A step curve seen at `days` only. Cumulative events are incidence times the number at risk at the start; they
    and the number at risk are rounded to the midpoint of six; limits and band to the far end of the six that they are
    among, so that they are nowhere narrower than the exact ones. A number at risk that is too small is withheld; None
    when already the start is, or when few have the event in the end. Until enough have it nothing is said, neither of
    nobody nor of few: the first step would be the date of one person's event. Nor is anything said of days after the
    curve's last, when nobody was observed any more, or of its end, as soon as few are left: that would be the date on
    which one person's observation ended. `most` is the largest value there can be: 1 for a share of people, infinity
    for a mean number of events. Under a rule that suppresses nothing the curve is exact on these days."""
    nothing = [math.nan] * len(day)
    edges = [[math.nan if x is None else x for x in side] for side in band] if band else [nothing, nothing]
    rows = sorted(zip(day, incidence, lower, upper, at_risk, *edges, strict=True), key=lambda row: row[0])
    start = rows[0][4] if rows else 0
    if not release_count(start, rule):
        return None
    base = midpoint_six(start)
    seen: list[tuple[float, ...]] = []
    for wanted in days:
        past = [row for row in rows if row[0] <= wanted]
        seen.append(past[-1][1:] if past else (0.0, 0.0, 0.0, start, math.nan, math.nan))

    def rebuilt(column: int, outwards: int = 0) -> list[float]:
        shares = [row[column] if math.isfinite(row[column]) else 0.0 for row in seen]
        if not is_exact(rule):
            shares = [_rebuilt_share(midpoint_six(share * start), base, outwards) for share in shares]
        return [min(share, most) for share in shares]

    def rebuilt_band(column: int, outwards: int) -> list[float | None]:
        known = [math.isfinite(row[column]) for row in seen]
        return [value if is_known else None for value, is_known in zip(rebuilt(column, outwards), known, strict=True)]

    events = [round(row[0] * start, _DIGITS) for row in seen]
    if events and release_count(max(events), rule) is None:
        return None
    few = rule.suppress_below if max(events, default=0) > 0 and not is_exact(rule) else 0
    is_early = [day > 0 and n < few for day, n in zip(days, events, strict=True)]

    left = [release_count(row[3], rule) for row in seen]
    if not is_exact(rule):
        left = [None if n is None else midpoint_six(row[3]) for n, row in zip(left, seen, strict=True)]
    ends = rows[-1][0]
    is_over = [ends < max(days) and (day > ends or n is None) for day, n in zip(days, left, strict=True)]
    left = [None if over else n for over, n in zip(is_over, left, strict=True)]
    is_silent = [early or over for early, over in zip(is_early, is_over, strict=True)]

    def said(values: Sequence[float | None]) -> list[float | None]:
        return [None if silent else value for value, silent in zip(values, is_silent, strict=True)]

    edges_out = said(rebuilt_band(4, -1)), said(rebuilt_band(5, 1))
    return ReleasedCurve(list(days), said(rebuilt(0)), said(rebuilt(1, -1)), said(rebuilt(2, 1)), left, *edges_out)


def _rebuilt_share(count: int, base: int, outwards: int) -> float:
    """A midpoint of six as a share of another, or the lowest (-1) or highest (1) share that the two stand for."""
    if count == 0 or outwards == 0:
        return count / base
    return (count - 3) / (base + 3) if outwards < 0 else (count + 3) / (base - 2)


def widest_of_six(share: float, base: int) -> float:
    """The highest share that has the same midpoint of six as `share` of `base` people, themselves a midpoint."""
    return _rebuilt_share(midpoint_six(share * base), base, 1)


def bin_people(values: Sequence[float], width: float, rule: Disclosure) -> tuple[list[float], list[int]] | None:
    """Bins of `width` merged with their neighbours until none holds too few people: (k + 1 edges, k counts).

    The outer bins are open-ended: their outer edge is one width beyond their inner edge and says nothing of the most
    extreme person. None when fewer than three bins are possible.
    """
    codes = [math.floor(value / width + 1e-9) for value in values]
    if not codes:
        return None
    low, high = min(codes), max(codes)
    enough = max(rule.suppress_below, 1)
    bins: list[list[int]] = []  # first code, one past the last code, people
    for code in range(low, high + 1):
        n = codes.count(code)
        if bins and bins[-1][2] < enough:
            bins[-1][1:] = [code + 1, bins[-1][2] + n]
        else:
            bins.append([code, code + 1, n])
    if len(bins) > 1 and bins[-1][2] < enough:
        last = bins.pop()
        bins[-1][1:] = [last[1], bins[-1][2] + last[2]]
    if len(bins) < 3:
        return None
    edges = [(bins[0][1] - 1) * width, *(b[1] * width for b in bins[:-1]), (bins[-1][0] + 1) * width]
    return edges, [round_half_up(b[2], rule.round_to) for b in bins]


def mask_text(text: str, rule: Disclosure) -> str:
    """A remark written by a method: whole numbers in it are treated as counts, since some of them may be, but for those
    of a setting that it names or of covariates and folds."""

    def masked(match: re.Match[str]) -> str:
        if _SETTING.search(text, 0, match.start()) or _NO_PEOPLE.match(text, match.end()):
            return match.group()
        released = release_count(int(match.group().replace(",", "")), rule)
        return f"fewer than {rule.suppress_below}" if released is None else f"{released:,}"

    return _WHOLE_NUMBER.sub(masked, text)
