"""What a load did -> its manifest, in which every row of every raw file is accounted for.

rows read = rows kept + rows deduplicated + rows quarantined, file by file and rule by rule, or it is our mistake.
Nothing in it depends on time or place, so the same extract gives the same bytes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from pipelines.lake.gather import EXACT_DUPLICATE, SUPERSEDED_SUBMISSION
from pipelines.lake.reading import FORMAT
from pipelines.lake.scatter import Receipt
from pipelines.lake.second_pass import EMPTIED_MONTH, add_up
from pipelines.sources.extract import Extract, aliases_version, fingerprint
from pipelines.sources.omop import mapping
from pipelines.sources.omop.staged import FEEDS
from pipelines.sources.submissions import HEADER_DATES, HEADER_OF_NOBODY, MONTHS_OF_PEOPLE, SUBMISSION_UNKNOWN

COUNTS = ("rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
RULES = {
    EXACT_DUPLICATE: "every cell is the same as in another row of the table; the first in order of files stays",
    SUPERSEDED_SUBMISSION: "the month was submitted again, and the later submission counts",
    EMPTIED_MONTH: "months of a provider: every submission of the month that is in the extract is said not to count "
    "(Der_IsLatest N), so none of its rows is kept",
    f"{SUBMISSION_UNKNOWN}:TABLE": "months of a provider that were submitted more than once, as their headers say, "
    "while rows of the table say neither by a submission number nor by the name of their file (primary, refresh) with "
    "which they came: the rows of all submissions are kept, so what a later one changed or withdrew is still there",
    MONTHS_OF_PEOPLE: "months of a provider: no header (MHS000) came, so a month counts as submitted where MHS001 has "
    "at least a tenth of the provider's median number of rows and of that of all providers; silence is judged by rows",
    HEADER_OF_NOBODY: "kept, but not believed: headers of months before the first or after the last month of which "
    "anybody has a record in MHS001, with a month in between that nobody submitted",
    HEADER_DATES: "kept, but read by the month's number: the dates of the header are of another month",
    "malformed_line": "the line has another number of fields than the header",
    "no_person": "no person id, and none through the record number in MHS001",
    "anonymous_provider": "a service that is anonymous by design; its person ids are not stable",
    "no_month": "a submission whose period ends before it begins, is longer than a month, or begins more than a year "
    "from the month that its number says",
    "missing:COLUMN": "a column that a row cannot do without is empty",
    "written_as_missing:HEADER": "kept, the cell empty: the file writes a word for no value there (NULL, \\N, NA, NaN, "
    "a full stop)",
    "bad_KIND:COLUMN": "such a column holds something that is no date, number or code of its kind",
    "team_without_type": "kept: no file describes the team of the referral",
    "assessment_without_contact": "kept, without a date: the contact of the assessment is not there",
    "activity_without_contact": "kept, without a date: the contact of the activity is not there",
    **mapping.RULES,
}
"""What the rules in a manifest mean. KIND and COLUMN stand for names."""


class BalanceError(AssertionError):
    """Rows were lost or doubled: our mistake, not the user's. It is raised, so that `python -O` keeps the check."""


def describe(extract: Extract, receipts: Sequence[Receipt], account: pl.DataFrame, n_buckets: int) -> dict[str, Any]:
    """The manifest but for the generation's name and the checksums of quarantine files.

    Raises:
        BalanceError: the rows of a file do not add up.
    """
    told = {file.name: file.layout.told for file in extract.files}
    files = [_file(receipt, account, told[receipt.name]) for receipt in receipts]
    rows = add_up(account, "rows")
    # Version 6 main teams come from MHS101, so referral_team may hold rows without a file of its own.
    fed = {table for receipt in receipts for table in FEEDS.get(receipt.table, (receipt.table,))}
    tables = sorted(fed | {name for name, n in rows.items() if n})
    return {
        "format": FORMAT,
        "n_buckets": n_buckets,
        "fingerprint": fingerprint(extract, {receipt.name: receipt.digest for receipt in receipts}),
        "versions": {"aliases": aliases_version(), "polars": pl.__version__, "pyarrow": pa.__version__},
        "extract": extract.description,
        "files": files,
        "ignored_files": list(extract.ignored),
        "tables": {name: _table(name, receipts, rows) for name in tables},
        "rules": RULES,
        "notes": dict(sorted((add_up(account, "note") + _months_unsure(account)).items())),
        "totals": {key: sum(file[key] for file in files) for key in COUNTS},
        "written": {
            name: {"rows": n, "checksum": checksum}
            for name, checksum, n in account.filter(what="file").select("name", "rule", "n").sort("name").iter_rows()
        },
    }


def _months_unsure(account: pl.DataFrame) -> Counter[str]:
    """Months of a provider, by table."""
    months = account.filter(what="unsure").group_by("name").agg(pl.col("rule").n_unique())
    return Counter({f"{SUBMISSION_UNKNOWN}:{table}": n for table, n in months.iter_rows()})


def _file(receipt: Receipt, account: pl.DataFrame, release: str) -> dict[str, Any]:
    own = account.filter(name=receipt.name)
    kept = add_up(own, "kept").total()
    dropped = add_up(own, "dropped", "rule")
    aside = receipt.quarantined.total()
    if receipt.rows_read != kept + dropped.total() + aside:
        raise BalanceError(
            f"{receipt.name}: {receipt.rows_read} rows read, but {kept} kept, {dropped.total()} dropped, {aside} set "
            "aside"
        )
    return {
        "file": receipt.name,
        "table": receipt.table,
        "release": release,
        "checksum": receipt.digest,
        "encoding": receipt.encoding,
        "rows_read": receipt.rows_read,
        "rows_kept": kept,
        "rows_deduplicated": dropped.total(),
        "rows_quarantined": aside,
        "deduplicated_by_rule": dict(sorted(dropped.items())),
        "quarantined_by_reason": dict(sorted((+receipt.quarantined).items())),
        "cells_nulled_by_rule": dict(sorted((+receipt.nulled).items())),
        "rows_differing_by_columns": dict(sorted((+receipt.differing).items())),
    }


def _table(name: str, receipts: Sequence[Receipt], rows: Counter[str]) -> dict[str, Any]:
    files = [receipt for receipt in receipts if name in FEEDS.get(receipt.table, (receipt.table,))]
    absent = {receipt.name: list(receipt.absent) for receipt in files if receipt.absent}
    choices = {receipt.name: list(receipt.absent_choices) for receipt in files if receipt.absent_choices}
    return {
        "rows": rows[name],
        "files": [receipt.name for receipt in files],
        "absent_columns": absent,
        "absent_choices": choices,
    }
