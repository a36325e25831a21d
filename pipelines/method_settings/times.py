"""Settings of the effect methods for times to events."""

from pipelines.method_settings.section import Section


class CumulativeIncidenceSettings(Section):
    """Aalen-Johansen curves with death competing."""
