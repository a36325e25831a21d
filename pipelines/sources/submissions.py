"""What was submitted for a provider and month, and how often -> the submissions that no longer count.

A month can be sent up to 13 times (DOMAIN B1). Rule (DOMAIN 0b.8, B2, I1): what the sender says counts (Der_IsLatest,
in the header or in MHSDS_SubmissionFlags); where nothing is said, the submission with the highest file type, else the
highest number, of those that any row came with. A row without a submission is never dropped, but for one case: where
the headers of a month have a primary and a refresh (FileType 1 and 2), and the names of files say which of the two they
hold, that is the submission of their rows. What neither rows nor names tell is counted, month by month.
"""

import re
from collections.abc import Collection, Iterable

import polars as pl

from pipelines.id_order import sort_by_id
from pipelines.tables import TABLES, month_id

SUPERSEDED = pl.Schema({"provider_id": pl.String, "month_id": pl.Int64, "submission_id": pl.String})
NOTHING_SUPERSEDED = SUPERSEDED.to_frame()
MONTH = ["provider_id", "month_id"]
MONTHS_OF_PEOPLE, SUBMISSION_UNKNOWN = "months_from_person_rows", "submission_unknown"
HEADER_OF_NOBODY, HEADER_DATES = "header_of_a_month_of_nobody", "header_dates_unlike_the_others"
NONE_UNSURE = pl.Schema({"provider_id": pl.String, "month_id": pl.Int64}).to_frame()
FILE_TYPES = {"primary": "1", "refresh": "2"}
"""What the name of a file may say of its rows, and the FileType that headers call it."""
_BY_NAME = "FileType "
_FEWEST = 0.1  # of the median number of people: what a month must have to count as submitted where no header says so


def told_by_name(file_name: str) -> str | None:
    """The submission that a file's own name speaks of: "FileType 1" (primary), "FileType 2" (refresh), or None."""
    words = set(re.findall("[a-z]+", file_name.casefold())) & FILE_TYPES.keys()
    return f"{_BY_NAME}{FILE_TYPES[words.pop()]}" if len(words) == 1 else None


def named_submission() -> pl.Expr:
    """What stands for the submission of a header: its number, else its file type."""
    return pl.coalesce("submission_id", pl.lit(_BY_NAME) + pl.col("file_type_code"))


def find_superseded(seen: pl.DataFrame, headers: pl.DataFrame, flags: pl.DataFrame) -> pl.DataFrame:
    """The submissions in `seen` that a later one replaced.

    Args:
        seen: provider_id, month_id, submission_id of the rows of all tables, each once.
        headers: rows of the table `submission`.
        flags: rows of submission_flag (provider_id, month_id, submission_id, is_latest_code).

    Returns:
        provider_id, month_id, submission_id, in order.
    """
    is_named = pl.col("submission_id").str.starts_with(_BY_NAME)
    by_name = seen.filter(is_named)
    if by_name.height:
        known = headers.with_columns(submission_id=pl.lit(_BY_NAME) + pl.col("file_type_code"))
        # Where a month's headers know nothing of what the names of files say, the names are only names.
        unknown = by_name.join(known, on=SUPERSEDED.names(), how="anti").select(MONTH)
        of_names = _superseded(by_name.join(unknown, on=MONTH, how="anti"), known, flags.clear())
        return pl.concat([of_names, _superseded(seen.filter(~is_named), headers, flags)]).sort(SUPERSEDED.names())
    return _superseded(seen, headers, flags)


def find_unsure(headers: pl.DataFrame) -> pl.DataFrame:
    """provider_id, month_id of the months that the headers say were submitted more than once."""
    sent = headers.group_by(MONTH).agg(n=named_submission().n_unique())
    return sent.filter(pl.col("n") > 1).select(MONTH).sort(MONTH)


def count_unsure(rows: pl.DataFrame, unsure: pl.DataFrame) -> pl.DataFrame:
    """provider_id, month_id, n: rows of the months `unsure` that do not say which submission they came with."""
    saying = [name for name in ("_submission_id", "_file_type", "_use_flag") if name in rows.columns]
    silent = rows.filter(pl.all_horizontal(pl.lit(True), *(pl.col(name).is_null() for name in saying)))
    return silent.join(unsure, on=MONTH, how="semi").group_by(MONTH).agg(n=pl.len().cast(pl.Int64)).sort(MONTH)


def months_of_people(sent: Iterable[tuple[str, int, int]]) -> pl.DataFrame:
    """The months that count as submitted where no header says so, as rows of the table `submission`.

    Args:
        sent: provider, month, and rows of MHS001 in it, any number of times.

    A month has a tenth of the provider's median number of rows at least, and of that of all providers: one mistyped
    number must neither fill a gap nor move the end of the data.
    """
    schema = {"provider_id": pl.String, "month_id": pl.Int64, "n": pl.Int64}
    months = pl.DataFrame(list(sent), schema=schema, orient="row").group_by(MONTH).agg(pl.col("n").sum())
    whole = months.group_by("month_id").agg(total=pl.col("n").sum())
    enough = whole.filter(pl.col("total") >= _FEWEST * pl.col("total").median()).select("month_id")
    own = pl.col("n") >= _FEWEST * pl.col("n").median().over("provider_id")
    year, month = 1900 + (pl.col("month_id") + 2) // 12, (pl.col("month_id") + 2) % 12 + 1
    first = pl.date(year, month, 1)
    counted = months.filter(own).join(enough, on="month_id", how="semi").sort(MONTH)
    dated = counted.with_columns(period_start_date=first, period_end_date=first.dt.month_end())
    table = TABLES["submission"]
    absent = [pl.lit(None, kind).alias(name) for name, kind in table.schema.items() if name not in dated.columns]
    return dated.with_columns(absent).select(*table.schema)


def believed_months(sent: Iterable[int], recorded: Collection[int]) -> tuple[int, int]:
    """First and last of the months `sent` (by the headers, any of them) that one mistyped header cannot have made: from
    the first to the last of which anybody has a record, and on from there as long as each follows the one before.

    `recorded`: the months of which anybody has a record. Where none of them was sent, the headers are all there is.
    """
    months = set(sent)
    known = months & set(recorded) or months
    first, last = min(known), max(known)
    while first - 1 in months:
        first -= 1
    while last + 1 in months:
        last += 1
    return first, last


def months_ahead() -> pl.Expr:
    """Of a submission: how many months the beginning of its period lies after the month that it numbers."""
    begins = pl.col("period_start_date").dt
    return month_id(begins.year().cast(pl.Int64), begins.month().cast(pl.Int64)) - pl.col("month_id")


def believe_dates(headers: pl.DataFrame) -> pl.DataFrame:
    """Headers; where the dates of one are of another month than its number, those of the number (a file in which most
    are otherwise is refused: legibility.py)."""
    since = pl.col("month_id") + 2  # months from January 1900
    first = pl.date(1900 + since // 12, since % 12 + 1, 1)
    is_odd = months_ahead() != 0
    return headers.with_columns(
        period_start_date=pl.when(is_odd).then(first).otherwise("period_start_date"),
        period_end_date=pl.when(is_odd).then(first.dt.month_end()).otherwise("period_end_date"),
    )


def _superseded(seen: pl.DataFrame, headers: pl.DataFrame, flags: pl.DataFrame) -> pl.DataFrame:
    key = SUPERSEDED.names()
    said = pl.concat([headers.select(*key, "is_latest_code"), flags.select(*key, "is_latest_code")])
    answers = said.group_by(key).agg(
        is_no=(pl.col("is_latest_code") == "N").any(), is_yes=(pl.col("is_latest_code") == "Y").any()
    )
    types = headers.group_by(key).agg(file_type=pl.col("file_type_code").cast(pl.Int64, strict=False).max())
    known = (
        seen.join(answers, on=key, how="left")
        .join(types, on=key, how="left")
        .with_columns(pl.col("is_no", "is_yes").fill_null(False))
    )
    # File types are compared only where each of the month's submissions has one.
    comparable = pl.when(pl.col("file_type").is_not_null().all().over(MONTH)).then("file_type")
    order: list[str | pl.Expr] = [pl.col("is_no").not_(), "is_yes", "file_type"]
    ordered = sort_by_id(known.with_columns(comparable), order, ["submission_id"])
    is_latest = pl.col("submission_id") == pl.col("submission_id").last().over(MONTH)
    return ordered.filter(pl.col("is_no") | ~is_latest).select(key).sort(key)


def count_emptied(seen: pl.DataFrame, superseded: pl.DataFrame) -> int:
    """Months of a provider of whose submissions none counts: the sender says so of all that are in the extract. Both as
    of find_superseded."""
    counting = seen.join(superseded, on=SUPERSEDED.names(), how="anti")
    return seen.select(MONTH).unique().join(counting.select(MONTH).unique(), on=MONTH, how="anti").height


def is_superseded(rows: pl.DataFrame, superseded: pl.DataFrame) -> pl.Series:
    """Whether each row came with a submission that no longer counts, or says so itself (`_use_flag` N)."""
    found = pl.repeat(False, rows.height, eager=True)
    saying = [name for name in ("_submission_id", "_file_type") if name in rows.columns]
    if superseded.height and saying and set(MONTH) <= set(rows.columns):
        known = superseded.with_columns(_old=pl.lit(True))
        own = rows.select(*MONTH, submission_id=pl.coalesce(saying))
        found |= own.join(known, on=known.columns[:-1], how="left", maintain_order="left")["_old"].fill_null(False)
    if "_use_flag" in rows.columns:
        found |= (rows["_use_flag"].str.to_uppercase() == "N").fill_null(False)
    return found


def mark_latest(submission: pl.DataFrame, flags: pl.DataFrame, superseded: pl.DataFrame) -> pl.DataFrame:
    """Headers with what is known of each: is_latest_code Y or N as the sender says, N where a later one replaced it."""
    key = SUPERSEDED.names()
    said = flags.group_by(key).agg(_said=pl.col("is_latest_code").min())
    old = superseded.with_columns(_old=pl.lit("N"))
    named = old.rename({"submission_id": "_named"})
    joined = (
        submission.with_columns(_named=named_submission())
        .join(said, on=key, how="left", maintain_order="left")
        .join(named, on=[*MONTH, "_named"], how="left", maintain_order="left")
    )
    return joined.with_columns(is_latest_code=pl.coalesce("_old", "is_latest_code", "_said")).drop(
        "_said", "_old", "_named"
    )
