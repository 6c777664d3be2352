"""The dataset of a catalog: rows, layout, updates, and what readers see of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tests.helpers.corrections import LEFT, RIGHT, Seen, write_title
from vcn_ray.errors import UsageError
from vcn_ray.exports import dataset as module
from vcn_ray.exports import parts
from vcn_ray.exports.dataset import CATALOG_TABLES, LATEST, write_dataset
from vcn_ray.exports.dataset_rows import TABLES
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.review.desk import Desk
from vcn_ray.run.rewrite import rewrite_folder
from vcn_ray.run.tombstones import ERASURES, OPEN
from vcn_ray.schema import CATALOG_MEMBERS, CATALOG_PEOPLE, CATALOG_SECONDS, SCHEMA_VERSION

if TYPE_CHECKING:
    from tests.helpers.s3_server import S3Server

ONE, TWO = "one-000000000001", "two-000000000002"
SEASON = (
    Seen("t1", "p001", 0.0, 9.0, video=ONE),
    Seen("t2", "p001", 8.0, 12.0, RIGHT, video=ONE),
    Seen("t3", "p002", 2.0, 6.0, video=TWO, face=1),
    Seen("t4", "p001", 20.0, 21.0, LEFT, video=TWO),
    Seen("t5", None, 30.0, 31.0, LEFT, video=TWO, face=2),
)
SEASON_ID = "season-00000000000a"
FILMS = [f"film-{number:012x}" for number in range(6)]


def write_film(storage: Storage, title_id: str, person: str = "p001") -> None:
    video = title_id.replace("film", "video")
    write_title(
        storage, [Seen(f"{video}-t", person, 1.0, 3.0, video=video)], title_id=title_id, title="F"
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path / "out"))
    write_title(storage, SEASON, title="Season", title_id=SEASON_ID)
    for title_id in FILMS:
        write_film(storage, title_id)
    return storage


@pytest.fixture
def target(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "lake"))


def read(target: Storage, table: str) -> pa.Table:
    """All rows of a table, as a reader that follows the pointer sees them."""
    folder = Path(target.uri) / target.read_json(LATEST)["dataset"] / table
    return ds.dataset(folder, partitioning="hive").to_table()


def rows(target: Storage, table: str, title_id: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (
        read(target, table).filter(ds.field("title_id") == title_id).to_pylist()
    )
    return found


def write_registry(storage: Storage, name: str = "Ann") -> None:
    person = {
        "catalog_id": "c1",
        "name": name,
        "titles": 1,
        "episodes": 2,
        "screen_seconds": 13.0,
        "cover_title_id": SEASON_ID,
        "cover_person_id": "p001",
        "face": b"a picture",
    }
    member = person | {
        "title_id": SEASON_ID,
        "title": "Season",
        "person_id": "p001",
        "tracks": 3,
        "confidence": 1.0,
        "link": "alone",
    }
    seen = {"catalog_id": "c1", "title_id": SEASON_ID, "video_id": ONE, "episode": 1}
    writer = FolderWriter(storage, f"registry/registry-{name}")
    writer.write_table("catalog_people.parquet", make_table([person], CATALOG_PEOPLE))
    writer.write_table("catalog_members.parquet", make_table([member], CATALOG_MEMBERS))
    seconds = make_table([seen | {"screen_seconds": 12.0}], CATALOG_SECONDS)
    writer.write_table("catalog_seconds.parquet", seconds)
    writer.commit({})
    pointer = {"registry": f"registry-{name}", "schema_version": SCHEMA_VERSION}
    storage.write_json("registry/latest.json", pointer)


def test_rows_name_title_video_and_person(storage: Storage, target: Storage) -> None:
    desk = Desk(storage, title=SEASON_ID, who="me")
    desk.name("p001", "Ann")
    done = write_dataset(storage, target)
    assert done.place == f"{target.uri}/{target.read_json(LATEST)['dataset']}"
    assert (done.rows["titles"], done.rows["tracks"], done.damaged) == (7, 11, ())
    assert [
        (row["video"], row["episode"], row["name"], row["screen_seconds"], row["appearances"])
        for row in rows(target, "screen_time", SEASON_ID)
    ] == [
        (f"{ONE}.mp4", 1, "Ann", 12.0, 2),  # 8 to 9 s counts once
        (f"{TWO}.mp4", 2, "Ann", 1.0, 1),
        (f"{TWO}.mp4", 2, None, 4.0, 1),
    ]
    tracks = rows(target, "tracks", SEASON_ID)
    assert [(row["track_id"], row["person_id"], row["name"]) for row in tracks] == [
        ("t1", "p001", "Ann"),
        ("t2", "p001", "Ann"),
        ("t3", "p002", None),
        ("t4", "p001", "Ann"),
        ("t5", None, None),
    ]
    assert [row["uri"] for row in rows(target, "videos", SEASON_ID)] == [f"{ONE}.mp4", f"{TWO}.mp4"]
    assert {row["video_id"] for row in rows(target, "shots", SEASON_ID)} == {ONE, TWO}
    assert rows(target, "titles", SEASON_ID)[0]["corrections"] == 1
    shown = rows(target, "appearances", SEASON_ID)
    assert [row["track_id"] for row in shown] == ["t1", "t2", "t4", "t3"]
    assert {row["shot_id"] for row in shown} == {"s0000"}


def test_types_are_those_that_every_engine_reads(storage: Storage, target: Storage) -> None:
    write_registry(storage)
    done = write_dataset(storage, target)
    plain = {"string", "int32", "int64", "float", "double", "bool"}
    for table in done.rows:
        folder = Path(done.place) / table
        for file in folder.rglob("*.parquet"):
            schema = pa.parquet.read_schema(file)
            assert {str(field.type) for field in schema} <= plain, table
            assert schema.equals((TABLES | CATALOG_TABLES)[table]), table
    assert set(done.rows) == set(TABLES) | set(CATALOG_TABLES)


def test_many_titles_share_few_files(
    storage: Storage, target: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUCKETS", 2)
    done = write_dataset(storage, target)
    assert (done.buckets, done.files) == (2, 2 * len(TABLES))
    found = read(target, "people")
    assert found["title_id"].to_pylist() == [
        title_id
        for bucket in sorted(set(found["bucket"].to_pylist()))
        for title_id in sorted(found.filter(ds.field("bucket") == bucket)["title_id"].to_pylist())
    ]
    assert set(found["title_id"].to_pylist()) == {SEASON_ID, *FILMS}


def test_files_and_row_groups_have_a_bounded_size(
    storage: Storage, target: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_dataset(storage, target)
    expected = read(target, "tracks").drop_columns("bucket").sort_by("track_id")
    monkeypatch.setattr(parts, "GROUP_BYTES", 1)
    monkeypatch.setattr(parts, "FILE_BYTES", 1)
    monkeypatch.setattr(module, "BUCKETS", 2)
    done = write_dataset(storage, target)
    assert done.rows == whole.rows
    assert sum(path.startswith("part-1") for path in names(done.place)) > 0
    assert read(target, "tracks").drop_columns("bucket").sort_by("track_id").equals(expected)


def names(place: str) -> list[str]:
    return [path.name for path in Path(place).rglob("*.parquet")]


def test_nothing_is_written_where_nothing_changed(storage: Storage, target: Storage) -> None:
    first = write_dataset(storage, target)
    times = {path: path.stat().st_mtime_ns for path in Path(target.uri).rglob("*")}
    second = write_dataset(storage, target)
    assert second == first._replace(copied=first.buckets)
    assert {path: path.stat().st_mtime_ns for path in Path(target.uri).rglob("*")} == times


def test_unchanged_buckets_are_copied_and_their_titles_not_read(
    storage: Storage, target: Storage
) -> None:
    first = write_dataset(storage, target)
    for path in Path(storage.uri).glob("titles/film-*/cluster-*/people.parquet"):
        path.write_bytes(b"nobody reads this")
    desk = Desk(storage, title=SEASON_ID, who="me")
    desk.name("p002", "Bea")
    second = write_dataset(storage, target)
    assert second.copied == second.buckets - 1 > 0
    assert second.rows == first.rows
    assert {row["name"] for row in rows(target, "people", SEASON_ID)} == {None, "Bea"}
    assert [path.name for path in Path(target.uri).glob("dataset-*")] == [Path(second.place).name]


def test_a_title_that_is_gone_is_gone(storage: Storage, target: Storage) -> None:
    write_dataset(storage, target)
    folder = Path(storage.uri) / "titles" / FILMS[3]
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    write_dataset(storage, target)
    assert not rows(target, "tracks", FILMS[3])
    assert read(target, "titles").num_rows == len(FILMS)


def test_a_result_that_an_erasure_rewrote_is_read_again(storage: Storage, target: Storage) -> None:
    write_dataset(storage, target)

    def without_p002(name: str, data: bytes, _: object) -> bytes:
        if name not in ("people.parquet", "appearances.parquet"):
            return data
        table = storage.parse_table(name, data)
        kept = table.filter(pa.compute.not_equal(table["person_id"], "p002"))
        return storage.write_table("scratch", kept)

    rewrite_folder(
        f"titles/{SEASON_ID}/cluster-000000000001", storage, without_p002, lambda manifest: manifest
    )
    write_dataset(storage, target)
    assert [row["person_id"] for row in rows(target, "people", SEASON_ID)] == ["p001"]
    assert {row["person_id"] for row in rows(target, "appearances", SEASON_ID)} == {"p001"}


def test_a_damaged_title_is_named_left_out_and_tried_again(
    storage: Storage, target: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(storage.uri) / "titles" / FILMS[0] / "cluster-000000000001" / "people.parquet"
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    first = write_dataset(storage, target)
    assert first.damaged == (FILMS[0],)
    assert sum(FILMS[0] in record.getMessage() for record in caplog.records) == 1
    assert not rows(target, "people", FILMS[0])
    again = write_dataset(storage, target)
    assert again.damaged == (FILMS[0],)
    path.write_bytes(good)
    repaired = write_dataset(storage, target)
    assert repaired.damaged == ()
    assert rows(target, "people", FILMS[0])
    assert write_dataset(storage, target) == repaired._replace(copied=repaired.buckets)


def test_a_damaged_file_of_the_dataset_is_written_again(storage: Storage, target: Storage) -> None:
    first = write_dataset(storage, target)
    expected = read(target, "tracks").drop_columns("name").sort_by("track_id")
    broken = next(Path(first.place).glob("tracks/*/part-0.parquet"))
    broken.write_bytes(b"PAR1")
    desk = Desk(storage, title=SEASON_ID, who="me")
    desk.name("p002", "Bea")
    write_dataset(storage, target)
    assert read(target, "tracks").drop_columns("name").sort_by("track_id").equals(expected)


def test_what_an_interrupted_call_left_is_removed_and_the_old_dataset_stays_until_the_end(
    storage: Storage, target: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_dataset(storage, target)
    write_film(storage, "film-ffffffffffff")
    seen = []

    def stop(*_: object) -> None:
        seen.append(read(target, "titles").num_rows)  # of the old one, complete
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_commit", stop)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(storage, target)
    assert seen == [7]
    assert len(list(Path(target.uri).glob("dataset-*"))) == 2
    (Path(target.uri) / "dataset-notes").mkdir()
    second = write_dataset(storage, target)
    assert second.place != first.place
    left = sorted(path.name for path in Path(target.uri).glob("dataset-*"))
    assert left == sorted([Path(second.place).name, "dataset-notes"])
    assert read(target, "titles").num_rows == 8


def test_people_of_the_catalog_come_without_their_pictures(
    storage: Storage, target: Storage
) -> None:
    assert not set(write_dataset(storage, target).rows) & set(CATALOG_TABLES)
    write_registry(storage)
    done = write_dataset(storage, target)
    assert done.copied == done.buckets
    people = read(target, "catalog_people").to_pylist()
    assert [row["name"] for row in people] == ["Ann"]
    assert "face" not in people[0]
    write_registry(storage, "Annie")
    write_dataset(storage, target)
    assert read(target, "catalog_people")["name"].to_pylist() == ["Annie"]
    assert read(target, "catalog_members")["name"].to_pylist() == ["Annie"]


def test_a_target_inside_the_output_is_refused(storage: Storage) -> None:
    with pytest.raises(UsageError, match="outside"):
        write_dataset(storage, Storage.open(f"{storage.uri}/lake"))


def test_a_target_is_judged_by_where_it_really_is(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(storage.uri)
    for inside in (tmp_path / "link" / "lake", tmp_path / "link" / ".." / "out" / "lake"):
        with pytest.raises(UsageError, match="write the dataset outside"):
            write_dataset(storage, Storage.open(str(inside)))
    beside = write_dataset(storage, Storage.open(f"{storage.uri}/../lake"))
    assert (tmp_path / "lake").samefile(Path(beside.place).parent)


def test_what_others_put_into_the_target_stays(storage: Storage, target: Storage) -> None:
    kept = Path(target.uri) / "dataset-202411291230" / "people" / "notes.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    write_dataset(storage, target)
    assert kept.read_text() == "mine"


def test_a_pointer_of_something_else_is_refused_and_stays(
    storage: Storage, target: Storage
) -> None:
    target.write_json(LATEST, {"registry": "registry-1"})
    with pytest.raises(UsageError, match="belongs to something else"):
        write_dataset(storage, target)
    assert target.read_json(LATEST) == {"registry": "registry-1"}
    path = Path(target.locate(LATEST))
    path.write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="belongs to something else"):
        write_dataset(storage, target)
    assert path.read_text() == '{"mine": 1}'


def test_an_old_dataset_that_a_kill_left_goes_even_where_nothing_changed(
    storage: Storage, target: Storage
) -> None:
    first = Path(write_dataset(storage, target).place)
    old = first.with_name("dataset-0123456789ab")
    shutil.copytree(first, old)
    write_dataset(storage, target)
    assert first.exists()
    assert not old.exists()


def test_nothing_is_written_while_an_erasure_is_open(storage: Storage, target: Storage) -> None:
    storage.write_json(f"{ERASURES}/one{OPEN}", {})
    with pytest.raises(UsageError, match="--resume"):
        write_dataset(storage, target)
    assert not target.names("")


def test_an_output_without_results_says_what_to_do(tmp_path: Path, target: Storage) -> None:
    with pytest.raises(UsageError, match="run vcn index"):
        write_dataset(Storage.open(str(tmp_path / "empty")), target)


@pytest.mark.network
def test_on_s3_as_on_folders(storage: Storage, s3_server: S3Server) -> None:
    s3_server.client.create_bucket(Bucket="lake")
    s3_server.calm()
    s3 = S3Config(endpoint=s3_server.url, region="us-east-1")
    target = Storage.open("s3://lake/films", s3)
    first = write_dataset(storage, target)
    write_film(storage, "film-ffffffffffff")
    second = write_dataset(storage, target)
    assert second.copied >= first.buckets - 1
    folder = target.read_json(LATEST)["dataset"]
    assert second.place == f"s3://lake/films/{folder}"
    assert target.names("") == sorted([folder, LATEST])
    titles = [
        row["title_id"]
        for bucket in target.names(f"{folder}/titles")
        for row in target.read_table(f"{folder}/titles/{bucket}/part-0.parquet").to_pylist()
    ]
    assert sorted(titles) == sorted([*FILMS, SEASON_ID, "film-ffffffffffff"])
