"""Labels are read, put on a video's clock, matched with tracks and scored."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from tests import reference
from tests.helpers.committed import commit
from vcn_ray.errors import UsageError
from vcn_ray.evaluation.labels import Labels, Truth, read_cuts, read_labels, read_truth
from vcn_ray.evaluation.matching import (
    FaceTracks,
    FrameBoxes,
    LabelledFaces,
    TrackMatches,
    best_overlaps,
    interpolate_boxes,
    match_tracks,
    nearest_frames,
    place_labels,
)
from vcn_ray.evaluation.output import match_title, score_title
from vcn_ray.evaluation.scores import (
    CutScores,
    MatchedTrack,
    TitleScores,
    count_people,
    recall_by_height,
    score_clustering,
    unknown_seconds_fraction,
)
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.records import F32, F64
from vcn_ray.run.stored import StoredTitle
from vcn_ray.schema import (
    APPEARANCES,
    CROPS,
    DETECTIONS,
    FRAMES,
    MERGES,
    PEOPLE,
    RESULT_TRACKS,
    SHOTS,
)

BOX = [0.0, 0.0, 10.0, 10.0]
FRAME = 0.04  # seconds
HEADER = "video,seconds,x0,y0,x1,y1,identity\n"


def labels(frame: list[int] | None, seconds: list[float] | None, names: list[str]) -> Labels:
    return Labels(
        None if frame is None else np.array(frame),
        None if seconds is None else np.array(seconds),
        np.array([BOX] * len(names), np.float32),
        names,
    )


def placed(truth: Labels, analysed: list[bool]) -> LabelledFaces:
    """Labels in a video of 25 frames a second."""
    seconds = np.arange(len(analysed), dtype=np.float64) * FRAME
    return place_labels(truth, seconds, np.array(analysed, bool))


# Labels on the clock of a video


def test_only_labels_of_analysed_frames_are_compared_where_every_frame_is_labelled() -> None:
    found = placed(labels([0, 1, 2, 9], None, list("abcd")), [True, False, True])
    assert found.identity == ["a", "b", "c"]  # there is no frame 9
    assert found.frame.tolist() == [0, -1, 2]
    assert found.interval == pytest.approx(FRAME)


def test_labels_in_seconds_go_to_the_nearest_frame_in_the_order_of_time() -> None:
    found = placed(labels(None, [5.0, 0.079, 0.0, 0.041, -3.0], list("abcde")), [True] * 3)
    assert found.identity == ["e", "c", "d", "b", "a"]
    assert found.frame.tolist() == [-1, 0, 1, 2, -1]


def test_labels_between_analysed_frames_are_compared_where_they_are_sparse() -> None:
    analysed = [number % 3 == 0 for number in range(100)]  # each 0.12 s
    found = placed(labels(None, [0.55, 1.55, 2.55, 3.55], list("abcd")), analysed)
    assert found.interval == pytest.approx(1.0)
    assert (found.frame * FRAME).tolist() == pytest.approx([0.6, 1.56, 2.52, 3.6])


@pytest.mark.parametrize(
    ("analysed", "times", "interval"),
    [
        ([True, False, True, False], [0.0], 2 * FRAME),  # one labelled time: that of the frames
        ([True], [0.0], FRAME),
        ([True] * 4, [0.0, 0.01, 0.02], FRAME),  # never under a frame
        ([True] * 99, [0.0, 0.5, 1.0, 3.0], 0.5),  # nobody was labelled for two seconds
        ([True] * 99, [0.0, 0.0, 0.5, 0.5], 0.5),  # two faces at a time
    ],
)
def test_the_interval_is_that_between_most_labelled_times(
    analysed: list[bool], times: list[float], interval: float
) -> None:
    truth = labels(None, times, ["a"] * len(times))
    assert placed(truth, analysed).interval == pytest.approx(interval)


def test_a_video_without_any_frame() -> None:
    assert placed(labels([0], None, ["a"]), []).identity == []
    assert placed(labels(None, [0.0], ["a"]), []).frame.tolist() == [-1]


@pytest.mark.parametrize("seed", range(8))
def test_frames_of_labels_equal_their_literal_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 3, 12))
    frames = np.sort(rng.uniform(0, 3, int(rng.integers(1, 30))))
    wanted = [reference.frame_of_label(time, times.tolist(), frames.tolist()) for time in times]
    assert nearest_frames(times, frames, tolerance=9.0).tolist() == wanted
    near = nearest_frames(times, frames, tolerance=0.02)
    far = np.abs(frames[wanted] - times) > 0.021  # with what rounding adds
    assert near.tolist() == np.where(far, -1, wanted).tolist()


# Tracks and labels


def walk(seconds: F64, left: float = 0.0, speed: float = 100.0) -> F32:
    """Boxes of 50 pixels that move to the right by `speed` pixels a second."""
    x = left + speed * np.asarray(seconds)
    return np.stack([x, np.zeros_like(x), x + 50, np.full_like(x, 50)], axis=1).astype(np.float32)


def one_track(seconds: F64, boxes: F32, start: float = 0.0, end: float = 99.0) -> FaceTracks:
    owner = np.zeros(len(seconds), np.int64)
    return FaceTracks(np.array([start]), np.array([end]), owner, seconds, boxes)


def faces_at(seconds: list[float], interval: float, boxes: F32 | None = None) -> LabelledFaces:
    times = np.array(seconds)
    boxes = walk(times) if boxes is None else boxes
    return LabelledFaces(times, boxes, ["a"] * len(times), np.zeros(len(times), int), interval)


def outcome(found: TrackMatches) -> tuple[list[str], list[bool], list[bool]]:
    return found.identity, found.matched.tolist(), found.covered.tolist()


def test_a_track_reaches_half_a_second_at_most() -> None:
    seconds = np.array([10.0, 10.5, 11.5])  # labels stand every ten seconds
    still = walk(np.full(3, 1.0), speed=0)
    near, far = faces_at([0, 9.5, 20], 10.0, still), faces_at([0, 9.4, 20], 10.0, still)
    assert outcome(match_tracks(one_track(seconds, still), near))[2] == [False, True, False]
    assert outcome(match_tracks(one_track(seconds, still), far))[0] == ["?"]
    truth = labels(None, [0.0, 10.0, 20.0], list("abc"))
    assert placed(truth, [False] * 238 + [True]).frame.tolist() == [-1, 238, -1]
    assert placed(truth, [False] * 236 + [True]).frame.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("seed", range(4))
def test_boxes_between_measured_ones_equal_their_literal_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds, boxes = np.sort(rng.uniform(0, 5, 6)), rng.uniform(0, 99, (6, 4)).astype(np.float32)
    at = rng.uniform(-1, 6, 50)
    wanted = [reference.box_at(seconds.tolist(), boxes.tolist(), time) for time in at]
    np.testing.assert_allclose(interpolate_boxes(seconds, boxes, at), wanted, rtol=1e-5)


def test_a_face_is_matched_between_two_of_its_boxes() -> None:
    seconds = np.array([0.0, 1.0, 2.0])  # 100 pixels apart: neither overlaps the label at 0.5
    found = match_tracks(one_track(seconds, walk(seconds)), faces_at([0.5, 1.5], 1.0))
    assert outcome(found) == (["a"], [True], [True, True])


def test_a_track_reaches_half_an_interval_beyond_its_boxes_and_no_further() -> None:
    seconds = np.array([1.0, 1.1, 1.2])
    still = walk(np.full(4, 1.1), speed=0)
    track = one_track(seconds, still[:3])
    found = match_tracks(track, faces_at([0.7, 0.8, 1.4, 1.5], 0.4, still))
    assert outcome(found) == (["a"], [True], [False, True, True, False])


def test_a_track_does_not_reach_into_another_shot() -> None:
    seconds = np.array([1.0, 1.1, 1.2])
    still = walk(np.full(3, 1.1), speed=0)
    track = one_track(seconds, still, start=0.98, end=1.3)
    found = match_tracks(track, faces_at([0.9, 1.1, 1.35], 0.5, still))
    assert outcome(found) == (["a"], [True], [False, True, False])


def test_a_track_that_may_lie_between_two_labelled_times_is_not_identified() -> None:
    seconds = np.array([2.2, 2.3, 2.4])
    far = walk(np.array([1.0, 2.0, 3.0]), left=900)
    assert match_tracks(one_track(seconds, walk(seconds)), faces_at([1, 2, 3], 1.0, far))[0] == [
        "?"
    ]
    longer = np.array([2.2, 2.6, 3.1])  # over the labelled time 3.0
    assert match_tracks(one_track(longer, walk(longer)), faces_at([1, 2, 3], 1.0, far))[0] == ["-"]
    dense = faces_at([2.0, 2.1], 0.1, far[:2])
    assert match_tracks(one_track(seconds, walk(seconds)), dense)[0] == ["-"]


def test_a_track_without_any_label() -> None:
    seconds = np.array([0.0, 0.1, 0.2])
    none = faces_at([], 0.1)
    assert outcome(match_tracks(one_track(seconds, walk(seconds)), none)) == (["-"], [False], [])


@pytest.mark.parametrize("seed", range(6))
def test_votes_equal_their_literal_twin(seed: int) -> None:
    """Each track asks at each labelled time, box by box."""
    rng = np.random.default_rng(seed)
    step, interval = 0.125, float(rng.choice([0.04, 0.125, 1.0]))
    times = np.repeat(np.arange(0.03, 4, interval), 3)
    lefts = np.tile([0.0, 30.0, 60.0], len(times) // 3) + rng.normal(0, 9, len(times))
    truth = LabelledFaces(
        times,
        np.concatenate([walk(times[n : n + 1], lefts[n]) for n in range(len(times))]),
        rng.choice(["anna", "bert", "?", "-"], len(times)).tolist(),
        np.zeros(len(times), np.int64),
        interval,
    )
    first = rng.uniform(0, 3, 5)
    spans = [start + step * np.arange(rng.integers(3, 13)) for start in first.tolist()]
    boxes = [walk(span, float(rng.uniform(0, 60))) for span in spans]
    owner = np.repeat(np.arange(5), [len(span) for span in spans])
    tracks = FaceTracks(
        np.zeros(5), np.full(5, 9.0), owner, np.concatenate(spans), np.concatenate(boxes)
    )
    found = match_tracks(tracks, truth)
    covered = [False] * len(times)
    for number, (span, own) in enumerate(zip(spans, boxes, strict=True)):
        votes: dict[str, int] = {}
        for time in dict.fromkeys(times.tolist()):
            if not span[0] - interval / 2 - 1e-3 <= time <= span[-1] + interval / 2 + 1e-3:
                continue
            box = reference.box_at(span.tolist(), own.tolist(), time)
            rows = np.flatnonzero(times == time).tolist()
            values = {row: reference.overlap(box, truth.boxes[row].tolist()) for row in rows}
            for row, value in values.items():
                covered[row] = covered[row] or value >= 0.3
            best = max(values, key=lambda row: values[row])
            if values[best] >= 0.3:
                votes[truth.identity[best]] = votes.get(truth.identity[best], 0) + 1
        assert bool(votes) == found.matched[number]
        if votes:
            assert found.identity[number] == max(votes, key=lambda name: votes[name])
    assert found.covered.tolist() == covered


def test_overlap_is_the_best_in_the_same_frame() -> None:
    labelled = FrameBoxes(np.array([0, 0, 1]), np.array([BOX, [20, 0, 30, 10], BOX], np.float32))
    found = FrameBoxes(
        np.array([0, 0, 2]), np.array([[0, 0, 10, 5], [100, 0, 110, 10], BOX], np.float32)
    )
    np.testing.assert_allclose(best_overlaps(labelled, found), [0.5, 0.0, 0.0])


# Scores


def track(identity: str, person: str | None, seconds: float = 1.0) -> MatchedTrack:
    return MatchedTrack("t", identity, person, seconds, matched=True)


def test_people_are_counted() -> None:
    tracks = [
        track("anna", "p1"),
        track("anna", "p1"),
        track("?", "p1"),  # does not mix p1
        track("bert", "p2"),
        track("-", "p2"),  # mixes p2, which is half a face
        track("-", "p3"),
        track("?", "p3"),  # p3 is made of no face, and mixed it is not
        track("-", "p4"),
        track("-", "p4"),
        track("carl", "p4"),  # p4 is both
        track("dora", None),
        track("emil", None),
    ]
    found = count_people(tracks, {"anna", "bert", "carl", "dora", "emil", "unseen"})
    assert asdict(found) == {"there": 6, "found": 3, "made": 4, "of_no_face": 2, "mixed": 2}
    between = track("?", "p1")._replace(matched=False)  # between two labelled times
    assert count_people([between], {"anna"}).of_no_face == 0
    assert count_people([between, between, track("anna", "p1")], {"anna"}).of_no_face == 0
    assert count_people([between, track("-", "p1")], {"anna"}).of_no_face == 1
    assert count_people([], set()) == type(found)(0, 0, 0, 0, 0)


def test_scores_are_over_the_tracks_of_labelled_people() -> None:
    tracks = [track("anna", "p1"), track("anna", "p2"), track("bert", None)]
    junk = [track("?", "p1"), track("-", "p1"), track("-", "p3"), track("?", None)]
    found = score_clustering(tracks + junk)
    assert found == score_clustering(tracks)
    assert (found.tracks, found.identities, found.clusters) == (3, 2, 2)
    assert found.unknown_fraction == pytest.approx(1 / 3)


def test_unknown_screen_time_is_that_of_labelled_people() -> None:
    tracks = [track("anna", "p1", 6.0), track("anna", None, 2.0), track("-", None, 50.0)]
    assert unknown_seconds_fraction(tracks) == 0.25
    assert unknown_seconds_fraction([track("?", None)]) == 0


def test_recall_by_height() -> None:
    heights = np.array([10, 23.9, 24, 47, 96, 500, -3], np.float32)
    boxes = np.zeros((7, 4), np.float32)
    boxes[:, 3] = heights
    detected = np.array([1, 0, 1, 1, 0, 1, 0], bool)
    tracked = np.array([0, 0, 1, 0, 0, 1, 0], bool)
    found = recall_by_height(boxes, detected, tracked)
    assert [(h.name, h.labelled, h.detected, h.tracked) for h in found] == [
        ("0-24 px", 3, 1, 0),
        ("24-48 px", 2, 2, 1),
        ("48-96 px", 0, 0, 0),
        ("96-192 px", 1, 0, 0),
        ("192 px and more", 1, 1, 1),
    ]


def test_shots_have_no_precision_where_none_is_found() -> None:
    scores = CutScores(found=0, true=4, matched=0)
    assert (scores.precision, scores.recall) == (None, 0)
    assert CutScores(found=2, true=0, matched=0).recall is None


# A whole title: 8 s, cut at 4 s; Anna, Bert and a poster in shot 1, Anna and a blur in shot 2

SPANS = {
    "anna1": (0.0, 4.0, 0, "p1"),
    "bert1": (0.0, 4.0, 460, "p2"),
    "poster": (1.0, 3.0, 600, "p2"),
    "tree": (1.0, 3.0, 900, None),
    "anna2": (4.0, 8.0, 0, None),
    "blur": (4.0, 8.0, 300, "p1"),
}
WHO = {"anna1": "anna", "bert1": "bert", "poster": "-", "anna2": "anna", "blur": "?"}
SPEED = {name: 100.0 if WHO.get(name) == "anna" else 0.0 for name in SPANS}
STEP = 3 * FRAME


def stored_title(storage: Storage) -> StoredTitle:
    """The title as a run stores it, with its detections; the tree has no label."""
    seconds = np.arange(200, dtype=np.float64) * FRAME
    crops = [
        {
            "track_id": name,
            "frame": frame,
            "seconds": seconds[frame],
            **dict(zip(("x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels"), box, strict=True)),
            "score": 1.0,
            "detected": True,
            "sharpness": 1.0,
            "frontality": 1.0,
            "roll_degrees": 0.0,
            "image": None,
            "face": None,
        }
        for name, (start, end, left, _) in SPANS.items()
        for frame in range(0, 200, 3)
        if start <= seconds[frame] < end
        for box in walk(seconds[[frame]], left, SPEED[name]).tolist()
    ]
    frames = [
        {
            "segment": 0,
            "frame_in_segment": n,
            "seconds": seconds[n],
            "end_seconds": seconds[n],
            "width_pixels": 320,
            "height_pixels": 180,
            "analysed": n % 3 == 0,
            "layout": b"",
            "histogram": b"",
            "motion": None,
            "thumbnail": None,
        }
        for n in range(200)
    ]
    faces = [
        {k: v for k, v in crop.items() if k not in ("track_id", "frame")}
        | {"segment": 0, "frame_in_segment": crop["frame"], "status": "kept"}
        | {"landmarks_pixels": [0.0] * 10}
        for crop in crops
    ]
    storage.write_table("videos/v/detect-x/frames-00000.parquet", make_table(frames, FRAMES))
    storage.write_table("videos/v/detect-x/seg-00000.parquet", make_table(faces, DETECTIONS))
    commit(storage, "videos/v/detect-x", {"segments": 1, "read": [0], "failures": []})
    shots = [
        {
            "video_id": "v",
            "shot_id": f"s{n}",
            "start_frame": 100 * n,
            "end_frame": 100 * n + 100,
            "start_seconds": 4.0 * n,
            "end_seconds": 4.0 * n + 4,
        }
        for n in range(2)
    ]
    tracks = [
        {
            "track_id": name,
            "video_id": "v",
            "shot_id": f"s{int(start >= 4)}",
            "start_seconds": start,
            "end_seconds": end,
            "start_frame": int(start / FRAME),
            "end_frame": int(end / FRAME),
            "crops": 1,
            "quality": 1.0,
            "status": "clustered" if person else "unknown",
            "reason": None if person else "unrecognisable",
            "person_id": person,
            "confidence": 1.0,
        }
        for name, (start, end, _, person) in SPANS.items()
    ]
    summary = {
        "title": "film",
        "videos": [{"video_id": "v", "uri": "film.mp4"}],
        "keys": {"detect": ["videos/v/detect-x"]},
    }
    return StoredTitle(
        title_id="film",
        folder="titles/film/cluster-x",
        summary=summary,
        people=PEOPLE.empty_table(),
        tracks=make_table(tracks, RESULT_TRACKS),
        appearances=APPEARANCES.empty_table(),
        merges=MERGES.empty_table(),
        shots=make_table(shots, SHOTS),
        crops=make_table(crops, CROPS),
    )


def labelled_every(interval: float, by_frame: bool = False) -> Labels:
    """Where everybody is, at times that are not those of analysed frames unless each frame is."""
    start = 0.0 if by_frame else 0.33 * interval
    rows = [
        (time, WHO[name], *walk(np.array([time]), left, SPEED[name])[0].tolist())
        for time in np.arange(start, 8 - 1e-6, interval).tolist()
        for name, (first, last, left, _) in SPANS.items()
        if name in WHO and first <= time < last
    ]
    times = np.array([row[0] for row in rows])
    return Labels(
        frame=np.round(times / FRAME).astype(np.int64) if by_frame else None,
        seconds=None if by_frame else times,
        boxes=np.array([row[2:] for row in rows], np.float32),
        identity=[row[1] for row in rows],
    )


def scores_of(truth: Labels, folder: Path, cuts: list[float] | None = None) -> TitleScores:
    storage = Storage.open(str(folder))
    starts = {} if cuts is None else {"v": np.array(cuts)}
    return score_title(match_title(stored_title(storage), {"v": truth}, starts, storage))


@pytest.mark.parametrize("interval", [FRAME, 0.1, 0.125, 0.5, 1.0])
def test_scores_do_not_depend_on_the_rate_of_the_labels(interval: float, tmp_path: Path) -> None:
    found = scores_of(labelled_every(interval, by_frame=interval == FRAME), tmp_path)
    assert asdict(found.people) == {
        "there": 2,
        "found": 2,
        "made": 2,
        "of_no_face": 0,
        "mixed": 1,  # Bert with the poster; the blur beside Anna does not count
    }
    assert (found.tracks_scored, found.tracks_unknown, found.tracks_unlabelled) == (3, 2, 1)
    assert found.unknown_seconds_fraction == pytest.approx(1 / 3)  # Anna in shot 2
    assert (found.scores.wcp, found.scores.clusters, found.scores.identities) == (1, 2, 2)
    assert (found.detection_recall, found.track_recall) == (1, 1)
    assert [h.labelled > 0 for h in found.heights] == [False, False, True, False, False]
    assert found.cuts is None


def test_shots_are_compared_within_a_fifth_of_a_second(tmp_path: Path) -> None:
    truth = labelled_every(1.0)
    cuts = scores_of(truth, tmp_path / "near", [4.19, 6.0]).cuts
    assert cuts == CutScores(found=1, true=2, matched=1)
    assert scores_of(truth, tmp_path / "far", [4.21]).cuts == CutScores(1, 1, 0)
    none = scores_of(truth, tmp_path / "none", [])
    assert none.cuts == CutScores(1, 0, 0)
    assert none.as_dict()["shots"]["recall"] is None
    assert none.people_row()[-1] == "0.0000 / -"


def test_missed_faces_lower_the_recall(tmp_path: Path) -> None:
    truth = labelled_every(0.5)
    truth.boxes[np.array(truth.identity) == "bert"] += 500  # where no track is
    found = scores_of(truth, tmp_path)
    assert found.detection_recall == found.track_recall == pytest.approx(2 / 3)
    assert found.people.found == 1
    assert asdict(found.people)["of_no_face"] == 1  # p2: what was Bert's track, and the poster


# Files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,frame,x0,y0,x1,identity\n", "lacks y1"),
        ("video,x0,y0,x1,y1,identity\n", "lacks frame or seconds"),
        ("video,frame,x0,y0,x1,y1,identity\na,first,0,0,1,1,b\n", "is not a number"),
        ("video,frame,x0,y0,x1,y1,identity\na,99999999999999999999,0,0,1,1,b\n", "from 0 on"),
        ("video,frame,x0,y0,x1,y1,identity\na,-1,0,0,1,1,b\n", "from 0 on"),
        ("", "cannot be read as CSV"),
        ("video,frame,x0,x0,y0,x1,y1,identity\n", "more than once: x0"),
        ("video,frame,x0,y0,x1,y1,identity\na,,0,0,1,1,b\n", "empty cells in frame"),
        ("video,frame,x0,y0,x1,y1,identity\na,1,0,0,1,1,\n", "empty cells in identity"),
        ("video,seconds,x0,y0,x1,y1,identity\na,nan,0,0,1,1,b\n", "not finite|empty cells"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_labels(path)


def test_labels_are_grouped_by_video(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{HEADER}a.mp4,0.5,0,0,1,1,7\nb.mp4,1,0,0,1,1,?\na.mp4,1,2,2,3,3,-\n")
    found = read_labels(path)
    assert found["a.mp4"].identity == ["7", "-"]
    assert found["a.mp4"].frame is None
    np.testing.assert_array_equal(found["a.mp4"].seconds, [0.5, 1.0])
    assert found["b.mp4"].boxes.tolist() == [[0, 0, 1, 1]]
    assert found["b.mp4"].identity == ["?"]


def test_names_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{HEADER}007,0,0,0,1,1,01\n007,0,0,0,1,1,1\n")
    assert read_labels(path)["007"].identity == ["01", "1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labels of three videos: one with cuts, one with a file of none, one without a file."""
    for name in "abc":
        (tmp_path / f"{name}.labels.csv").write_text(f"{HEADER}{name},0,0,0,1,1,x\n")
    (tmp_path / "a.cuts.csv").write_text("video,seconds\na,2.5\na,1\n")
    (tmp_path / "b.cuts.csv").write_text("video,seconds\n")
    (tmp_path / "notes.csv").write_text("not,labels\n")
    return tmp_path


def cuts_of(truth: Truth) -> dict[str, list[float]]:
    return {name: times.tolist() for name, times in truth.cuts.items()}


def test_a_folder_of_labels_with_the_cuts_beside_them(folder: Path) -> None:
    found = read_truth([folder])
    assert list(found.labels) == ["a", "b", "c"]
    assert cuts_of(found) == {"a": [1.0, 2.5], "b": []}
    assert cuts_of(read_truth([folder / "a.labels.csv"])) == {"a": [1.0, 2.5]}


def test_cuts_can_be_named(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "all.csv"
    other.write_text("video,seconds\na,9\nc,3\n")
    found = read_truth([folder / "a.labels.csv", folder / "c.labels.csv"], [other])
    assert cuts_of(found) == {"a": [9.0], "c": [3.0]}
    (tmp_path / "all.cuts.csv").write_text("video,seconds\nz,9\n")
    (tmp_path / "all.csv").write_text(f"{HEADER}z,0,0,0,1,1,x\n")
    assert cuts_of(read_truth([tmp_path / "all.csv"])) == {"z": [9.0]}


def test_labels_of_one_video_in_two_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="labels a, as another file does"):
        read_truth([folder, folder / "a.labels.csv"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"holds no file NAME\.labels\.csv"):
        read_truth([empty])


@pytest.mark.parametrize(
    ("text", "message"),
    [("video\na\n", "lacks seconds"), ("video,seconds\na,soon\n", "is not a number")],
)
def test_wrong_cuts_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cuts.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_cuts(path)


# Time that grows with the rows


def test_labels_of_a_hundred_thousand_videos_are_read_within_seconds(tmp_path: Path) -> None:
    videos = 100_000
    path = tmp_path / "all.labels.csv"
    rows = (f"v{n % videos}.mp4,{n // videos},1,2,30,40,p{n % 7}" for n in range(2 * videos))
    path.write_text("\n".join(["video,frame,x0,y0,x1,y1,identity", *rows]) + "\n")
    (tmp_path / "all.cuts.csv").write_text(
        "\n".join(["video,seconds", *(f"v{n}.mp4,{n / 8}" for n in range(videos))]) + "\n"
    )
    began = process_time()
    truth = read_truth([path])
    assert process_time() - began < 20
    assert len(truth.labels) == len(truth.cuts) == videos
    assert list(truth.labels)[:2] == ["v0.mp4", "v1.mp4"]
    last = truth.labels["v99999.mp4"]
    assert last.frame is not None
    assert (last.frame.tolist(), last.identity) == ([0, 1], ["p4", "p2"])
    assert truth.cuts["v16.mp4"].tolist() == [2.0]


def test_overlaps_of_a_hundred_thousand_frames_are_found_within_seconds() -> None:
    frames = np.repeat(np.arange(100_000), 2)
    boxes = np.tile(np.array([BOX, [20, 0, 30, 10]], np.float32), (100_000, 1))
    found = np.random.default_rng(0).permutation(len(frames))
    began = process_time()
    best = best_overlaps(FrameBoxes(frames, boxes), FrameBoxes(frames[found], boxes[found]))
    assert process_time() - began < 20
    assert best.tolist() == [1.0] * len(frames)
