"""A title as it is known now, with and without corrections."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from tests.helpers.corrections import RIGHT, TITLE_ID, Seen, write_title
from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk
from vcn_ray.run.current import current_key, read_current
from vcn_ray.run.reviewed import read_reviewed
from vcn_ray.run.stored import read_title

SEEN = (
    Seen("t1", "p001", 0.0, 9.0),
    Seen("t2", "p002", 0.0, 4.0, RIGHT, face=1),
    Seen("t3", None, 20.0, 24.0, face=2),
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path))
    write_title(storage, SEEN)
    return storage


def test_without_corrections_it_is_what_replaying_none_gives(storage: Storage) -> None:
    found = read_current(TITLE_ID, storage).tables
    replayed = read_reviewed(read_title(TITLE_ID, storage), storage).tables
    known = [name for name in found.people.column_names if not name.startswith("cover")]
    assert found.people.select(known).equals(replayed.people.select(known))
    assert found.tracks.equals(replayed.tracks)
    assert found.appearances.equals(replayed.appearances)
    assert found.conflicts.equals(replayed.conflicts)


def test_the_pictures_of_faces_are_not_read_without_corrections(storage: Storage) -> None:
    for path in Path(storage.uri).glob("videos/*/track-*/crops.parquet"):
        path.unlink()
    assert read_current(TITLE_ID, storage).tables.people.num_rows == 2


@pytest.mark.parametrize("committed", [True, False])
def test_corrections_count_whether_their_tables_are_written_or_not(
    storage: Storage, committed: bool
) -> None:
    before = read_current(TITLE_ID, storage)
    desk = Desk(storage, who="me")
    desk.name("p002", "Ann")
    if committed:
        desk.commit()
    after = read_current(TITLE_ID, storage)
    names = after.tables.appearances.filter(pc.equal(after.tables.appearances["person_id"], "p002"))
    assert names["name"].to_pylist() == ["Ann"]
    assert current_key(after.latest, after.edits) != current_key(before.latest, before.edits)


def test_a_title_without_result_is_named(storage: Storage) -> None:
    with pytest.raises(DamagedError, match=r"latest\.json"):
        read_current("nothing-0", storage)
