"""The queries of docs/lakes.md run in DuckDB as they stand, on a season of three episodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.exports.test_dataset import write_registry
from tests.helpers.corrections import LEFT, RIGHT, Seen, write_title
from vcn_ray.exports.dataset import write_dataset
from vcn_ray.exports.dataset_rows import TABLES
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lakes.md"
EPISODES = ("e1-000000000001", "e2-000000000002", "e3-000000000003")
ONE, TWO, THREE = EPISODES
SEASON_ID = "season-00000000000a"
SEASON = (
    Seen("t1", "p001", 0.0, 10.0, video=ONE),
    Seen("t2", "p002", 6.0, 10.0, RIGHT, video=ONE, face=1),  # 4 s beside Ann
    Seen("t3", "p001", 100.0, 104.0, video=TWO),
    Seen("t4", "p002", 106.0, 108.0, video=TWO, face=1),  # answers Ann
    Seen("t5", "p003", 200.0, 203.0, LEFT, video=TWO, face=2),  # alone
    Seen("t6", "p001", 5.0, 6.0, video=THREE),
    Seen("t7", "p001", 5.5, 7.0, RIGHT, video=THREE),
    Seen("t8", None, 5.5, 7.0, video=THREE, face=3),
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an output and its dataset, `lake`."""
    place = tmp_path_factory.mktemp("queries")
    storage = Storage.open(str(place / "out"))
    write_title(storage, SEASON, title="Season 1", title_id=SEASON_ID)
    film = [Seen("f1", "p001", 1.0, 3.0, video="film-0000000000ff")]
    write_title(storage, film, title="A film", title_id="film-0000000000fe")
    desk = Desk(storage, title=SEASON_ID, who="me")
    desk.name("p001", "Ann")
    desk.name("p002", "Bea")
    write_registry(storage)
    write_dataset(storage, Storage.open(str(place / "lake")))
    return place


def queries() -> Iterator[str]:
    """The statements of the page, in order."""
    for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        yield from (each.strip() for each in block.split(";") if each.strip())


@pytest.fixture
def answers(lake: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[Any, ...]]]:
    """What each query of the page gives."""
    monkeypatch.chdir(lake)
    found = []
    with duckdb.connect() as database:
        for query in queries():
            result = database.execute(query).fetchall()
            if query.startswith("SELECT"):
                found.append(result)
    return found


def test_every_query_of_the_page_answers_right(answers: list[list[tuple[Any, ...]]]) -> None:
    seconds, shared, first, across = answers
    assert seconds == [
        ("A film", "p001", 1, 2.0),
        ("Season 1", "Ann", 3, 16.0),
        ("Season 1", "Bea", 2, 6.0),
        ("Season 1", "p003", 1, 3.0),
    ]
    assert shared == [("Season 1", "Ann", "Bea", 2, 4.0)]
    assert first == [
        ("A film", "p001", 1, 1.0),
        ("Season 1", "Ann", 1, 0.0),
        ("Season 1", "Bea", 1, 6.0),
        ("Season 1", "p003", 2, 200.0),
    ]
    assert across == [("Ann", "Season 1", 12.0)]


def test_buckets_are_a_partition_in_duckdb(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lake)
    with duckdb.connect() as database:
        for table in TABLES:
            where = f"FROM read_parquet('lake/dataset-*/{table}/*/*.parquet')"
            columns = [row[0] for row in database.execute(f"DESCRIBE {where}").fetchall()]
            assert columns == [*TABLES[table].names, "bucket"], table
        kind = database.execute(f"SELECT DISTINCT typeof(bucket) {where}").fetchall()
    assert kind == [("BIGINT",)]


def test_the_page_lists_the_tables_that_there_are(lake: Path) -> None:
    drawn = re.findall(r"^    (\w+)/", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    there = next((lake / "lake").glob("dataset-*"))
    assert sorted(drawn) == sorted(path.name for path in there.iterdir() if path.is_dir())
