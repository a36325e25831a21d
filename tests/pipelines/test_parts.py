"""What goes between the two passes of a load comes back as it was, whatever its texts are like."""

from pathlib import Path

import polars as pl

from pipelines.lake import bucket_of
from pipelines.lake.scatter import ROWS, Part, Parts, read_parts

N_BUCKETS = 4
PEOPLE = [f"P{number:04d}" for number in range(500)]


def rows(texts: list[str | None], first_line: int) -> pl.DataFrame:
    n = len(texts)
    return pl.DataFrame(
        {
            "person_id": [PEOPLE[number % len(PEOPLE)] for number in range(n)],
            "contact_id": texts,
            "_raw": pl.Series(range(n), dtype=pl.UInt64),
            "_line": pl.Series(range(first_line, first_line + n), dtype=pl.Int64),
        },
        schema_overrides={"contact_id": pl.String},
    )


def written(folder: Path, frames: list[pl.DataFrame], *, is_packed: bool = False) -> tuple[Part, ...]:
    parts = Parts(folder / ROWS, is_packed=is_packed)
    for frame in frames:
        parts.add(frame, N_BUCKETS)
    return parts.close()


def expected(frames: list[pl.DataFrame], bucket: int) -> pl.DataFrame:
    together = pl.concat(frames)
    return together.filter(bucket_of(together["person_id"], N_BUCKETS) == bucket)


def test_short_long_and_missing_texts_come_back_in_order(tmp_path: Path) -> None:
    short = rows([f"C{number}" if number % 3 else None for number in range(2_000)], 2)
    long = rows([f"{'x' * 40}{number}" for number in range(2_000)], 2_002)
    nothing = rows([None] * 2_000, 4_002)
    for is_packed in (False, True):
        folder = tmp_path / str(is_packed)
        folder.mkdir()
        parts = written(folder, [short, long, nothing, short], is_packed=is_packed)
        for bucket in range(N_BUCKETS):
            found = pl.concat(read_parts([part for part in parts if part.bucket == bucket]))
            assert found.drop("_file").equals(expected([short, long, nothing, short], bucket))


def test_long_texts_are_not_written_once_for_every_bucket(tmp_path: Path) -> None:
    long = rows(["x" * 1_000] * 2_000, 2)
    written(tmp_path, [long])
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 1.1 * long.estimated_size()


def test_some_columns_can_be_read_alone(tmp_path: Path) -> None:
    frames = [rows(["short"] * 100, 2), rows(["long" * 10] * 100, 102)]
    parts = written(tmp_path, frames)
    (bucket,) = {bucket_of(pl.Series([PEOPLE[0]]), N_BUCKETS).item()}
    found = pl.concat(read_parts([part for part in parts if part.bucket == bucket], ["person_id"]))
    assert found["person_id"].to_list() == expected(frames, bucket)["person_id"].to_list()
