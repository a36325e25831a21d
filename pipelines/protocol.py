"""A study protocol: one TOML file whose sections are the stages of a target trial emulation.

The file is parsed into frozen pydantic models which are then used as they are. Unknown keys are refused, and every
fault of a file is reported at once with its place, what is wrong and what is allowed (Hernán & Robins 2016 for the
components; TARGET 2025 for what must be stated).
"""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from models.registry import EFFECTS, methods_for
from pipelines.errors import ProtocolError
from pipelines.method_settings import DesignSection, Effects
from pipelines.method_settings.acceptance import Acceptance, Power
from pipelines.method_settings.section import Section
from pipelines.outcome_registry import is_counted
from pipelines.protocol_method_rules import (
    can_measure,
    outcome_kinds,
    recurrent_outcome,
    time_outcome,
    weighing_the_unobserved,
)
from pipelines.protocol_rules import faults_between_sections
from pipelines.protocol_sections import (
    CODE_PREFIX,
    MAIN_ANALYSIS,
    RULE_ORDER,
    Benchmark,
    CodeCovariates,
    CodeDimension,
    CodeLevel,
    Covariates,
    Disclosure,
    Eligibility,
    Estimand,
    FollowUp,
    Outcomes,
    Source,
    Strategies,
    Study,
    TableFile,
    TimeZero,
    Variant,
)

__all__ = [
    "CODE_PREFIX",
    "MAIN_ANALYSIS",
    "RULE_ORDER",
    "CodeCovariates",
    "CodeDimension",
    "CodeLevel",
    "Covariates",
    "DesignSection",
    "Disclosure",
    "Effects",
    "Eligibility",
    "FollowUp",
    "Protocol",
    "Section",
    "Source",
    "TableFile",
    "Variant",
    "can_measure",
    "load_protocol",
    "outcome_kinds",
    "recurrent_outcome",
    "time_outcome",
    "variants_of",
    "weighing_the_unobserved",
    "with_variant",
]


class Protocol(Section):
    """A whole study."""

    study: Study
    source: Source
    eligibility: Eligibility | None = Field(None, description="Only for sources of raw records")
    time_zero: TimeZero = TimeZero()
    strategies: Strategies
    follow_up: FollowUp = FollowUp()
    outcomes: Outcomes
    estimand: Estimand = Estimand()
    covariates: Covariates
    design: DesignSection = DesignSection()
    acceptance: Acceptance = Acceptance()
    power: Power = Power()
    effects: Effects = Effects()
    benchmark: Benchmark | None = None
    sensitivity: tuple[Variant, ...] = Field((), description="Only for sources of raw records")
    disclosure: Disclosure = Disclosure()

    @model_validator(mode="after")
    def _rules_between_sections(self) -> Self:
        problems = faults_between_sections(self)
        if problems:
            raise ValueError("; ".join(problems))
        object.__setattr__(self, "acceptance", self.acceptance.resolved(self.estimand.target))
        return self

    @property
    def not_yet_treated(self) -> bool:
        """Whether discharges of participants before their allocation are candidates."""
        return self.eligibility is not None and self.eligibility.candidates == "not_yet_treated"


def load_protocol(path: Path) -> Protocol:
    """Read a study protocol.

    Paths inside it become absolute, relative to the file. Raises ProtocolError naming every fault of the file.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ProtocolError(f"{path}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: not valid TOML: {error}") from None
    try:
        protocol = _with_absolute_paths(Protocol.model_validate(raw), path.resolve().parent)
    except ValidationError as error:
        raise ProtocolError([_explain(path, fault) for fault in error.errors()]) from None
    faults = [fault for number in range(len(protocol.sensitivity)) for fault in _variant_faults(path, protocol, number)]
    if faults:
        raise ProtocolError(faults)
    return protocol


def with_variant(protocol: Protocol, variant: Variant) -> Protocol:
    """The protocol of one sensitivity analysis: changed rules, the primary outcome, design and contrasts alone, and
    every effect method but individual effects.

    Raises ValidationError when the changed rules break a rule of a protocol.
    """
    content = protocol.model_dump(exclude={"sensitivity"})
    for section in ("eligibility", "follow_up"):
        content[section] = {**(content[section] or {}), **getattr(variant, section)}
    content["outcomes"] |= {"secondary": (), "presets": ()}
    content["design"] |= {"methods": content["design"]["methods"][:1], "also": ()}
    content["effects"]["also"] = ()
    kind = outcome_kinds(protocol).get(protocol.outcomes.primary)
    primary = protocol.outcomes.primary
    able = {name for name in (methods_for(kind) if kind else ()) if can_measure(name, primary)}
    is_timed = protocol.outcomes.primary == f"readmitted_{content['follow_up']['days']}d"
    able |= set(methods_for("time_to_event")) if is_timed else set()
    able |= set(methods_for("count")) if is_counted(protocol.outcomes.primary) else set()
    able |= set(methods_for("recurrent")) if protocol.outcomes.primary == recurrent_outcome(protocol) else set()
    named = content["effects"]["methods"]
    methods = [name for name in named if name in able and not EFFECTS[name].individual_effects]
    content["effects"]["methods"] = methods or [name for name in named if name in able] or named
    content["effects"]["sites"]["by"] = None
    return Protocol.model_validate(content)


def variants_of(protocol: Protocol) -> dict[str, Protocol]:
    """The protocols of the sensitivity analyses by name, in order."""
    return {variant.name: with_variant(protocol, variant) for variant in protocol.sensitivity}


def _variant_faults(path: Path, protocol: Protocol, number: int) -> list[str]:
    place = f"sensitivity.{number}"
    try:
        changed = with_variant(protocol, protocol.sensitivity[number])
    except ValidationError as error:
        return [_explain(path, fault, place) for fault in error.errors()]
    if (changed.eligibility, changed.follow_up) == (protocol.eligibility, protocol.follow_up):
        return [f"{path}: {place}: the variant changes nothing"]
    return []


def _with_absolute_paths(protocol: Protocol, base: Path) -> Protocol:
    source = protocol.source
    moved = source.model_copy(
        update={
            "folder": None if source.folder is None else (base / source.folder).resolve(),
            "duckdb": None if source.duckdb is None else (base / source.duckdb).resolve(),
            "tables": tuple(t.model_copy(update={"path": (base / t.path).resolve()}) for t in source.tables),
        }
    )
    return protocol.model_copy(update={"source": moved})


def _explain(path: Path, fault: Any, inside: str = "") -> str:
    parts = [inside, *(str(part) for part in fault["loc"])]
    place = ".".join(part for part in parts if part) or "the file as a whole"
    if fault["type"] == "extra_forbidden":
        return f"{path}: {place}: unknown key; allowed here: {', '.join(_keys_beside(fault['loc'])) or 'nothing'}"
    if fault["type"] == "missing":
        return f"{path}: {place}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | date) else ""
    return f"{path}: {place}: {message}{shown}"


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed in the section that holds `location`."""
    model: type[BaseModel] = Protocol
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        nested = None if field is None else _section_of(field.annotation)
        if nested is not None:
            model = nested
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The Section inside an annotation such as `Eligibility | None`, `tuple[TableFile, ...]` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found is not None:
            return found
    return None
