"""The protocol's pydantic models → docs/protocol.md, key by key; the registries → docs/outcomes.md, docs/covariates.md,
docs/methods.md. `make docs` writes them; a test keeps them current."""

import sys
from datetime import date
from inspect import cleandoc
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from methods_page import METHODS_PAGE, methods_page
from outcome_page import OUTCOMES_PAGE, outcomes_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.covariate_registry import EVER, FORMS, GROUPS, OF_THE_COHORT, Covariate
from pipelines.protocol import Protocol, Section

PAGE = Path(__file__).with_name("protocol.md")
COVARIATES_PAGE = Path(__file__).with_name("covariates.md")
OPENING = """# The study protocol, key by key

<!-- Written by docs/generate.py from pipelines/protocol.py (`make docs`); change the models, not this page. -->

One TOML file describes a whole study; its sections are the stages of a target trial emulation. Unknown keys are
refused, and every fault of a file is reported at once with its place, what is wrong and what is allowed:
`virtual-controls check STUDY.toml`. Paths are relative to the file. The examples in `configs/studies/` are good to
start from. The protocol as it was used, with every default filled in, is written into the run folder
(`protocol.toml`), so no setting is hidden.

*Required* means that there is no default. A key that is *left out* has no value unless you give one.
"""
WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    date: "date",
    Path: "path",
    Any: "a value",
}
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "multiple_of": "a multiple of {}"}

COVARIATES_OPENING = """# Covariates of raw records

<!-- Written by docs/generate.py from pipelines/covariate_registry (`make docs`); change that, not this page. -->

{n} covariates can be named under `[covariates]` of a study on MHSDS, HES, ECDS or an OMOP CDM. All are measured
before time zero. A contact, attendance or admission counts on days 1 to n before the index date; a diagnosis, status
or rating that is dated on the index date itself counts as well, as it belongs to the index stay. Look-backs *before
admission* end on the day the index stay began.

**Nothing found is not nought.** A count is 0 and an indicator false only where the extract holds the tables named
here and covers the whole look-back: from the first to the last month that anybody sent a row of the table for (HES
and emergency attendances: the months with at least half the median number of rows; a CDM: the person's own
observation period); from MHSDS's first month, or that of HES where it counts for earlier stays. Anywhere else the
value is missing. Months between a table's first and last in which far too little of it came (`follow_up.gap_below`,
`follow_up.silence_chance`; the data account and the report name them) are not covered either. In a look-back that is
covered in part, counts and rates are missing whatever was seen, an indicator is true where the thing was seen and
missing elsewhere, and days since the latest event are there unless a later one may be missing. That a single provider
was silent for some of a covered look-back is not taken into account. A table of few rows is taken to cover the extract
to its first and last day unless chance would leave so little there less than once in a thousand times.

What is done with a missing value is stated in the protocol (`missing`, `missing_of`) and in the report beside its
share.

| form | value |
|---|---|
{forms}

*Evidence* has the source keys of the project's domain reference. "Not in a CDM" covariates are refused for OMOP
sources. "Not drawn" means that the project's own generator writes nothing for it: in the synthetic extract it is
missing, or alike for everybody.
"""
COVARIATES_CLOSING = """## Codes as they come

`[covariates.codes]` adds indicators of the diagnosis, procedure and team codes that were recorded in a look-back, in
the manner of the high-dimensional propensity score (Schneeweiss et al. 2009, Epidemiology 20:512). In each dimension
the codes are ranked by min(p, 1 - p), p being their prevalence among all eligible rows, and the first
`n_most_prevalent` are kept. Each gives up to three indicators, named like `code_diagnosis_F20_once`: recorded at
least once, at least as often as the median, and as the upper quartile of the rows that have it; levels that would be
the same indicator are left out. The paper's selection by the Bross formula needs outcomes, which the design never
sees: it is not done. Treatment plays no part in the choice either. Codes and levels that fewer than `min_persons`
people have, or lack, get no name. The indicators enter the propensity score by themselves, count in the acceptance of
balance like any covariate, and stand in balance.csv, where small numbers in one arm are suppressed like all others.

| dimension | codes | counted once |
|---|---|---|
| `diagnosis` | ICD-10 categories of primary and secondary diagnoses (OMOP: codes of the source, whole) | a day |
| `procedure` | SNOMED procedures of care activities | a contact and day |
| `team` | types of teams whose contacts were attended | a contact |
| `hospital_diagnosis` | ICD-10 categories in any position of HES episodes | a first day of episodes |
| `hospital_procedure` | OPCS-4 codes of HES episodes | a first day of episodes |

Diagnoses of the index date count, everything else counts up to the day before.

## What the sources do not hold

- **Living alone**: no column of MHSDS that public code reads.
- **Dates of ward incidents** (MHS507, MHS513): no public code reads a date of theirs, so an incident is known by its
  month, counts once that month is over, and there is no count of incidents.
- **Out of area from provider and residence**: there is no table of which areas a provider serves; the flag is
  ReasonOAT.
- **Homelessness in versions 5 and 6**: the labels of the numbered accommodation codes are not public.
- **Comorbidity scores** (Charlson and its kin): their lists of codes are not in the domain reference. Physical
  admissions are counted instead, and `hospital_diagnosis` codes can enter as they come.
- **Medication**: MHSDS holds none that could be used.
- **Deprivation from IMDQuart**: not used; deciles come from the LSOA.
"""


def protocol_page() -> str:
    """The whole page as Markdown."""
    sections = [_describe_field(name, field, level=2) for name, field in Protocol.model_fields.items()]
    return "\n".join([OPENING, *sections]).rstrip() + "\n"


def covariates_page() -> str:
    """The page of the covariates as Markdown."""
    listed = [covariate for group in GROUPS.values() for covariate in group]
    forms = "\n".join(f"| `{form}` | {meaning} |" for form, meaning in FORMS.items())
    sections = [_describe_group(title, group) for title, group in GROUPS.items()]
    return "\n".join([COVARIATES_OPENING.format(n=len(listed), forms=forms), *sections, COVARIATES_CLOSING])


def _describe_group(title: str, group: tuple[Covariate, ...]) -> str:
    header = "| name | form | look-back | tables | found by | meaning | evidence |"
    rows = [_covariate_row(covariate) for covariate in group]
    return "\n".join([f"## {title}", "", header, "|---|---|---|---|---|---|---|", *rows, ""])


def _covariate_row(covariate: Covariate) -> str:
    notes = [
        *(["Not in a CDM."] if not covariate.is_in_a_cdm else []),
        *(["Not drawn."] if covariate.not_in_synthetic else []),
        *(["From the cohort file."] if covariate.name in OF_THE_COHORT else []),
    ]
    meaning = ". ".join([covariate.meaning, " ".join(notes)]) if notes else covariate.meaning
    tables = ", ".join(f"`{table}`" for table in covariate.tables)
    names = (f"`{covariate.name}`", covariate.form, _look_back(covariate), tables, f"`{covariate.measured_by}`")
    return "| " + " | ".join((*names, meaning, covariate.evidence)) + " |"


def _look_back(covariate: Covariate) -> str:
    if covariate.look_back_days == 0:
        return "index stay" if covariate.before == "admission" else "at discharge"
    days = "ever" if covariate.look_back_days >= EVER else f"{covariate.look_back_days} d"
    return f"{days} before admission" if covariate.before == "admission" else days


def _describe_field(place: str, field: FieldInfo, level: int) -> str:
    """A section with a table of its keys, and then the sections inside it."""
    model = _section_in(field.annotation)
    assert model is not None, f"{place} is a key, not a section"
    text = f"{'#' * level} `{_header(place, field)}`\n\n{_sentence(model, field)}\n"
    keys = {name: inner for name, inner in model.model_fields.items() if _section_in(inner.annotation) is None}
    if keys:
        rows = [_row(name, inner) for name, inner in keys.items()]
        text += "\n".join(["", "| key | allowed | default | meaning |", "|---|---|---|---|", *rows, ""])
    else:
        text += "\nNo keys of its own.\n" if len(keys) == len(model.model_fields) else ""
    inner_sections = {name: inner for name, inner in model.model_fields.items() if name not in keys}
    return "\n".join([text, *(_describe_field(f"{place}.{n}", f, level + 1) for n, f in inner_sections.items())])


def _header(place: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is tuple:
        return f"[[{place}]]"
    return f"[{place}.<name>]" if get_origin(field.annotation) is dict else f"[{place}]"


def _sentence(model: type[Section], field: FieldInfo) -> str:
    purpose = cleandoc(model.__doc__ or "")
    note = f" {field.description}." if field.description else ""
    need = " *Required.*" if field.is_required() else ""
    return f"{purpose}{note}{need}"


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _allowed(field), _default(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _allowed(field: FieldInfo) -> str:
    """What a value may be, with its limits."""
    limits = [*_limits(field.metadata), *_limits_of(field.annotation)]
    return ", ".join([_in_words(field.annotation), *limits])


def _in_words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), [arg for arg in get_args(annotation) if arg not in (type(None), Ellipsis)]
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(arg) for arg in inner)
    if origin is tuple:
        return f"list of {_in_words(inner[0])}"
    if origin is dict:
        return f"table of {_in_words(inner[0])} = {_in_words(inner[1])}"
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _in_words(inner[0])
    return WORDS[annotation]


def _limits_of(annotation: Any) -> list[str]:
    """Limits inside the type itself, as in `Share | None`."""
    limits = _limits(getattr(annotation, "__metadata__", ()))
    if get_origin(annotation) in (Union, UnionType):
        limits += [limit for arg in get_args(annotation) for limit in _limits_of(arg)]
    return limits


def _limits(metadata: Any) -> list[str]:
    limits = []
    for item in metadata:
        for part in getattr(item, "metadata", [item]):
            limits += [
                words.format(getattr(part, name))
                for name, words in BOUNDS.items()
                if getattr(part, name, None) is not None
            ]
            if getattr(part, "min_length", None):
                limits.append(f"at least {part.min_length}")
            if getattr(part, "pattern", None):
                limits.append(f"matching `{part.pattern}`")
    return limits


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "*left out*"
    if isinstance(value, tuple | list):
        return ", ".join(f"`{item}`" for item in value) or "none"
    if isinstance(value, dict):
        return "none" if not value else str(value)
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if issubclass(annotation, Section) else None
    found = (_section_in(inner) for inner in get_args(annotation))
    return next((model for model in found if model is not None), None)


if __name__ == "__main__":
    PAGE.write_text(protocol_page(), encoding="utf-8")
    OUTCOMES_PAGE.write_text(outcomes_page(), encoding="utf-8")
    COVARIATES_PAGE.write_text(covariates_page(), encoding="utf-8")
    METHODS_PAGE.write_text(methods_page(), encoding="utf-8")
    pages = (PAGE, OUTCOMES_PAGE, COVARIATES_PAGE, METHODS_PAGE)
    sys.stdout.write(f"wrote {', '.join(page.name for page in pages)}\n")
