"""An erased person is in no file any more, all others are as they were, and nobody comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import vcn_ray
from tests.helpers.corrections import Seen, write_title
from tests.helpers.films import Ran, vcn
from tests.helpers.s3_server import S3Server
from tests.helpers.upkeep import (
    Indexed,
    Killed,
    content,
    dying,
    states_before_changes,
    traces_of,
    upload,
)
from vcn_ray.edits.record import active_edits
from vcn_ray.edits.store import EditLog
from vcn_ray.errors import UsageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_outputs
from vcn_ray.review.desk import Desk
from vcn_ray.run.stored import StoredTitle, read_title
from vcn_ray.run.tombstones import open_erasures
from vcn_ray.upkeep.doors import EraseRequest, erase_persons

pytestmark = pytest.mark.slow

TABLES = ("people", "tracks", "appearances", "merges")


def title_of(output: Path, start: str) -> StoredTitle:
    storage = Storage.open(str(output))
    (title_id,) = [name for name in storage.names("titles") if name.startswith(start)]
    return read_title(title_id, storage)


def tracks_of(title: StoredTitle, person: str) -> list[str]:
    rows = title.tracks.filter(pc.equal(title.tracks["person_id"], person))
    return list(rows["track_id"].to_pylist())


def pictures_of(title: StoredTitle, track_ids: list[str]) -> list[bytes]:
    crops = title.crops.filter(pc.is_in(title.crops["track_id"], pa.array(track_ids)))
    return [data for name in ("image", "face") for data in crops[name].to_pylist() if data]


def needles_of(title: StoredTitle, person: str) -> list[bytes]:
    """What must not be found of a person: tracks and pictures."""
    ids = tracks_of(title, person)
    found = [name.encode() for name in ids] + pictures_of(title, ids)
    assert len(found) > 2 * len(ids)
    return found


def rows_of_others(title: StoredTitle, gone: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables but for those of some tracks."""
    names = ("track_id", "left_track_id", "right_track_id", "cover_track_id")
    return {
        name: [
            row
            for row in getattr(title, name).to_pylist()
            if gone.isdisjoint(row.get(column) for column in names)
        ]
        for name in (*TABLES, "crops", "shots")
    }


def erase(output: Path, *more: str | Path) -> Ran:
    return vcn("erase", output, "--person", "film:p002", *more)


def test_nothing_of_the_person_is_left_and_all_others_are_as_they_were(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    before = {name: title_of(indexed.output, name) for name in ("film-", "season-")}
    needles = needles_of(before["film-"], "p002")
    assert set(traces_of(needles, content(storage), storage))
    gone = set(tracks_of(before["film-"], "p002"))
    kept = {name: rows_of_others(title, gone) for name, title in before.items()}
    ran = erase(indexed.output, "--by", "the office", "--reason", "asked", "--name", "Nobody Known")
    assert ran.code == 0, ran.err
    assert ran.record["found"] == []
    files = content(storage)
    assert traces_of(needles, files, storage) == []
    assert vcn("verify", indexed.output).code == 0
    for name, rows in kept.items():
        title = title_of(indexed.output, name)
        after = rows_of_others(title, set())
        if name == "season-":  # a person of the season may have lost some tracks and kept others
            left = {row["person_id"]: row for row in after.pop("people")}
            whole = [r for r in rows.pop("people") if left.get(r["person_id"]) == r]
            assert len(whole) >= 2
        assert after == rows, name
        counts = title.summary["counts"]
        assert (counts["people"], counts["tracks"]) == (
            title.people.num_rows,
            title.tracks.num_rows,
        )
        assert "erased" in [warning["code"] for warning in title.summary["warnings"]]
    assert title_of(indexed.output, "film-").people["person_id"].to_pylist() == ["p001"]
    assert not [path for path in files if path.endswith("model.safetensors")]
    _check_receipt(files, ran)


def _check_receipt(files: dict[str, bytes], ran: Ran) -> None:
    (path,) = ran.record["receipts"]
    receipt = json.loads(files[path])
    assert (receipt["by"], receipt["reason"]) == ("the office", "asked")
    assert {each["path"] for each in receipt["objects"]} >= set(ran.record["rewritten"])
    actions = {each["action"]: each for each in receipt["objects"]}
    assert set(actions) == {"rewritten", "removed"}
    assert actions["removed"]["sha256_after"] is None
    assert actions["rewritten"]["sha256_after"] != actions["rewritten"]["sha256_before"]
    for name in (path, *receipt["tombstones"]):
        assert len(files[name]) < 100_000
        assert b"Nobody Known" not in files[name]
    assert [name for name in files if name.endswith(".open.json")] == []


def test_embeddings_of_others_stay_and_those_of_the_person_go(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    title = title_of(indexed.output, "film-")
    folder = title.summary["keys"]["adapt"]
    old = load_outputs(storage.read_bytes(f"{folder}/outputs.safetensors"))
    rows = [who != "p002" for who in title.tracks["person_id"].to_pylist()]
    assert erase(indexed.output).code == 0
    new = load_outputs(storage.read_bytes(f"{folder}/outputs.safetensors"))
    wanted = old[np.array(rows)]
    for name in ("embedding", "pretrained", "teacher", "student", "output", "quality"):
        assert np.array_equal(getattr(new, name), getattr(wanted, name))
    assert not new.centre.any()


def test_the_same_run_again_finds_everything_done(indexed: Indexed) -> None:
    assert erase(indexed.output).code == 0
    before = content(Storage.open(str(indexed.output)))
    ran = indexed.index()
    assert ran.code == 0
    assert "nothing to do" in ran.out
    after = content(Storage.open(str(indexed.output)))
    assert {p: d for p, d in after.items() if not p.startswith("runs/")} == {
        p: d for p, d in before.items() if not p.startswith("runs/")
    }
    again = erase(indexed.output)
    assert (again.code, again.record["rewritten"]) == (0, [])
    assert "was erased before" in again.out


@pytest.mark.parametrize("fps", [6, 12])
def test_another_run_does_not_bring_the_person_back(indexed: Indexed, fps: int, film: Path) -> None:
    title = title_of(indexed.output, "film-")
    shots = {row["shot_id"]: row for row in title.shots.to_pylist()}
    mine = title.tracks.filter(pc.equal(title.tracks["person_id"], "p002")).to_pylist()
    assert erase(indexed.output).code == 0
    alone = Indexed(indexed.output, film, indexed.pack)
    assert alone.index("--set", f"detect.analysis_fps={fps}").code == 0
    after = title_of(indexed.output, "film-")
    assert after.folder != title.folder
    assert after.people.num_rows == 1
    storage = Storage.open(str(indexed.output))
    (folder,) = after.summary["keys"]["detect"]
    seconds = [
        when
        for name in storage.names(folder)
        if name.startswith("seg-") and name.endswith(".parquet")
        for when in storage.read_table(f"{folder}/{name}")["seconds"].to_pylist()
    ]
    assert len(seconds) >= 15
    for track in mine:  # everyone has shots of their own in this film
        shot = shots[track["shot_id"]]
        inside = [s for s in seconds if shot["start_seconds"] <= s < shot["end_seconds"]]
        assert inside == []
    assert vcn("verify", indexed.output).code == 0


def test_a_folder_from_before_does_not_count(indexed: Indexed, original: Indexed) -> None:
    title = title_of(indexed.output, "film-")
    assert erase(indexed.output).code == 0
    for folder in (*title.summary["keys"]["track"], *title.summary["keys"]["detect"]):
        shutil.rmtree(indexed.output / folder)  # somebody copies a backup back
        shutil.copytree(original.output / folder, indexed.output / folder)
    ran = vcn("verify", indexed.output)
    assert ran.code == 1
    assert "made before a person was erased" in ran.err
    assert indexed.index().code == 0
    assert (
        traces_of(
            pictures_of(title, tracks_of(title, "p002")),
            content(Storage.open(str(indexed.output))),
            Storage.open(str(indexed.output)),
        )
        == []
    )
    assert vcn("verify", indexed.output).code == 0


def test_older_results_corrections_and_checkpoints_go(indexed: Indexed, film: Path) -> None:
    storage = Storage.open(str(indexed.output))
    title = title_of(indexed.output, "film-")
    alone = Indexed(indexed.output, film, indexed.pack)
    assert alone.index("--set", "track.sample_seconds=0.3").code == 0
    assert alone.index().code == 0  # the first result is the newest again
    home = f"titles/{title.title_id}"
    mine, other = (tracks_of(title, person)[0] for person in ("p002", "p001"))
    desk = Desk(storage, title.title_id, "ann")
    desk.name("p002", "Anna Alias")
    desk.name("p001", "Berta")
    desk.undo(desk.move([mine, other], note="Anna?").edit_id)
    desk.commit()
    storage.write_bytes(f"{title.summary['keys']['adapt']}/checkpoint.safetensors", b"state")
    ran = erase(indexed.output, "--name", "Anna Alias")
    assert (ran.code, ran.record["found"]) == (0, [])
    files = content(storage)
    assert traces_of([b"Anna", *needles_of_ids([mine])], files, storage) == []
    left = EditLog(storage, title.title_id).read()
    assert sorted(edit.kind for edit in left) == ["move", "name", "undo"]
    assert [edit.name for edit in active_edits(left)] == ["Berta"]  # the undo still finds its edit
    assert {a.track_id for e in left for a in e.subject} <= set(tracks_of(title, "p001"))
    assert sum(p.startswith(home) and p.endswith("people.parquet") for p in files) == 1
    assert not [p for p in files if "checkpoint" in p or "reviewed-" in p]
    assert vcn("verify", indexed.output).code == 0


def needles_of_ids(ids: list[str]) -> list[bytes]:
    return [name.encode() for name in ids]


def test_a_dry_run_changes_nothing(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    before = content(storage)
    ran = erase(indexed.output, "--dry-run")
    assert ran.code == 0
    assert content(storage) == before
    title_id = title_of(indexed.output, "film-").title_id
    assert f"would erase p002 of film ({title_id})" in ran.out.splitlines()
    desk = Desk(storage, title_id, "ann")
    desk.name("p002", "Nora Stern")
    desk.commit()
    ran = erase(indexed.output, "--dry-run")
    assert f"would erase Nora Stern, p002 of film ({title_id})" in ran.out.splitlines()


def agree(told: dict[str, Any], done: dict[str, Any]) -> None:
    """A dry run has listed exactly what the run then did."""
    for what in ("removed", "rewritten", "found", "remarks"):
        assert told[what] == done[what]
    assert told["removed"]
    assert told["rewritten"]
    assert (told["receipts"], len(done["receipts"])) == ([], 1)


def test_a_dry_run_lists_what_the_run_does(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    desk = Desk(storage, title_of(indexed.output, "film-").title_id, "ann")
    desk.name("p002", "Nora Stern")  # corrections and their tables are concerned, too
    desk.commit()
    before = content(storage)
    told = erase(indexed.output, "--dry-run").record
    assert content(storage) == before
    done = erase(indexed.output).record
    agree(told, done)
    after = content(storage)
    assert set(done["removed"]) == {path for path in before if path not in after}
    assert set(done["rewritten"]) == {p for p in before if p in after and before[p] != after[p]}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--person", "film:p009"), "no person 'p009'"),
        (("--person", "p001"), "write TITLE:p003"),
        ((), "name persons by --person"),
        (("--person", "none:p001"), "titles"),
    ],
)
def test_a_wrong_request_is_one_line(
    indexed: Indexed, words: tuple[str, ...], problem: str
) -> None:
    ran = vcn("erase", indexed.output, *words)
    assert ran.code == 2
    assert problem in ran.err
    assert ran.err.count("\n") == 1


def deaths(storage: Storage, request: EraseRequest) -> Iterator[int]:
    """Start an erasure again and again, and die before each of its changes in turn."""
    for changes in range(1000):
        try:
            erase_persons(dying(storage, changes), request, dry_run=False)
        except Killed:
            yield changes
        else:
            return


def final_state(storage: Storage) -> dict[str, bytes]:
    """All files but receipts, whose times differ, and records of runs."""
    files = content(storage)
    return {p: d for p, d in files.items() if not p.startswith(("erasures/", "runs/"))}


def test_a_kill_between_any_two_changes_is_made_good(indexed: Indexed, tmp_path: Path) -> None:
    wanted = Path(shutil.copytree(indexed.output, tmp_path / "wanted"))
    assert erase(wanted).code == 0
    goal = final_state(Storage.open(str(wanted)))
    request = EraseRequest(persons=["film:p002"])

    def change(storage: Storage) -> None:
        erase_persons(storage, request, dry_run=False)

    states = states_before_changes(indexed.output, tmp_path / "killed", change)
    assert len(states) > 50
    for count, place in enumerate(states):
        storage = Storage.open(str(place))
        if count % 10 == 5 and open_erasures(storage):  # the last change is after its end
            assert indexed.at(place).index().code == 2
            assert "is not finished" in vcn("verify", place).err
        by_name = count % 2 == 0 or not storage.names("erasures")
        again = request if by_name else EraseRequest(resume=True)
        erase_persons(storage, again, dry_run=False)
        assert final_state(storage) == goal, count


def test_one_kill_after_another_still_ends(indexed: Indexed, tmp_path: Path) -> None:
    wanted = Path(shutil.copytree(indexed.output, tmp_path / "wanted"))
    assert erase(wanted).code == 0
    storage = Storage.open(str(indexed.output))
    assert len(list(deaths(storage, EraseRequest(persons=["film:p002"])))) > 20
    assert final_state(storage) == final_state(Storage.open(str(wanted)))


def test_another_erasure_waits_for_an_interrupted_one(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    request = EraseRequest(persons=["film:p002"])
    with pytest.raises(Killed):
        erase_persons(dying(storage, 12), request, dry_run=False)
    with pytest.raises(UsageError, match="--resume"):
        vcn_ray.erase(indexed.output, "Season:p001")
    assert vcn("erase", indexed.output, "--resume").code == 0
    assert vcn("verify", indexed.output).code == 0


@pytest.fixture
def bucket(s3_server: S3Server, request: pytest.FixtureRequest) -> Storage:
    """An empty place in a bucket that keeps versions."""
    name = f"kept-{abs(hash(request.node.name)) % 10**8}"
    s3_server.client.create_bucket(Bucket=name)
    s3_server.client.put_bucket_versioning(
        Bucket=name, VersioningConfiguration={"Status": "Enabled"}
    )
    return Storage.open(f"s3://{name}/out", S3Config(endpoint=s3_server.url, region="us-east-1"))


def versions_in(storage: Storage, server: S3Server) -> dict[tuple[str, str], bytes]:
    """All versions of all objects of a bucket, hidden ones too."""
    name = storage.uri.split("/")[2]
    pages = server.client.get_paginator("list_object_versions").paginate(Bucket=name)
    return {
        (v["Key"].removeprefix("out/"), v["VersionId"]): server.client.get_object(
            Bucket=name, Key=v["Key"], VersionId=v["VersionId"]
        )["Body"].read()
        for page in pages
        for v in page.get("Versions", [])
    }


@pytest.mark.network
def test_hidden_versions_of_a_bucket_go_too(
    indexed: Indexed, bucket: Storage, s3_server: S3Server
) -> None:
    needles = needles_of(title_of(indexed.output, "film-"), "p002")
    upload(indexed.output, bucket)
    upload(indexed.output, bucket)  # so that there are hidden versions from before
    words = ("--person", "film:p002", *s3_server.settings)
    stored = versions_in(bucket, s3_server)
    told = vcn("erase", bucket.uri, *words, "--dry-run")
    assert versions_in(bucket, s3_server) == stored
    ran = vcn("erase", bucket.uri, *words)
    assert ran.code == 0, ran.err
    agree(told.record, ran.record)
    kept = versions_in(bucket, s3_server)
    files = {f"{path} {version} {path}": data for (path, version), data in kept.items()}
    assert traces_of(needles, files, bucket) == []
    assert erase(indexed.output).code == 0
    assert final_state(bucket) == final_state(Storage.open(str(indexed.output)))
    receipt = bucket.read_json(ran.record["receipts"][0])
    assert sum(len(each.get("versions", [])) for each in receipt["objects"]) > 50
    assert vcn("verify", bucket.uri, *s3_server.settings).code == 0


@pytest.mark.network
def test_versions_that_must_not_be_deleted_are_named(
    indexed: Indexed, bucket: Storage, s3_server: S3Server
) -> None:
    from tests.helpers.s3_server import Answer, Request

    upload(indexed.output, bucket)

    def refuse(request: Request, body: bytes) -> bytes | Answer:
        if request.method == "DELETE" and "versionId" in request.query:
            page = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            return Answer(403, {"Content-Type": "application/xml"}, page)
        return body

    s3_server.intercept = refuse
    try:
        ran = vcn("erase", bucket.uri, "--person", "film:p002", *s3_server.settings)
    finally:
        s3_server.calm()
    assert ran.code == 1
    assert "hidden version not deleted: titles/" in ran.err
    assert len(ran.record["versions_left"]) > 20
    assert bucket.read_json(ran.record["receipts"][0])["versions_left"]


def test_a_corrected_person_goes_by_name_with_all_its_tracks(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    title = title_of(indexed.output, "film-")
    gone = tracks_of(title, "p001") + tracks_of(title, "p002")
    desk = Desk(storage, title.title_id, "ann")
    desk.merge("p002", "p001")
    desk.name("p001", "Nora Stern")
    desk.commit()
    ran = vcn("erase", indexed.output, "--person", "film:Nora Stern")
    assert ran.code == 0, ran.err
    needles = [name.encode() for name in gone] + [b"Nora Stern"]
    assert traces_of(needles, content(storage), storage) == []
    assert title_of(indexed.output, "film-").people.num_rows == title.people.num_rows - 2
    assert vcn("verify", indexed.output).code == 0
    with pytest.raises(UsageError, match="no person 'Nora Stern'"):
        erase_persons(storage, EraseRequest(persons=["film:Nora Stern"]), dry_run=True)


def test_a_title_that_has_nothing_to_do_with_it_keeps_everything(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    for page in (indexed.output / "pages.json", *indexed.output.rglob("*.html")):
        page.unlink()  # the other title is too simple for a page
    write_title(storage, [Seen("t1", "p001")], title="Other", title_id="other-000000000000")
    desk = Desk(storage, "Other", "ann")
    desk.name("p001", "Grace")
    desk.commit()

    def files() -> dict[str, bytes]:
        home = indexed.output / "titles" / "other-000000000000"
        return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}

    before = files()
    assert any("reviewed-" in path for path in before)
    ran = vcn("erase", indexed.output, "--person", "film:p001")
    assert ran.code == 0, ran.err
    assert files() == before
