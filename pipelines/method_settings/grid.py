"""A method listed again under a name and with other options: what the grids of designs and of effects share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError

from pipelines.method_settings.section import Section

SpecificationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
TAKEN = frozenset({"randomised"})


@dataclass(frozen=True)
class Specification:
    """One design of the grid. `name` is the method's own where the protocol lists it under `methods`."""

    name: str
    method: str
    settings: Section
    propensity: Section
    exact: tuple[str, ...]


def check_names(methods: Iterable[str], names: Iterable[str], known: Any) -> None:
    """Raises ValueError when a name is given twice, or is that of a method."""
    listed, given = list(methods), list(names)
    twice = sorted({name for name in [*listed, *given] if [*listed, *given].count(name) > 1} - set(get_args(known)))
    if twice:
        raise ValueError(f"also: a specification is named twice: {', '.join(twice)}")
    if len(set(listed)) != len(listed):
        raise ValueError("methods: a method is named twice; list it under also with other options")
    methods_own = sorted(set(given) & {*get_args(known), *TAKEN})
    if methods_own:
        raise ValueError(f"also: {', '.join(methods_own)} is the name of a method; give the specification another")


def with_options(settings: Section, options: dict[str, Any], place: str) -> Section:
    """The settings with some keys changed. Raises ValueError naming the place and the fault."""
    try:
        return type(settings).model_validate(settings.model_dump() | options)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join([place, *(str(part) for part in fault["loc"])])
        if fault["type"] == "extra_forbidden":
            raise ValueError(f"{where}: unknown key; allowed here: {', '.join(type(settings).model_fields)}") from None
        raise ValueError(f"{where}: {fault['msg'].removeprefix('Value error, ')}") from None
