"""The product on real clips: who is in them, and nobody else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.films import results, vcn
from tests.helpers.montage import MontageShot, write_montage
from tests.helpers.videos import FINE, encode, read_frames
from vcn_ray.run.stored import StoredTitle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def montage(
    shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[MontageShot]]:
    """Five people who speak, in at least 20 shots in a shuffled order."""
    path = tmp_path_factory.mktemp("montage") / "montage.mp4"
    return path, write_montage(sorted((shared / "data/videos").glob("grid_*.mpg")), path)


@pytest.fixture(scope="module")
def speakers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five people who speak, one after another."""
    clips = sorted((shared / "data/videos").glob("grid_*.mpg"))
    frames = [frame for clip in clips for frame in read_frames(clip)]
    return encode(tmp_path_factory.mktemp("speakers") / "speakers.mp4", frames, options=FINE)


@pytest.fixture(scope="module")
def indexed(
    shared: Path,
    speakers: Path,
    montage: tuple[Path, list[MontageShot]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, StoredTitle]:
    """All clips indexed in one run, with the default pack."""
    output = tmp_path_factory.mktemp("output")
    clips = ["one_face_expressions.mp4", "face_then_cartoon_cut.mov", "crowd_8faces.mp4"]
    inputs = [montage[0], speakers, *(shared / "data/videos" / clip for clip in clips)]
    ran = vcn("index", *inputs, "--output", output, "--local")
    assert ran.code == 0, ran.err
    return results(output)


def test_five_people_are_told_apart(
    indexed: dict[str, StoredTitle], montage: tuple[Path, list[MontageShot]]
) -> None:
    shots = montage[1]
    assert len(shots) >= 20
    title = indexed["montage"]
    assert title.people.num_rows == 5
    seen: dict[str | None, Counter[str]] = {}
    for row in title.tracks.to_pylist():
        middle = (row["start_frame"] + row["end_frame"]) // 2
        shot = next(s for s in shots if s.start_frame <= middle < s.end_frame)
        seen.setdefault(row["person_id"], Counter())[shot.identity] += 1
    seen.pop(None, None)  # unknown tracks are in no cluster
    assert all(len(identities) == 1 for identities in seen.values()), seen
    assert len({next(iter(identities)) for identities in seen.values()}) == 5


def test_five_people_who_appear_once_are_five(indexed: dict[str, StoredTitle]) -> None:
    title = indexed["speakers"]
    assert title.people.num_rows == 5
    assert title.shots.num_rows == 5
    (whole,) = {*title.tracks.column("status").to_pylist()}
    assert whole == "clustered"


def test_every_shot_of_the_montage_is_found(
    indexed: dict[str, StoredTitle], montage: tuple[Path, list[MontageShot]]
) -> None:
    found = indexed["montage"].shots.column("start_frame").to_pylist()
    assert found == [shot.start_frame for shot in montage[1]]


def test_one_person_stays_one(indexed: dict[str, StoredTitle]) -> None:
    title = indexed["one_face_expressions"]
    assert title.people.num_rows == 1
    unknown = title.tracks.column("status").to_pylist().count("unknown")
    assert unknown <= 0.2 * title.tracks.num_rows


def test_nobody_is_found_after_the_cut(indexed: dict[str, StoredTitle]) -> None:
    title = indexed["face_then_cartoon_cut"]
    assert title.shots.num_rows == 2
    cut = title.shots.column("start_frame").to_pylist()[1]
    assert title.people.num_rows == 1
    assert max(title.tracks.column("end_frame").to_pylist()) <= cut


@pytest.mark.xfail(
    reason="six people: one on the phone and one in profile, 40 to 50 pixels high, stay unknown",
    strict=True,
)
def test_eight_people_of_a_crowd_are_found(indexed: dict[str, StoredTitle]) -> None:
    assert indexed["crowd_8faces"].people.num_rows >= 8


def test_tracks_that_share_a_frame_are_never_one_person(indexed: dict[str, StoredTitle]) -> None:
    title = indexed["crowd_8faces"]
    person = dict(
        zip(*(title.tracks.column(n).to_pylist() for n in ("track_id", "person_id")), strict=True)
    )
    frames: dict[int, set[str]] = {}
    for row in title.crops.select(["frame", "track_id"]).to_pylist():
        frames.setdefault(row["frame"], set()).add(row["track_id"])
    assert max(len(tracks) for tracks in frames.values()) >= 4
    for tracks in frames.values():
        people = [person[track] for track in tracks if person[track] is not None]
        assert len(people) == len(set(people))


def test_results_keep_their_promises(indexed: dict[str, StoredTitle]) -> None:
    for title in indexed.values():
        assert json.dumps(title.summary)
        people = title.people.to_pylist()
        assert [p["person_id"] for p in people] == [f"p{n:03d}" for n in range(1, len(people) + 1)]
        seconds = [round(p["screen_seconds"], 6) for p in people]
        assert seconds == sorted(seconds, reverse=True)
        clustered = [t for t in title.tracks.to_pylist() if t["status"] == "clustered"]
        assert title.appearances.num_rows == len(clustered)
        # A weak track joins a person without a merge.
        assert len(clustered) - len(people) >= title.merges.num_rows
        person = {track["track_id"]: track["person_id"] for track in clustered}
        for merge in title.merges.to_pylist():
            assert person[merge["left_track_id"]] == person[merge["right_track_id"]]
        covers = {(p["cover_track_id"], p["cover_crop"]) for p in people}
        rows = title.crops.filter(
            np.array([x is not None for x in title.crops.column("face").to_pylist()])
        )
        crops = set(zip(*(rows.column(n).to_pylist() for n in ("track_id", "frame")), strict=True))
        assert covers <= crops


def test_people_who_are_also_on_a_screen_in_the_picture_are_one_person_each(
    shared: Path, tmp_path: Path
) -> None:
    clip = shared / "data/trials/t51_screen_in_scene.mp4"
    ran = vcn("index", clip, "--output", tmp_path, "--local")
    assert ran.code == 0, ran.err
    (title,) = results(tmp_path).values()
    assert title.people.num_rows == 7
    assert [warning["code"] for warning in title.summary["warnings"]] == ["seen_twice"]
