"""The registry of outcomes → docs/outcomes.md. docs/generate.py writes it; a test keeps it current."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.outcome_registry import DESCRIBED, FAMILIES, FIXED, PRESETS, Described, OutcomeFamily
from pipelines.outcomes.nhs_readmission import EXCLUDED_DESTINATIONS, EXCLUDED_METHODS

OUTCOMES_PAGE = Path(__file__).with_name("outcomes.md")
OPENING = """# The outcomes of raw records

<!-- Written by docs/generate.py from pipelines/outcome_registry.py (`make docs`); change it, not this page. -->

Service use after time zero, as far as routine records hold it (DOMAIN A5). **Psychosocial outcomes** (hope, stigma,
social connection, the therapeutic relationship) **are not in routine data**: they are not measured here and nothing is
used in their place. Costs are not measured either.

An outcome's name is a family and a window: `readmitted_90d` is a readmission on day 1 to 90 after the index date. Any
window from 1 day to `follow_up.days` can be asked for in `[outcomes]`; every family is measured over the whole
follow-up in any case (`private/outcomes.parquet`).

**What is known when.** Death competes and ends the window. Observation ends with the data, or with the last month
before the provider fell silent. A count, a share and a "no" are known only when the window was observed to its last
day, or to a death before observation ended; a readmission or death that was seen is a "yes" at once. What was not
observed is null, never 0, and so is whatever needs a table that the extract does not hold. A short window is therefore
known for more people than a long one. Where outcomes are compared, windows that the end of observation cuts short are
left out, with an event in them or without: keeping only those with one would raise every risk.

**Tables that stop or start on the way.** A table in **bold** below must cover the window from its first day to its
last, or to the end of observation where that comes first: the months from its first to its last row (ECDS with HES
A&E, HES and deaths by the date of the event, in months with enough of them; a table of few rows is taken to stop only
where chance would leave so little after it less than once in a thousand times: `pipelines/look_back.py`). A window
that such a table leaves before observation ends is null whatever was seen in it and also for somebody who died
before: else only people with an event, or the dead, would be left of it.

**Months that a table leaves out.** A window is null likewise where it meets a month between a table's first and last
in which too little of it came: fewer rows than a quarter (`follow_up.gap_below`) of its usual number, and fewer than
chance would leave once in a thousand times (`follow_up.silence_chance`). Usual is the lower of two medians, of the
nearest 12 ordinary months before and of those after; ordinary are months with at least that share of the median month.
Chance is Poisson after both numbers were divided by the table's dispersion, as its steps from month to month show it.
So an empty month is noticed from about 7 rows a month on, growth and seasons are no gap, and nothing is said of a
table that comes and goes (fewer than half of its months are ordinary). In 400 simulated series of 72 months without a
gap (means of 3 to 2,000, fourfold growth or decline, seasons of ±30 %, variance up to 4 times the mean) at most 1.2
months in 1,000 were called gaps. Empty years of Poisson counts were found whole in 90 to 97 % at 15 rows a month and
in all from 30 on; with a variance of 4 times the mean in 39 % at 30 and in 98 % at 60. The first months of a table
that takes a year to come up to its level count as left out. Rates count up to the month before a gap. Spells are told
by provider: a month with less than half of a provider's usual spells (`follow_up.silence_below`; at most 4.7 months
in 1,000 called so without a gap; not judged where usual is fewer than `follow_up.silence_minimum_spells`, 30), and a
month in which spells or ward stays have a gap as a whole, ends observation
like a month without a submission. That a single provider left out another table, such as contacts, is not noticed.

**Moving away.** Where `follow_up.censor_at` names `moved_away`, observation ends on the first day, from time zero on,
on which the trust of the index stay (under whatever code it has in the end) closed a referral, or a team's part of one,
with a code of `follow_up.moved_away_codes`. Another trust's closing does not count, since it may mean a move towards
this one; nor does anything seen later undo it, since those seen again are those who came back or were admitted. It is
not the default: an extract of the whole country sees who moves within it. The codes have no default either. Public
code of NHS England (github.com/nhsengland/MHSDS, `CMH Dashboard` and others, 2025) counts `03` and `07` together as
"person moved / requested discharge", and `02` and `04` as "treatment complete / further treatment not appropriate".
Which of `03` and `07` is the move was not confirmed: look it up in the NHS Data Dictionary, REFERRAL CLOSURE REASON. A
run stops where no referral was closed with one of the codes. Moves of people without an open referral are not seen.

**Deaths.** Without a table of deaths `died_<days>d` is null and nobody can be treated as dead: the other outcomes and
the cumulative incidence of readmission then count people who died as people who did not come back. The data account
says so (`deaths`). An extract of MHSDS with inpatients' deaths only, told by the discharge, is such an extract.
"""
NHS_RULE = """## NHS England's 14-day rule beside the study's own

`readmitted_nhs_14d` follows NHS England's acute inpatient dashboard of 2025 (DOMAIN B11) and not the study's rule K11.
No NHS measure of mental-health readmission within 30 days exists: `readmitted_30d` and `readmitted_90d` are windows of
the study's own rule. National figures on emergency readmissions leave mental-health specialties out and are no
comparator.

| | `readmitted_nhs_14d` (B11) | `readmitted_14d` (K1, K2, K11) |
|---|---|---|
| unit | hospital spell, each by its id | continuous stay: transfers and near spells are linked first |
| discharges left out (null) | method {methods}; destination {destinations} | none of these; self-discharge stays in |
| counts as readmission | any other spell: zero-day, place of safety, children's beds too | \
adult beds; no zero-day stay, no place of safety only |
| days | 0 to 13 | 1 to 14 |
| a spell on the day after discharge | a readmission on day 1 | \
with `eligibility.link_gap_days` ≥ 1 the same stay, which moves time zero to its end |

The rule is applied to the spell whose discharge is time zero, so spells that linking put inside the index stay are
before time zero and no outcome. It therefore says how often *these* discharges were followed by another spell; it is
not the dashboard's figure for a provider.
"""


def outcomes_page() -> str:
    """The whole page as Markdown."""
    methods, destinations = ", ".join(EXCLUDED_METHODS), ", ".join(EXCLUDED_DESTINATIONS)
    parts = [
        OPENING,
        _table("Outcomes with a window", "`{}_<days>d`", FAMILIES.values()),
        _table("Outcomes with a rule of their own", "`{}`", FIXED.values()),
        _described(),
        _presets(),
        NHS_RULE.format(methods=methods, destinations=destinations),
    ]
    return "\n".join(parts)


def _tables(entry: OutcomeFamily | Described) -> str:
    needed = entry.must_cover if isinstance(entry, OutcomeFamily) else ()
    return ", ".join(f"**`{table}`**" if table in needed else f"`{table}`" for table in entry.tables)


def _table(title: str, shown: str, families: Iterable[OutcomeFamily]) -> str:
    rows = [
        f"| {shown.format(f.name)} | {f.scale} | {f.meaning} | {_tables(f)} | {f.rule} | "
        f"{'yes' if f.is_in_a_cdm else 'no'} |"
        for f in families
    ]
    head = ["| outcome | scale | meaning | canonical tables | DOMAIN | from OMOP |", "|---|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", *head, *rows, ""])


def _described() -> str:
    text = (
        "Further columns of `private/outcomes.parquet`. They are known for some people only, by what happened to them "
        "later, so comparing them would condition on the future; the protocol refuses them and names what to take."
    )
    rows = [f"| `{d.name}` | {d.meaning} | {_tables(d)} | {d.rule} | {d.instead} |" for d in DESCRIBED.values()]
    head = ["| column | meaning | canonical tables | DOMAIN | compare instead |", "|---|---|---|---|---|"]
    return "\n".join(["## Columns that describe", "", text, "", *head, *rows, ""])


def _presets() -> str:
    text = (
        'Sets for `outcomes.presets`, for example `presets = ["nhs_14_day", "30_day", "90_day"]`. They are added to '
        "`outcomes.secondary`; the protocol in the run folder shows them written out."
    )
    rows = [
        f"| `{name}` | {', '.join(f'`{outcome}`' for outcome in outcomes.split())} | {why} |"
        for name, (outcomes, why) in PRESETS.items()
    ]
    return "\n".join(["## Presets", "", text, "", "| preset | outcomes | what it is |", "|---|---|---|", *rows, ""])
