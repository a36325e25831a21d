"""What was submitted for a provider and month, and how often -> the submissions that no longer count.

A month can be sent up to 13 times (DOMAIN B1). Rule (DOMAIN 0b.8, B2, I1): what the sender says counts (Der_IsLatest,
in the header or in MHSDS_SubmissionFlags); where nothing is said, the submission with the highest file type, else the
highest number, of those that any row came with. A row without a submission is never dropped.
"""

import polars as pl

from pipelines.id_order import sort_by_id

SUPERSEDED = pl.Schema({"provider_id": pl.String, "month_id": pl.Int64, "submission_id": pl.String})
NOTHING_SUPERSEDED = SUPERSEDED.to_frame()
MONTH = ["provider_id", "month_id"]


def find_superseded(seen: pl.DataFrame, headers: pl.DataFrame, flags: pl.DataFrame) -> pl.DataFrame:
    """The submissions in `seen` that a later one replaced.

    Args:
        seen: provider_id, month_id, submission_id of the rows of all tables, each once.
        headers: rows of the table `submission`.
        flags: rows of submission_flag (provider_id, month_id, submission_id, is_latest_code).

    Returns:
        provider_id, month_id, submission_id, in order.
    """
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
    order = [pl.col("is_no").not_(), "is_yes", "file_type"]
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
    if superseded.height and {"_submission_id", *MONTH} <= set(rows.columns):
        key = [*MONTH, "_submission_id"]
        known = superseded.rename({"submission_id": "_submission_id"}).with_columns(_old=pl.lit(True))
        found |= rows.select(key).join(known, on=key, how="left", maintain_order="left")["_old"].fill_null(False)
    if "_use_flag" in rows.columns:
        found |= (rows["_use_flag"].str.to_uppercase() == "N").fill_null(False)
    return found


def mark_latest(submission: pl.DataFrame, flags: pl.DataFrame, superseded: pl.DataFrame) -> pl.DataFrame:
    """Headers with what is known of each: is_latest_code Y or N as the sender says, N where a later one replaced it."""
    key = SUPERSEDED.names()
    said = flags.group_by(key).agg(_said=pl.col("is_latest_code").min())
    old = superseded.with_columns(_old=pl.lit("N"))
    joined = submission.join(said, on=key, how="left", maintain_order="left").join(
        old, on=key, how="left", maintain_order="left"
    )
    return joined.with_columns(is_latest_code=pl.coalesce("_old", "is_latest_code", "_said")).drop("_said", "_old")
