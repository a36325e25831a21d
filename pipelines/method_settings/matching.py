"""Settings of the design methods that make matched sets."""

from pydantic import Field

from pipelines.method_settings.section import Section


class NearestNeighbourSettings(Section):
    """Nearest-neighbour matching on the log-odds without replacement."""

    ratio: int = Field(1, ge=1, le=20, description="Controls per treated person")
    caliper: float | None = Field(0.2, gt=0, description="In standard deviations of the log-odds")
    calendar_days: int | None = Field(None, ge=0, description="Largest distance between the two time zeros")
