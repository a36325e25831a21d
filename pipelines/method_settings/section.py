"""What every section of a protocol is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of the protocol: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
