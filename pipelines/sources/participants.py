"""The trial's allocation list (CSV, packed or not, Excel or Parquet) -> typed participants, and the rows that cannot be
used.

Allocation, never MHSDS coding, defines the exposure (DOMAIN 0b.1), so a row whose arm, person, date or consent is in
doubt is set aside rather than guessed: all rows of a person, where what they say of arm, consent or allocation differs
or is unreadable in one of them ("withdrawn" beside "Y" is no consent).
"""

from pathlib import Path
from typing import Any

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources import packed, workbook
from pipelines.sources.aliases import SourceTable, load_aliases
from pipelines.sources.bridge import cross_bridge, follow_bridge
from pipelines.sources.csv_files import Batch, Header, Piece, look_through, read_batches, read_header
from pipelines.sources.legibility import add_legibility, unreadable_problems
from pipelines.sources.normalise import QUARANTINE, month_first_problems, normalise, parse_dates, stands_for_nothing
from pipelines.sources.packed import File
from pipelines.sources.parquet_files import UNREADABLE, as_text, expect_types, read_schema
from pipelines.sources.pseudonyms import conceal
from pipelines.tables import PARTICIPANT

LISTED = pl.Schema([*PARTICIPANT.schema.items(), ("line", pl.Int64()), ("unreadable", pl.String())])
SET_ASIDE = pl.Schema([*QUARANTINE.items(), ("person_id", pl.String())])
UNLINKED = pl.Schema(
    {
        "line": pl.Int64(),
        "person_id": pl.String(),
        "arm": pl.String(),
        "site": pl.String(),
        "allocation_date": pl.Date(),
        "reason": pl.String(),
    }
)
DOUBTS = {"arm_in_doubt": "arm_code", "consent_in_doubt": "consent_code", "allocation_in_doubt": "allocation_date"}
"""Reasons why nobody's rows are used that do not agree on a column."""
_DOUBT_OF_REASON = {f"bad_code:{column}": doubt for doubt, column in DOUBTS.items()}
_DOUBT_OF_REASON |= {"bad_date:allocation_date": "allocation_in_doubt", "in_both_arms": "arm_in_doubt"}
_DOUBT_OF_REASON |= {doubt: doubt for doubt in DOUBTS}
_PARQUET = ".parquet"


def read_participants(path: Path, key: bytes | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Participants in the order of the file, and the quarantine.

    Args:
        path: the list; in a zip archive it is the only file.
        key: of the pseudonyms that stand for person ids in the lake (sources.pseudonyms); None: ids are as they are.

    Returns:
        Rows as tables.PARTICIPANT, one for each person (arm_code PEER or CONTROL, consent_code Y or N), with their line
        and the names of optional columns that hold something unreadable; and the rows set aside: line (the header is
        line 1; of a workbook, the row of its sheet), reason, raw (private), and the person where one is named: somebody
        who took part in the trial, whatever else is wrong.

    Raises:
        SourceError: no such file, none of these kinds, columns missing (all of them named), or dates that have the
            month first.
    """
    layout = _layout()
    header, batch = _read(path, layout)
    if key is not None:
        batch = conceal(batch, header, layout, key)
    raw = batch.rows
    result = normalise(raw, header, layout)
    problems = month_first_problems(path.name, result.date_orders) or unreadable_problems(
        path.name, add_legibility(result.legibility), layout.date_formats, {}
    )
    if problems:
        raise SourceError(problems)
    doubts = _written_doubts(raw, header, layout)
    rows, again = _one_row_each(_add_unreadable(result.rows.sort("_line"), raw, header, layout), doubts)
    raw_text = raw.select(line="_line", raw=pl.struct(pl.exclude("_line")).struct.json_encode())
    malformed = [(line, "malformed_line", text) for line, text in batch.malformed]
    aside = [
        pl.DataFrame(malformed, schema=QUARANTINE, orient="row"),
        result.quarantined,
        result.unresolved.select(line="_line", reason=pl.lit("missing:person_id"), raw="raw"),
        again.select(line="_line", reason="reason").join(raw_text, on="line", how="left", maintain_order="left"),
    ]
    listed = rows.rename({"_line": "line"}).select(LISTED.names())
    named = raw.select(line="_line", person_id=_sent(raw, "person_id", header, layout))
    return listed, pl.concat(aside).join(named, on="line", how="left", maintain_order="left").sort("line")


def check_participants(path: Path) -> list[str]:
    """What is wrong with a list's kind and columns."""
    try:
        _read(path, _layout(), header_only=True)
    except SourceError as error:
        return error.problems
    return []


def list_unlinked(listed: pl.DataFrame, quarantined: pl.DataFrame, excluded: pl.DataFrame) -> pl.DataFrame:
    """Every row of the list that has no index stay, with its reason (UNLINKED), in order of lines.

    Args:
        listed, quarantined: the list, as bridge_participants gives it.
        excluded: person_id and reason of the participants who could not be linked.

    Of rows that cannot be used at all, what else they say is in the quarantine.
    """
    without = listed.join(excluded.select("person_id", "reason"), on="person_id", how="inner").select(
        "line",
        "person_id",
        "allocation_date",
        "reason",
        arm=pl.col("arm_code").str.to_lowercase(),
        site="site_code",
    )
    unusable = quarantined.select("line", "person_id", "reason")
    return pl.concat([UNLINKED.to_frame(), without.select(UNLINKED.names()), unusable], how="diagonal").sort(
        "line", "reason"
    )


def account_of_list(listed: pl.DataFrame, quarantined: pl.DataFrame, unlinked: pl.DataFrame) -> dict[str, Any]:
    """Counts: rows of the list, those with an index stay, those without by reason, unreadable cells by column; and the
    sessions that the supported had, as far as they are recorded (described only, never the exposure: DOMAIN G2)."""
    sessions = listed.filter(pl.col("arm_code") == "PEER")["n_sessions"].drop_nulls()
    cells = listed["unreadable"].drop_nulls().str.split(" ").explode()
    return {
        "rows": listed.height + quarantined.height,
        "linked": listed.height + quarantined.height - unlinked.height,
        "unlinked": dict(unlinked.group_by("reason").len().sort("reason").rows()),
        "nulled": dict(cells.value_counts().sort("unreadable").rows()),
        "sessions": {"n_people": len(sessions), "mean": sessions.mean()},
    }


def bridge_participants(
    listed: pl.DataFrame, quarantined: pl.DataFrame, steps: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Participants and quarantine with the pseudonyms of the lake; somebody who was listed under two of them is listed
    twice. `steps` is the lake's table person_bridge."""
    bridge = follow_bridge(steps)
    apart = cross_bridge(quarantined, bridge)
    doubts = apart.select("person_id", doubt=pl.col("reason").replace_strict(_DOUBT_OF_REASON, default=None))
    crossed, again = _one_row_each(cross_bridge(listed, bridge), doubts.drop_nulls())
    aside = again.select(
        "line", "person_id", "reason", raw=pl.struct(pl.exclude("line", "reason")).struct.json_encode()
    )
    parts = [apart, aside.select(SET_ASIDE.names())]
    return crossed, pl.concat(parts).sort("line", maintain_order=True)


def _one_row_each(rows: pl.DataFrame, doubts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first row of each person, and the others with their reason; nobody's whose rows disagree on what decides, or
    who is among `doubts` (person_id, doubt: a reason of DOUBTS)."""
    reasons = [pl.when(pl.col("arm_code").n_unique().over("person_id") > 1).then(pl.lit("in_both_arms"))]
    for doubt, column in DOUBTS.items():
        people = doubts.filter(doubt=doubt)["person_id"].drop_nulls().unique()
        differs = pl.col("person_id").is_in(people.implode())
        if column in rows.columns:
            differs |= pl.col(column).n_unique().over("person_id") > 1
        reasons.append(pl.when(differs).then(pl.lit(doubt)))
    reasons.append(pl.when(~pl.col("person_id").is_first_distinct()).then(pl.lit("duplicate_person")))
    judged = rows.with_columns(reason=pl.coalesce(reasons))
    return judged.filter(pl.col("reason").is_null()).drop("reason"), judged.filter(pl.col("reason").is_not_null())


def _written_doubts(raw: pl.DataFrame, header: Header, layout: SourceTable) -> pl.DataFrame:
    """person_id and doubt of those whose rows, usable or not, say different things; an empty cell says nothing."""
    person = _sent(raw, "person_id", header, layout)
    found = [pl.DataFrame(schema={"person_id": pl.String, "doubt": pl.String})]
    for doubt, column in DOUBTS.items():
        said = _sent(raw, column, header, layout)
        days = parse_dates(said, layout.date_formats) if column == "allocation_date" else None
        meaning = (
            said.str.to_uppercase() if days is None else pl.select(pl.coalesce(days.cast(pl.String), said)).to_series()
        )
        values = pl.DataFrame({"person_id": person, "value": meaning}).drop_nulls()
        people = values.filter(pl.col("value").n_unique().over("person_id") > 1).select("person_id").unique()
        found.append(people.with_columns(doubt=pl.lit(doubt)))
    return pl.concat(found)


def _add_unreadable(rows: pl.DataFrame, raw: pl.DataFrame, header: Header, layout: SourceTable) -> pl.DataFrame:
    """`rows` with the rules that emptied a cell of theirs ("bad_int:n_sessions"), one space between them."""
    sent = rows.select("_line").join(raw, on="_line", how="left", maintain_order="left")
    rules = []
    for column in layout.columns:
        name, kind = column.column.name, column.column.kind
        if not column.column.required and column.headers(header):
            lost = _sent(sent, name, header, layout).is_not_null() & rows[name].is_null()
            rules.append(pl.select(pl.when(lost).then(pl.lit(f"bad_{kind}:{name}")).alias(name)).to_series())
    texts = pl.DataFrame(rules).select(t=pl.concat_str(pl.all(), separator=" ", ignore_nulls=True)) if rules else None
    unreadable = pl.lit(None, pl.String) if texts is None else texts["t"].replace("", None)
    return rows.with_columns(unreadable=unreadable)


def _sent(raw: pl.DataFrame, name: str, header: Header, layout: SourceTable) -> pl.Series:
    """What the file says in a canonical column: trimmed, null where a placeholder stands."""
    (found,) = (column.headers(header) for column in layout.columns if column.column.name == name)
    text = raw[found[0]].str.strip_chars()
    return text.set(stands_for_nothing(text, layout).fill_null(False), None).alias(name)


def _layout() -> SourceTable:
    (layout,) = load_aliases("participants", {"participant": PARTICIPANT})
    return layout


def _read(path: Path, layout: SourceTable, header_only: bool = False) -> tuple[Header, Batch]:
    """The list as text, or only its header."""
    ending = path.suffix.casefold()
    if ending in workbook.ENDINGS:
        header, rows = workbook.read_workbook(path, layout)
        return header, Batch(rows, (), {})
    if ending == _PARQUET:
        header, rows = _read_parquet(path, layout)
        _expect_columns(path, header, layout)
        return header, Batch(rows, (), {})
    file = _only_member(path) if ending == packed.ZIP else path
    header = read_header(file)
    _expect_columns(path, header, layout)
    empty = pl.DataFrame(schema=dict.fromkeys(header.columns, pl.String) | {"_line": pl.Int64})
    # In one piece, since lines are counted within a piece.
    batches = [] if header_only else list(read_batches(file, header, Piece(look_through(file).encoding)))
    malformed = tuple(line for batch in batches for line in batch.malformed)
    return header, Batch(pl.concat([empty, *(batch.rows for batch in batches)]), malformed, {})


def _only_member(archive: Path) -> File:
    if not archive.is_file():
        raise SourceError(f"{archive.name}: there is no such file")
    members, problems = packed.members_of(archive)
    members = [member for member in members if not member.is_of_macos]
    if not problems and len(members) != 1:
        problems = [f"{archive.name}: holds {len(members)} files; allowed: one, the list as text"]
    if problems:
        raise SourceError(problems)
    return members[0]


def _expect_columns(path: Path, header: Header, layout: SourceTable) -> None:
    problems = [
        f"{path.name}: column {column.column.name} is missing; accepted names: {', '.join(column.names[0])}"
        for column in layout.missing(header)
    ]
    if problems:
        raise SourceError(problems)


def _read_parquet(path: Path, layout: SourceTable) -> tuple[Header, pl.DataFrame]:
    schema, header = read_schema(path, path.name)
    expect_types(schema, layout, header, path.name)
    needed = list(dict.fromkeys(name for column in layout.columns for name in column.headers(header)))
    try:
        table = pl.read_parquet(path, columns=[header.names[header.folded.index(name)] for name in needed], glob=False)
    except UNREADABLE as error:
        raise SourceError(f"{path.name}: cannot be read as Parquet ({type(error).__name__})") from None
    rows = [as_text(cells, path.name).alias(name) for name, cells in zip(needed, table, strict=True)]
    line = pl.int_range(2, table.height + 2, dtype=pl.Int64, eager=True).alias("_line")
    return header, pl.DataFrame([*rows, line])
