"""The protocol's pydantic models → docs/protocol.md, key by key; and docs/outcomes.md. `make docs` writes them; a test
keeps them current."""

import sys
from datetime import date
from inspect import cleandoc
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from outcome_page import OUTCOMES_PAGE, outcomes_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.protocol import Protocol, Section

PAGE = Path(__file__).with_name("protocol.md")
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


def protocol_page() -> str:
    """The whole page as Markdown."""
    sections = [_describe_field(name, field, level=2) for name, field in Protocol.model_fields.items()]
    return "\n".join([OPENING, *sections]).rstrip() + "\n"


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
    sys.stdout.write(f"wrote {PAGE.name}, {OUTCOMES_PAGE.name}\n")
