"""HES admitted care, HES A&E and ECDS attendances, and ONS deaths -> canonical tables.

All four are flat files keyed by the same pseudonym; what there is to know about them (names, sentinel dates, date of
registration where the date of death is missing) stands in configs/sources/hes.toml (DOMAIN C1-C3).
"""

from pipelines.sources.aliases import SourceTable, load_aliases
from pipelines.tables import TABLES

RELEASES = ("hes",)


def layouts() -> tuple[SourceTable, ...]:
    """The source tables of HES_APC, HES_AE, ECDS and ONS_deaths."""
    return load_aliases("hes", TABLES)
