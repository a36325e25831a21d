"""Text rows of a raw file -> typed canonical rows, and the rows that cannot be used, each with its reason.

Values are trimmed; nothing, '<...>' placeholders and what programs write for no value (MISSING_TEXTS) are null, the
last counted; codes are upper case; a date is read in whichever
accepted format its shape says, so a file that mixes formats is read value by value; of a timestamp the date is kept.
'01/02/2019' has the day first, always: whether a column shows the month to be first is counted (DateOrder) and judged
when the whole file was seen, and such a file is refused. So is one most of whose cells cannot be read (legibility.py).
Where several columns of a file feed one, as in a table put together from several releases, the first that holds a value
in the row wins, and others that say something else are counted.
What cannot be read empties an optional cell (counted) and sets a row aside where the column is required. 1900
placeholders stay: what they mean depends on the column, and is decided where stays are built (DOMAIN K6).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from pipelines.sources.aliases import SourceColumn, SourceTable
from pipelines.sources.csv_files import Header, Letters
from pipelines.sources.legibility import Legibility
from pipelines.sources.submissions import months_ahead
from pipelines.tables import month_id

NOTHING_KNOWN: Mapping[str, Letters] = MappingProxyType({})
MISSING_TEXTS = ("NULL", "null", "Null", "\\N", "NA", "NaN", "nan", "NaT", ".")
"""What SQL Server, PostgreSQL and MySQL, R, pandas and SAS write where they have no value. None is a code of any list
that is read, and as an id one of them would make a person of all rows that name nobody."""
_ISO, _DAY_FIRST, _MONTH_FIRST = "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y"
_DATE_CHARACTERS = 10
_LIMITS = {"month_id": (1, month_id(2199, 12))}  # months are counted through, so a mistyped one must not be far away
_LONGEST_PERIOD = 31  # days that a submission reports on: a calendar month
_FARTHEST_MONTH = 12  # months between the period of a submission and its number: farther, and neither is believed
_FIRST_YEAR = 1000  # a year of fewer than four digits is a typing error, not a date
_ALLOWED_DATES = "allowed: yyyy-mm-dd or dd/mm/yyyy"
_POINT_NOUGHT = r"^([+-]?\d+)\.0+$"  # what a number becomes in a table with empty cells
QUARANTINE = pl.Schema({"line": pl.Int64(), "reason": pl.String(), "raw": pl.String()})


class DateOrder(NamedTuple):
    """Of the dates with slashes under a raw header: how many make sense with the day first only, with the month first
    only, and both ways but not as the same day; and the first line with one that has the month first (0: none)."""

    header: str
    day_first: int
    month_first: int
    ambiguous: int
    line: int


@dataclass(frozen=True)
class Normalised:
    """`rows`: canonical and carried columns, `_line`, `_raw` (hash of the whole raw row); `unresolved`: the same and
    `raw` for rows without a person; `quarantined`: line, reason, raw; `nulled`: cells emptied, counted by rule;
    `date_orders`: of the headers that hold dates with slashes; `legibility`: of those that the file cannot do without;
    `differing`: rows where two headers of one column say two things, by the names of both."""

    rows: pl.DataFrame
    unresolved: pl.DataFrame
    quarantined: pl.DataFrame
    nulled: dict[str, int]
    date_orders: tuple[DateOrder, ...] = ()
    legibility: tuple[Legibility, ...] = ()
    differing: Counter[str] = field(default_factory=Counter)


class _Read(NamedTuple):
    """A canonical column, cells that held something unreadable though the row goes on (by rule), how well each header
    could be read, and rows where two headers say two things (by their names)."""

    values: pl.Series
    emptied: Counter[str]
    legibility: tuple[Legibility, ...]
    differing: Counter[str]


def normalise(
    raw: pl.DataFrame, header: Header, layout: SourceTable, printable: Mapping[str, Letters] = NOTHING_KNOWN
) -> Normalised:
    """One batch of a raw file (csv_files.Batch, with its `printable`) in the canonical form of its layout."""
    sent, said_missing = _tidy(raw, header, layout, printable)
    texts, refused = _refuse(sent, header, layout)
    present = [column for column in layout.columns if column.headers(header)]
    typed = {column.column.name: _column(texts, raw["_line"], header, layout, column, printable) for column in present}
    rows = pl.DataFrame([raw["_line"], hash_rows(raw), *(read.values.alias(name) for name, read in typed.items())])
    rows = _complete(rows, layout).with_columns(_reason=_first_fault(rows, sent, header, layout))
    no_person = pl.col("person_id").is_null() if "person_id" in rows.columns else pl.lit(False)
    apart = rows.filter(pl.col("_reason").is_not_null() | no_person)
    if apart.height:
        rows = rows.filter(pl.col("_reason").is_null() & ~no_person)
        apart = apart.join(_as_json(raw, apart["_line"]), on="_line", how="left", maintain_order="left")
    else:
        apart = apart.with_columns(raw=pl.lit(None, pl.String))
    return Normalised(
        rows=rows.drop("_reason"),
        unresolved=apart.filter(pl.col("_reason").is_null()).drop("_reason"),
        quarantined=apart.filter(pl.col("_reason").is_not_null()).select(line="_line", reason="_reason", raw="raw"),
        nulled=said_missing + refused + sum((read.emptied for read in typed.values()), Counter()),
        date_orders=_date_orders(texts, raw["_line"], header, layout),
        legibility=(
            *(one for read in typed.values() for one in read.legibility),
            *_month_numbers(rows, header, layout),
        ),
        differing=sum((read.differing for read in typed.values()), Counter()),
    )


def hash_rows(raw: pl.DataFrame) -> pl.Series:
    """A number for each raw row, equal where all raw cells are equal, whatever the order of the columns."""
    cells = sorted(name for name in raw.columns if name != "_line")
    return raw.select(cells).hash_rows(seed=0).alias("_raw")


def stands_for_nothing(text: pl.Series, layout: SourceTable) -> pl.Series:
    """Whether a trimmed value is a placeholder: nothing, '<...>', one of MISSING_TEXTS, or one of the layout's codes
    for missing."""
    empty = (text == "") | (text.str.starts_with("<") & text.str.ends_with(">"))
    return empty | text.is_in([*MISSING_TEXTS, *layout.missing_codes])


def add_date_orders(parts: Sequence[DateOrder]) -> tuple[DateOrder, ...]:
    """One for each header; of the lines the first."""
    found: dict[str, DateOrder] = {}
    for part in parts:
        known = found.get(part.header, DateOrder(part.header, 0, 0, 0, 0))
        found[part.header] = DateOrder(
            part.header,
            known.day_first + part.day_first,
            known.month_first + part.month_first,
            known.ambiguous + part.ambiguous,
            min([line for line in (known.line, part.line) if line], default=0),
        )
    return tuple(found.values())


def month_first_problems(file: str, orders: Sequence[DateOrder]) -> list[str]:
    """The columns of a whole file that seem to have the month first while other dates, of theirs or of any column of
    the file, can be read both ways: none may be guessed. Where more dates have the day first, or none can be read both
    ways, a date with the month first is unreadable like any other."""
    doubtful = [order.header for order in orders if order.ambiguous]
    of_file = sum(order.month_first for order in orders) >= sum(order.day_first for order in orders)
    problems = []
    for order in orders:
        if not order.month_first or order.month_first < order.day_first or not (order.ambiguous or of_file):
            continue
        start = f"{file}: column {order.header}: dates as in line {order.line} make sense only with the month first "
        if order.ambiguous:
            problems.append(f"{start}(mm/dd/yyyy), and no more of them only with the day first; {_ALLOWED_DATES}")
        elif doubtful:
            problems.append(
                f"{start}(mm/dd/yyyy), and no more dates of the file only with the day first, while those of "
                f"{', '.join(doubtful)} can be read both ways; {_ALLOWED_DATES}"
            )
    return problems


def parse_dates(texts: pl.Series, formats: Sequence[str]) -> pl.Series:
    """Dates of trimmed texts (null where none of `formats` fits); of a timestamp the date."""
    if _ISO in formats and (dates := _parse_iso(texts)) is not None:
        return dates
    heads = texts.str.slice(0, _DATE_CHARACTERS)
    dates = pl.Series(texts.name, [None], pl.Date).new_from_index(0, len(texts))
    for form in formats:
        if dates.null_count() == texts.null_count():
            break
        parsed = heads.str.to_date(form, strict=False)
        dates = pl.select(
            pl.when(parsed.dt.year() >= _FIRST_YEAR).then(pl.coalesce(dates, parsed)).otherwise(dates)
        ).to_series()
    long = texts.str.len_bytes() > _DATE_CHARACTERS
    if long.any():
        is_time = texts.str.slice(_DATE_CHARACTERS, 1).is_in([" ", "T"])
        dates = dates.to_frame("d").select(pl.when(~long | is_time).then("d")).to_series()
    return dates


def _parse_iso(texts: pl.Series) -> pl.Series | None:
    """The dates if every text is one as ISO writes it; the usual case, in a quarter of the time."""
    try:
        parsed = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.date32())
    except pa.ArrowInvalid:
        return None
    dates = pl.Series(texts.name, parsed, pl.Date)
    earliest = dates.min()
    return dates if earliest is None or (isinstance(earliest, date) and earliest.year >= _FIRST_YEAR) else None


def _tidy(
    raw: pl.DataFrame, header: Header, layout: SourceTable, printable: Mapping[str, Letters]
) -> tuple[dict[str, pl.Series], Counter[str]]:
    """The raw columns that are needed, trimmed, null where a placeholder stands; and how many cells said in words that
    they hold nothing."""
    needed = {name for column in layout.columns for name in column.headers(header)}
    written = dict(zip(header.folded, header.names, strict=True))
    texts, said_missing = {}, Counter[str]()
    for name in sorted(needed):
        if name in printable and not any(map(printable[name].may_hold, (*MISSING_TEXTS, *layout.missing_codes))):
            texts[name] = raw[name]
            continue
        text = raw[name] if name in printable else raw[name].str.strip_chars()
        empty = stands_for_nothing(text, layout)
        if not empty.any():
            texts[name] = text
            continue
        said_missing[f"written_as_missing:{written[name]}"] = int(text.is_in(MISSING_TEXTS).sum())
        texts[name] = text.set(empty.fill_null(False), None)
    return texts, +said_missing


def _refuse(
    sent: dict[str, pl.Series], header: Header, layout: SourceTable
) -> tuple[dict[str, pl.Series], Counter[str]]:
    """Codes outside the accepted ones become null; and how many they were."""
    texts, refused = dict(sent), Counter[str]()
    written = dict(zip(header.folded, header.names, strict=True))
    for name in sorted(layout.accepted.keys() & texts.keys()):
        bad = ~texts[name].str.to_uppercase().is_in(layout.accepted[name])
        refused[f"bad_code:{written[name]}"] += int(bad.sum())
        texts[name] = texts[name].set(bad.fill_null(False), None)
    return texts, +refused


def _column(
    texts: Mapping[str, pl.Series],
    lines: pl.Series,
    header: Header,
    layout: SourceTable,
    column: SourceColumn,
    printable: Mapping[str, Letters],
) -> _Read:
    """One canonical column."""
    kind, name = column.column.kind, column.column.name
    sources = [texts[header_name] for header_name in column.headers(header)]
    if column.joined:
        codes = pl.concat_str([pl.lit(text) for text in sources], separator=" ", ignore_nulls=True).str.to_uppercase()
        return _Read(pl.select(pl.when(codes != "").then(codes).alias(name)).to_series(), Counter(), (), Counter())
    no_lower_case = {name for name, letters in printable.items() if letters.highest < ord("a")}
    parsed = [_parse(text, kind, layout, no_lower_case) for text in sources]
    parsed = [_within(series, *_LIMITS[name]) for series in parsed] if name in _LIMITS else parsed
    legibility = _legibility(sources, parsed, lines, header, column)
    parsed = [_without_dates(series, layout) for series in parsed] if kind == "date" else parsed
    parsed = [
        _recode(series, column.recoding(text.name), printable.get(text.name))
        for text, series in zip(sources, parsed, strict=True)
    ]
    value = parsed[0] if len(parsed) == 1 else pl.select(pl.coalesce(parsed)).to_series()
    emptied = Counter[str]()
    for text, series in zip(sources, parsed, strict=True):
        if series.null_count() > text.null_count():
            lost = text.is_not_null() & series.is_null()
            emptied[f"bad_{kind}:{name}"] += int((lost & value.is_not_null() if column.column.required else lost).sum())
    differing = _differing(dict(zip(column.headers(header), parsed, strict=True)), header, column)
    return _Read(value, +emptied, legibility, differing)


def _parse(text: pl.Series, kind: str, layout: SourceTable, no_lower_case: Set[str]) -> pl.Series:
    if kind == "date":
        return parse_dates(text, layout.date_formats)
    if kind == "int":
        number = text.cast(pl.Int64, strict=False)
        if number.null_count() == text.null_count():
            return number
        return pl.select(pl.coalesce(number, text.str.extract(_POINT_NOUGHT).cast(pl.Int64, strict=False))).to_series()
    if kind == "float":
        number = text.cast(pl.Float64, strict=False)
        return number.set((~number.is_finite()).fill_null(False), None)
    return text.str.to_uppercase() if kind == "code" and text.name not in no_lower_case else text


def _without_dates(dates: pl.Series, layout: SourceTable) -> pl.Series:
    """Dates without those that the layout has for "no date"."""
    missing = [date.fromisoformat(day) for day in layout.missing_dates]
    return dates.set(dates.is_in(missing).fill_null(False), None) if missing else dates


def _recode(values: pl.Series, recoded: Mapping[str, str], letters: Letters | None) -> pl.Series:
    """Codes brought to one way of writing them; looking whether there are any to bring is much faster, and the letters
    of a file without small ones mostly tell it at once."""
    if not recoded:
        return values
    if letters is not None and letters.highest < ord("a") and not any(map(letters.may_hold, recoded)):
        return values
    return values.replace(recoded) if values.is_in(list(recoded)).any() else values


def _legibility(
    sources: Iterable[pl.Series], parsed: Iterable[pl.Series], lines: pl.Series, header: Header, column: SourceColumn
) -> tuple[Legibility, ...]:
    """How well the dates and whole numbers of a column could be read that the file cannot do without."""
    if column.column.kind not in {"date", "int"} or (column.may_be_absent and not column.column.required):
        return ()
    written = dict(zip(header.folded, header.names, strict=True))
    found = []
    for text, series in zip(sources, parsed, strict=True):
        n_bad, line = series.null_count() - text.null_count(), 0
        if n_bad:
            first = lines.filter(text.is_not_null() & series.is_null()).min()
            assert isinstance(first, int)
            line = first
        found.append(Legibility(written[text.name], column.column.kind, text.len() - text.null_count(), n_bad, line))
    return tuple(found)


def _differing(parsed: Mapping[str, pl.Series], header: Header, column: SourceColumn) -> Counter[str]:
    """Rows where two headers that are two names of one thing both hold something, and not the same."""
    written = dict(zip(header.folded, header.names, strict=True))
    found = Counter[str]()
    for same in column.found(header):
        for one, other in combinations(same, 2):
            found[f"{written[one]} and {written[other]}"] += int((parsed[one] != parsed[other]).sum())
    return +found


def _date_orders(
    texts: Mapping[str, pl.Series], lines: pl.Series, header: Header, layout: SourceTable
) -> tuple[DateOrder, ...]:
    """What the dates with slashes say about the order of day and month."""
    if _DAY_FIRST not in layout.date_formats:
        return ()
    written = dict(zip(header.folded, header.names, strict=True))
    dated = {name for column in layout.columns if column.column.kind == "date" for name in column.headers(header)}
    orders = []
    for name in sorted(dated):
        has_slash = texts[name].str.contains("/", literal=True).fill_null(False)
        if not has_slash.any():
            continue
        values, n = texts[name].filter(has_slash).value_counts().get_columns()
        day_first, month_first = parse_dates(values, [_DAY_FIRST]), parse_dates(values, [_MONTH_FIRST])
        only_day = day_first.is_not_null() & month_first.is_null()
        only_month = day_first.is_null() & month_first.is_not_null()
        both = (day_first != month_first).fill_null(False)
        line = lines.filter(texts[name].is_in(values.filter(only_month).implode())).min() if only_month.any() else 0
        assert isinstance(line, int)
        n_only_day, n_only_month, n_both = (int(n.filter(mask).sum()) for mask in (only_day, only_month, both))
        orders.append(DateOrder(written[name], n_only_day, n_only_month, n_both, line))
    return tuple(orders)


def _within(numbers: pl.Series, lowest: int, highest: int) -> pl.Series:
    return numbers.set(~numbers.is_between(lowest, highest).fill_null(True), None)


def _complete(rows: pl.DataFrame, layout: SourceTable) -> pl.DataFrame:
    """Canonical order; constants set; columns no header feeds are null."""
    target = layout.target
    absent = [pl.lit(None, target.schema[name]).alias(name) for name in target.schema if name not in rows.columns]
    rows = rows.with_columns(absent).with_columns(**{name: pl.lit(code) for name, code in layout.constants.items()})
    carried = [name for name in rows.columns if name not in target.schema]
    return rows.select(*target.schema, *carried)


def _first_fault(rows: pl.DataFrame, sent: dict[str, pl.Series], header: Header, layout: SourceTable) -> pl.Expr:
    """Reason not to use a row, or null. An anonymous provider comes first: nothing else about its rows matters."""
    reason = pl.lit(None, pl.String)
    for column in reversed(layout.columns):
        name, kind = column.column.name, column.column.kind
        if not column.column.required or name == "person_id" or not rows[name].null_count():
            continue
        written = pl.any_horizontal(pl.lit(sent[source]).is_not_null() for source in column.headers(header))
        fault = pl.when(written).then(pl.lit(f"bad_{kind}:{name}")).otherwise(pl.lit(f"missing:{name}"))
        reason = pl.when(pl.col(name).is_null()).then(fault).otherwise(reason)
    if layout.target.name == "submission":
        length = (pl.col("period_end_date") - pl.col("period_start_date")).dt.total_days() + 1
        is_near = months_ahead().is_between(-_FARTHEST_MONTH, _FARTHEST_MONTH)
        is_month = length.is_between(1, _LONGEST_PERIOD) & is_near
        reason = pl.when(~is_month).then(pl.lit("no_month")).otherwise(reason)
    if layout.anonymous_providers and "provider_id" in rows.columns:
        anonymous = pl.col("provider_id").is_in(layout.anonymous_providers)
        reason = pl.when(anonymous).then(pl.lit("anonymous_provider")).otherwise(reason)
    return reason


def _month_numbers(rows: pl.DataFrame, header: Header, layout: SourceTable) -> list[Legibility]:
    """How many submissions have the number of another month than they report on."""
    if layout.target.name != "submission":
        return []
    (column,) = (column for column in layout.columns if column.column.name == "month_id")
    written = dict(zip(header.folded, header.names, strict=True))
    known = rows.select("_line", ahead=months_ahead()).drop_nulls()
    other = known.filter(pl.col("ahead") != 0)["_line"]
    line = other.min()
    assert line is None or isinstance(line, int)
    names = [written[name] for name in column.headers(header)]
    return [Legibility(names[0], "month", known.height, other.len(), line or 0)] if names else []


def _as_json(raw: pl.DataFrame, lines: pl.Series) -> pl.DataFrame:
    cells = [name for name in raw.columns if name != "_line"]
    apart = raw.filter(pl.col("_line").is_in(lines.implode()))
    return apart.select("_line", raw=pl.struct(cells).struct.json_encode())
