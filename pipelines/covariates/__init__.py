"""What was known before time zero: one short function for each covariate or few, each with its look-back window.

Choice made (DOMAIN E1): windows are [start, end) in whole days before the index date and nothing after discharge
counts. pipelines.covariate_registry declares every covariate; a value that no source holds is null, never 0, and the
design decides what to do with it.
"""

import polars as pl

from pipelines.covariates import (
    community_care,
    diagnoses,
    earlier_stays,
    index_stay,
    person,
    service_use,
    symptoms,
)
from pipelines.covariates.coverage import state_known_absences
from pipelines.covariates.records import Records, join_on_key

__all__ = ["Records", "measure_covariates"]

GROUPS = (index_stay, earlier_stays, person, service_use, diagnoses, symptoms, community_care)


def measure_covariates(records: Records) -> pl.DataFrame:
    """All covariates of every index row: person_id, index_date and a column per covariate of the registry, in the
    order of `index`."""
    return state_known_absences(records, join_on_key(records, [group.measure(records) for group in GROUPS]))
