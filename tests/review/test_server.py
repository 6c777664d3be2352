"""The page over HTTP: who may ask, what it answers, and what it does when things go wrong."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers.report_data import Title
from tests.helpers.review_data import small_title, write_title
from tests.helpers.review_server import TOKEN, Served, running_review
from tests.helpers.videos import encode, shot
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.review.server import HEADERS, MAX_BODY

if TYPE_CHECKING:
    from tests.helpers.s3_server import S3Server

pytestmark = pytest.mark.network

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


@pytest.fixture
def title(storage: Storage) -> str:
    return write_title(storage, small_title())


@pytest.fixture
def served(storage: Storage, title: str) -> Iterator[Served]:
    with running_review(storage) as page:
        yield page


def state_of(served: Served, title: str) -> Any:
    return served.get(f"api/titles/{title}").json["state"]


def names_of(served: Served, title: str) -> dict[str, str]:
    return {person["id"]: person["name"] for person in state_of(served, title)["people"]}


@pytest.mark.parametrize("path", ["/", "/review.js", f"/{TOKEN}x/", "/api/titles", f"//{TOKEN}/"])
def test_without_the_token_there_is_no_answer(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status == 403
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:{port}"]
)
def test_other_names_of_this_machine_are_refused(served: Served, host: str) -> None:
    headers = {"Host": host.format(port=served.port)}
    assert served.ask(f"/{TOKEN}/api/titles", headers=headers).status == 403


def test_localhost_is_answered(served: Served) -> None:
    headers = {"Host": f"localhost:{served.port}"}
    assert served.ask(f"/{TOKEN}/api/titles", headers=headers).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "https://127.0.0.1:{port}"])
def test_decisions_come_from_the_page_alone(served: Served, title: str, origin: str) -> None:
    path = f"/{TOKEN}/api/titles/{title}/decisions"
    body = json.dumps({"do": "name", "who": "p001", "name": "Ann"}).encode()
    headers = JSON | ({"Origin": origin.format(port=served.port)} if origin else {})
    assert served.ask(path, "POST", body, headers).status == 403
    assert names_of(served, title)["p001"] == ""


def test_decisions_are_json_and_small(served: Served, title: str) -> None:
    path, origin = f"/{TOKEN}/api/titles/{title}/decisions", {"Origin": served.origin}
    form = origin | {"Content-Type": "application/x-www-form-urlencoded"}
    assert served.ask(path, "POST", b"do=undo", form).status == 415
    assert served.ask(path, "POST", b"{", origin | JSON).status == 400
    assert served.ask(path, "POST", b"[" * 100_000, origin | JSON).status == 400
    big = json.dumps({"do": "name", "note": "x" * MAX_BODY}).encode()
    assert served.ask(path, "POST", big, origin | JSON).status == 413
    assert served.ask(path, "GET").status == 405
    assert served.ask(path, "DELETE", None, origin).status == 405


@pytest.mark.parametrize(
    "decision",
    [
        {"do": "burn"},
        {"do": "name", "who": 5},
        {"do": "name", "who": "p001", "name": "x" * 3000},
        {"do": "merge", "who": "p001", "into": "p999"},
        {"do": "merge", "who": "p001", "into": "p001"},
        {"do": "move", "tracks": []},
        {"do": "undo"},
        {"do": "name", "who": "p001", "more": 1},
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    served: Served, title: str, decision: dict[str, Any]
) -> None:
    answer = served.decide(title, **decision)
    assert answer.status == 400
    assert "\n" not in answer.json["error"]


def test_every_answer_has_the_headers_that_protect_it(served: Served, title: str) -> None:
    for path in ("", "review.js", "review.css", "review.svg", "api/titles", "api/nothing"):
        answer = served.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] is None
    face = served.get(f"api/titles/{title}/face/0/0")
    assert face.headers["Cache-Control"].startswith("private")
    assert "default-src 'none'" in face.headers["Content-Security-Policy"]
    page = served.get("").body.decode()
    assert "style=" not in page
    assert "<script>" not in page


def test_faces_are_the_pictures_of_their_tracks(served: Served, title: str) -> None:
    shown = served.get(f"api/titles/{title}").json
    for row in (0, len(shown["track"]) - 1):
        assert shown["pictures"][row] >= 1
        face = served.get(f"api/titles/{title}/face/{row}/{shown['best'][row]}")
        assert face.headers["Content-Type"] == "image/jpeg"
        assert Image.open(io.BytesIO(face.body)).size == (120, 160)
    assert served.get(f"api/titles/{title}/face/0/99").status == 404
    assert served.get(f"api/titles/{title}/face/9999/0").status == 404
    assert served.get(f"api/titles/{title}/face/-1/0").status == 404
    assert served.get("api/titles/nothing").status == 400
    assert served.get("api/titles/..%2Fedited").status == 400


def test_older_outputs_show_crops(storage: Storage) -> None:
    made = Title(cutouts=False)
    made.add_track(made.add_video("Old", [4.0])[0], 0, (0.1, 0.9), crops=9)
    title = write_title(storage, made)
    with running_review(storage) as served:
        assert served.get(f"api/titles/{title}").json["pictures"] == [3]
        face = served.get(f"api/titles/{title}/face/0/2")
        assert Image.open(io.BytesIO(face.body)).size == (112, 112)


def test_decisions_change_who_is_who_and_are_kept(
    served: Served, storage: Storage, title: str
) -> None:
    before = state_of(served, title)
    answer = served.decide(title, do="name", who="p001", name="Ann")
    assert answer.status == 200
    assert answer.json["state"]["version"] != before["version"]
    served.decide(title, do="merge", who="p002", into="p001")
    state = served.decide(title, do="apart", who="p003", into="p004").json["state"]
    assert len(state["people"]) == len(before["people"]) - 1
    assert state["undo"] == "p003 is not p004"
    with running_review(storage, "bob") as again:
        assert names_of(again, title)["p001"] == "Ann"
        assert "p002" not in names_of(again, title)
        assert again.get("api/names").json == ["Ann"]
    history = served.get(f"api/titles/{title}/history").json
    assert [line["what"] for line in history] == [
        "p003 is not p004",
        "p002 is p001",
        "p001 is called Ann",
    ]
    served.decide(title, do="undo", edit=history[1]["id"])
    assert "p002" in names_of(served, title)
    served.decide(title, do="redo", edit=history[1]["id"])
    assert "p002" not in names_of(served, title)


def test_tracks_move_leave_and_are_no_faces(served: Served, title: str) -> None:
    shown = served.get(f"api/titles/{title}").json
    person = shown["state"]["person"]
    mine = [row for row, who in enumerate(person) if who == 0]
    moved, junk = mine[0], mine[1]
    state = served.decide(title, do="move", tracks=[shown["track"][moved]]).json["state"]
    made = state["people"][state["person"][moved]]
    assert made["id"].startswith("r-")
    assert made["tracks"] == 1
    state = served.decide(title, do="no_face", tracks=[shown["track"][junk]]).json["state"]
    assert state["person"][junk] == -1
    assert state["kind"][junk] == 2
    assert {moved, junk} == set(state["decided"])
    stray = state["kind"].index(1)
    state = served.decide(title, do="nobody", who=shown["track"][stray]).json["state"]
    assert state["kind"][stray] == 3


def test_two_reviewers_see_each_other(served: Served, storage: Storage, title: str) -> None:
    with running_review(storage, "bob") as other:
        seen = state_of(other, title)["version"]
        assert other.get(f"api/titles/{title}/state?seen={seen}").json == {"version": seen}
        served.decide(title, do="name", who="p001", name="Ann")
        news = other.get(f"api/titles/{title}/state?seen={seen}").json
        assert news["people"][0]["name"] == "Ann"
        assert news["last"]["who"] == "ann"
        other.decide(title, do="name", who="p002", name="Bob")
        assert names_of(other, title)["p001"] == "Ann"
        assert (
            served.decide(title, do="lock", who="p001").json["state"]["people"][1]["name"] == "Bob"
        )
        # Each undoes only what is its own.
        assert other.decide(title, do="undo").json["state"]["people"][1]["name"] == ""
        assert served.decide(title, do="undo").json["state"]["people"][0]["name"] == "Ann"


def test_questions_end_when_they_are_answered(served: Served, title: str) -> None:
    def asked() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = served.get(f"api/titles/{title}/suggestions").json
        return found

    name = next(each for each in asked() if each["ask"] == "name")
    served.decide(title, do="nobody", who=name["person"])
    assert name["person"] not in [each["person"] for each in asked() if each["ask"] == "name"]
    served.decide(title, do="name", who="p002", name="Ann")
    served.decide(title, do="name", who="p003", name="Ann")
    twins = next(each for each in asked() if each["ask"] == "merge" and each["probability"] > 0.9)
    assert {twins["person"], twins["other"]} == {"p002", "p003"}
    served.decide(title, do="apart", who="p002", into="p003")
    left = [{each["person"], each["other"]} for each in asked() if each["ask"] == "merge"]
    assert {"p002", "p003"} not in left


def test_near_people_come_first(served: Served, title: str) -> None:
    shown = served.get(f"api/titles/{title}").json
    stray = shown["state"]["kind"].index(1)
    near = served.get(f"api/titles/{title}/near?tracks={stray}").json
    assert sorted(near) == sorted(person["id"] for person in shown["state"]["people"])
    assert served.get(f"api/titles/{title}/near?tracks=99999").status == 400
    assert served.get(f"api/titles/{title}/near?tracks=a").status == 400


def test_titles_are_listed_and_summed_up(served: Served, storage: Storage, title: str) -> None:
    write_title(storage, small_title(), "Another", title_id="another-1")
    assert [each["name"] for each in served.get("api/titles").json["titles"]] == [
        "Another",
        "First Light",
    ]
    summary = served.get("api/titles/another-1/summary").json
    assert summary["people"] == summary["unnamed"] == 6
    served.decide(title, do="name", who="p001", name="Ann")
    assert served.get(f"api/titles/{title}/summary").json["unnamed"] == 5
    served.titles.settle()
    with running_review(storage) as other:
        quick = other.get(f"api/titles/{title}/summary").json
        assert (quick["unnamed"], quick["edits"]) == (5, 1)
        assert not other.titles._open  # the tables that were written say it


def test_tables_are_written_at_the_end(storage: Storage, title: str) -> None:
    with running_review(storage) as served:
        served.decide(title, do="name", who="p001", name="Ann")
    folder = next(n for n in storage.names(f"titles/{title}") if n.startswith("reviewed-"))
    people = storage.read_table(f"titles/{title}/{folder}/people.parquet").to_pylist()
    assert [row["name"] for row in people].count("Ann") == 1


def test_titles_are_closed_when_they_take_too_much_memory(storage: Storage, title: str) -> None:
    write_title(storage, small_title(), "Another", title_id="another-1")
    with running_review(storage, max_bytes=1) as served:
        served.decide(title, do="name", who="p001", name="Ann")
        assert list(served.titles._open) == [title]
        served.get("api/titles/another-1")
        assert list(served.titles._open) == ["another-1"]
        assert names_of(served, title)["p001"] == "Ann"


def test_a_damaged_title_says_what_to_do(storage: Storage, title: str) -> None:
    storage.write_bytes(f"titles/{title}/cluster-0/tracks.parquet", b"PAR1")
    with running_review(storage) as served:
        answer = served.get(f"api/titles/{title}")
        assert answer.status == 503
        assert "vcn verify" in answer.json["error"]
        assert served.get("api/titles").status == 200


def film_title(folder: Path) -> Title:
    """Six seconds of a made-up film with a track whose box is known."""
    made = Title(seed=1)
    track = made.add_track(made.add_video("Film", [6.0])[0], 0, (0.1, 0.6), crops=8)
    for row in made.crops:
        row |= {"x0_pixels": 60.0, "y0_pixels": 30.0, "x1_pixels": 120.0, "y1_pixels": 100.0}
    assert track
    path = folder / "film.mp4"
    encode(path, shot(1, 150))
    made.videos[0]["uri"] = str(path)
    return made


def test_a_clip_plays_the_appearance_with_a_box(storage: Storage, tmp_path: Path) -> None:
    title = write_title(storage, film_title(tmp_path))
    with running_review(storage) as served:
        clip = served.get(f"api/titles/{title}/play/0")
        assert clip.headers["Content-Type"] == "video/webm"
        with av.open(io.BytesIO(clip.body)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) > 40
        assert frames[0].shape == (144, 256, 3)
        edge = frames[len(frames) // 4][32:98, 60].astype(int).mean(axis=0)
        assert edge[0] - edge[2] > 60  # the box is amber
        assert served.get(f"api/titles/{title}/play/7").status == 400
        (tmp_path / "film.mp4").unlink()
        assert served.get(f"api/titles/{title}/play/0").status == 200  # kept


def test_a_video_that_is_gone_says_so(served: Served, title: str) -> None:
    answer = served.get(f"api/titles/{title}/play/0")
    assert answer.status == 404
    assert "First_Light.mp4" in answer.json["error"]


def test_outputs_on_s3_are_reviewed_alike(s3_server: S3Server) -> None:
    s3_server.client.create_bucket(Bucket="review")
    s3_server.calm()
    config = S3Config(endpoint=s3_server.url, region="us-east-1")
    storage = Storage.open("s3://review/out", config)
    title = write_title(storage, small_title())
    with running_review(storage) as served:
        state = served.decide(title, do="name", who="p001", name="Ann").json["state"]
        assert state["people"][0]["name"] == "Ann"
        assert served.get(f"api/titles/{title}/face/0/0").status == 200


def test_the_command_prints_its_address_and_keeps_the_token_from_logs(
    storage: Storage, title: str
) -> None:
    words = [sys.executable, "-m", "vcn_ray", "review", storage.uri, "--no-browser", "--who", "ann"]
    with subprocess.Popen(
        [*words, "--title", "First Light"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where tests run in the background, a shell lets their children ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            address = process.stdout.readline().strip()
            assert address.endswith(f"/#{title}")
            assert address.startswith("http://127.0.0.1:")
            port, token = address.removeprefix("http://127.0.0.1:").split("/")[:2]
            page = Served(None, int(port))  # type: ignore[arg-type]
            assert page.ask(f"/{token}/").status == 200
            assert page.ask(f"/{token}/api/titles/none").status == 400
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert token not in rest + errors


def test_a_port_in_use_is_a_line(storage: Storage, title: str, served: Served) -> None:
    words = [sys.executable, "-m", "vcn_ray", "review", storage.uri, "--port", str(served.port)]
    done = subprocess.run([*words, "--no-browser"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"port {served.port} cannot be used" in done.stderr
    assert np.char.count(done.stderr, "\n") == 1
