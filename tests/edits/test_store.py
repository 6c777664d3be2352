"""Edits in storage: none is lost or replaced, whoever writes at once, and damage is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vcn_ray.edits.record import Edit, active_edits, edit_as_json
from vcn_ray.edits.store import EditLog, edit_names, edited_titles, edits_folder
from vcn_ray.errors import StorageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage

if TYPE_CHECKING:
    from tests.helpers.s3_server import S3Server

TITLE = "film-0123456789ab"
AT = "2026-01-02T03:04:05.678+00:00"


def name(text: str, who: str = "me") -> Edit:
    return Edit("name", who, AT, name=text)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


def _append_many(output: str, who: str, count: int) -> None:
    log = EditLog(Storage.open(output), TITLE)
    for number in range(count):
        log.append(name(f"{who} {number}", who))


def test_edits_are_read_in_the_order_in_which_they_were_made(storage: Storage) -> None:
    log = EditLog(storage, TITLE)
    assert log.read() == []
    made = [log.append(name(text)) for text in "cab"]
    assert [edit.sequence for edit in made] == [1, 2, 3]
    assert log.read() == EditLog(storage, TITLE).read() == made
    assert edit_names(storage, TITLE) == [edit.file_name for edit in made]


def test_a_reader_sees_what_others_have_written_since(storage: Storage) -> None:
    one, two = EditLog(storage, TITLE), EditLog(storage, TITLE)
    first = one.append(name("Ann"))
    assert two.read() == [first]
    second = two.append(name("Bea", "you"))
    assert one.read() == [first, second]
    assert one.read((first.file_name,)) == [first]


def test_the_very_same_edit_twice_is_one(storage: Storage) -> None:
    log, other = EditLog(storage, TITLE), EditLog(storage, TITLE)
    edit = log.append(name("Ann"))
    path = f"{edits_folder(TITLE)}/{edit.file_name}"
    assert not storage.create_json(path, {"other": "content"})
    assert other.read() == [edit]


def test_a_title_with_edits_is_found_by_one_listing(storage: Storage) -> None:
    assert edited_titles(storage) == frozenset()
    for title in ("a-1", "b-2"):
        EditLog(storage, title).append(name("Ann"))
    storage.write_bytes("edited/.hidden", b"")
    assert edited_titles(storage) == {"a-1", "b-2"}


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    output, context = str(tmp_path), multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_append_many, args=(output, who, 500)) for who in ("ann", "bob")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    storage = Storage.open(output)
    edits = EditLog(storage, TITLE).read()
    names = [edit.name for edit in edits]
    assert sorted(names) == sorted(f"{who} {n}" for who in ("ann", "bob") for n in range(500))
    for who in ("ann", "bob"):  # each sees its own edits in the order in which it made them
        assert [n for n in names if n.startswith(who)] == [f"{who} {n}" for n in range(500)]
    assert EditLog(storage, TITLE).read() == edits
    assert not [file for file in os.listdir(tmp_path / edits_folder(TITLE)) if "tmp" in file]


@pytest.mark.network
def test_two_clients_of_s3_at_once_lose_nothing(s3_server: S3Server) -> None:
    s3_server.calm()
    s3_server.client.create_bucket(Bucket="edits")
    s3 = S3Config(endpoint=s3_server.url, region="us-east-1")

    def append(who: str) -> None:
        log = EditLog(Storage.open("s3://edits/out", s3), TITLE)
        for number in range(40):
            log.append(name(f"{who} {number}", who))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(append, ("ann", "bob")))
    storage = Storage.open("s3://edits/out", s3)
    edits = EditLog(storage, TITLE).read()
    assert sorted(edit.name for edit in edits) == sorted(
        f"{who} {number}" for who in ("ann", "bob") for number in range(40)
    )
    assert edited_titles(storage) == {TITLE}


@pytest.mark.network
@pytest.mark.parametrize("conditions", [True, False])
def test_a_put_never_replaces_an_object(s3_server: S3Server, conditions: bool) -> None:
    s3_server.calm()
    bucket = f"put-{conditions}".lower()
    s3_server.client.create_bucket(Bucket=bucket)
    s3 = S3Config(endpoint=s3_server.url, region="us-east-1")
    storage = Storage.open(f"s3://{bucket}/out", s3)
    if not conditions:
        from tests.helpers.s3_server import Answer, Request

        def refuse(request: Request, body: bytes) -> bytes | Answer:
            asked = request.method == "PUT" and "if-none-match" in request.headers
            page = b"<Error><Code>NotImplemented</Code></Error>"
            return Answer(501, {"Content-Type": "application/xml"}, page) if asked else body

        s3_server.intercept = refuse
    assert storage.create_json("x.json", {"value": 1})
    assert not storage.create_json("x.json", {"value": 2})
    assert storage.read_json("x.json") == {"value": 1}
    s3_server.calm()


@pytest.mark.network
def test_an_edit_whose_answer_is_lost_is_written_once(s3_server: S3Server) -> None:
    s3_server.calm()
    s3_server.client.create_bucket(Bucket="lost-answer")
    storage = Storage.open(
        "s3://lost-answer/out", S3Config(endpoint=s3_server.url, region="us-east-1")
    )
    log = EditLog(storage, TITLE)
    log.append(name("Ann"))
    s3_server.harm("reset", 1, "PUT")
    edit = log.append(name("Bea"))
    assert [each.name for each in EditLog(storage, TITLE).read()] == ["Ann", "Bea"]
    assert edit.sequence == 2


def _damage(storage: Storage, edits: list[Edit]) -> dict[str, Callable[[], object]]:
    folder = edits_folder(TITLE)
    path = f"{folder}/{edits[1].file_name}"
    data = storage.read_bytes(path)
    return {
        "cut": lambda: storage.write_bytes(path, data[: len(data) // 2]),
        "altered": lambda: storage.write_bytes(path, data.replace(b"Bea", b"Eve")),
        "empty": lambda: storage.write_bytes(path, b""),
        "swapped": lambda: storage.write_bytes(
            path, storage.read_bytes(f"{folder}/{edits[0].file_name}")
        ),
        "foreign": lambda: storage.write_json(path, {"kind": "guess"}),
        "of another name": lambda: storage.write_json(path, edit_as_json(edits[0])),
    }


@pytest.mark.parametrize(
    "how", ["cut", "altered", "empty", "swapped", "foreign", "of another name"]
)
def test_a_damaged_edit_is_named_and_the_others_count(storage: Storage, how: str) -> None:
    log = EditLog(storage, TITLE)
    edits = [log.append(name(text)) for text in ("Ann", "Bea", "Cid")]
    _damage(storage, edits)[how]()
    again = EditLog(storage, TITLE)
    assert again.read() == [edits[0], edits[2]]
    assert list(again.damaged) == [edits[1].file_name]
    assert edits[1].file_name in again.damaged[edits[1].file_name]
    assert again.append(name("Dan")).sequence == 4


def test_edits_come_after_damaged_ones(storage: Storage) -> None:
    log = EditLog(storage, TITLE)
    edit = log.append(name("Ann"))
    storage.write_bytes(f"{edits_folder(TITLE)}/{edit.file_name}", b"{}")
    assert EditLog(storage, TITLE).append(name("Bea")).sequence == 2


@pytest.mark.parametrize(
    "file", ["notes.json", "99999999-x.json", "00000002-ABCDEF0123456789.json"]
)
def test_a_file_that_somebody_put_there_is_no_edit(storage: Storage, file: str) -> None:
    log = EditLog(storage, TITLE)
    edit = log.append(name("Ann"))
    storage.write_bytes(f"{edits_folder(TITLE)}/{file}", json.dumps({"name": "Eve"}).encode())
    assert log.read() == [edit]
    assert "is no edit" in log.damaged[file]
    assert log.append(name("Bea")).sequence == 2


def test_other_files_are_left_alone(storage: Storage) -> None:
    log = EditLog(storage, TITLE)
    edit = log.append(name("Ann"))
    for file in (".hidden.json", "read me.txt", ".00000002-x.json-1.tmp"):
        storage.write_bytes(f"{edits_folder(TITLE)}/{file}", b"x")
    assert log.read() == [edit]
    assert log.damaged == {}


def test_a_planned_edit_that_is_gone_is_an_error(storage: Storage) -> None:
    log = EditLog(storage, TITLE)
    edit = log.append(name("Ann"))
    storage.delete(f"{edits_folder(TITLE)}/{edit.file_name}")
    with pytest.raises(StorageError, match=edit.file_name):
        EditLog(storage, TITLE).read((edit.file_name,))


@pytest.mark.slow
def test_a_killed_process_leaves_whole_edits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(10):
        worker = context.Process(target=_append_many, args=(str(tmp_path), f"w{number}", 10_000))
        worker.start()
        time.sleep(0.05 + 0.01 * number)
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    log = EditLog(Storage.open(str(tmp_path)), TITLE)
    edits = log.read()
    assert log.damaged == {}
    assert len(edits) > 10
    assert active_edits(edits) == edits
    for number in range(10):  # of each process, its first ones
        mine = [edit.name for edit in edits if edit.who == f"w{number}"]
        assert mine == [f"w{number} {n}" for n in range(len(mine))]
