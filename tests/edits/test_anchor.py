"""Anchors: a track is found again where its face is seen, and nothing is guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.corrections import ENCODER, LEFT, RIGHT, Seen, index_of
from vcn_ray.edits.anchor import Found, TrackIndex, iou, is_same_face
from vcn_ray.edits.record import Anchor

NEAR = (250.0, 100.0, 350.0, 220.0)


def anchor_of(seen: Seen, encoder: str = "") -> Anchor:
    (anchor,) = index_of([seen], encoder).anchors([seen.track_id])
    return anchor


def found(anchor: Anchor, *seen: Seen) -> Found:
    return index_of(seen).find(anchor)


def test_a_track_finds_itself() -> None:
    seen = Seen("a", start=1.0, end=9.0, move=(5, -3))
    assert found(anchor_of(seen), replace(seen, track_id="x"), Seen("y", box=RIGHT)) == Found(
        ("x",), "box"
    )


def test_in_its_own_result_the_id_says_all() -> None:
    one, two = Seen("a"), Seen("b")  # in one place
    index = index_of([one, two])
    (anchor,) = index.anchors(["b"])
    assert index.find(anchor, exact=True) == Found(("b",), "id")
    assert index.find(anchor).tracks == ()


def test_an_id_of_another_track_in_a_result_made_again_says_nothing() -> None:
    anchor = anchor_of(Seen("a", start=0, end=4))
    again = index_of([Seen("a", start=5, end=9), Seen("b", start=0, end=4.04)])
    assert again.find(anchor, exact=True) == Found(("b",), "box")


@pytest.mark.parametrize("jitter", [2.0, 6.0])
@pytest.mark.parametrize("fps", [2.0, 5.0, 12.5])
def test_a_track_is_found_among_jittered_boxes(jitter: float, fps: float) -> None:
    old = [Seen("a", move=(20, 5)), Seen("b", box=RIGHT), Seen("c", start=5, end=6)]
    new = [replace(each, track_id=f"n{each.track_id}", jitter=jitter, fps=fps) for each in old]
    index = index_of(new)
    for each in old:
        assert index.find(anchor_of(each)).tracks == (f"n{each.track_id}",)


def test_a_fast_face_is_found_between_the_frames_of_a_coarse_run() -> None:
    old = Seen("a", end=2, move=(150, 0))
    assert found(anchor_of(old), replace(old, track_id="x", fps=2.0)).tracks == ("x",)


def test_boxes_of_another_detector_find_it() -> None:
    wide = (85.0, 80.0, 215.0, 235.0)
    assert found(anchor_of(Seen("a")), Seen("x", box=wide), Seen("y", box=RIGHT)).tracks == ("x",)


def test_a_track_that_is_cut_in_parts_is_all_of_them() -> None:
    anchor = anchor_of(Seen("a", end=8))
    parts = [Seen("x-1", end=3), Seen("x-2", start=3, end=5), Seen("x-3", start=5.5, end=8)]
    assert found(anchor, *parts, Seen("y", box=RIGHT, end=8)).tracks == ("x-1", "x-2", "x-3")


def test_a_part_finds_the_whole() -> None:
    whole = Seen("x", end=20)
    assert found(anchor_of(Seen("a-2", start=3, end=5)), whole).tracks == ("x",)


def test_crossing_faces_are_told_apart() -> None:
    one = Seen("a", box=LEFT, move=(75, 0))  # they pass each other after two seconds
    two = Seen("b", box=RIGHT, move=(-75, 0))
    index = index_of([replace(one, track_id="x", jitter=3), replace(two, track_id="y", jitter=3)])
    assert index.find(anchor_of(one)).tracks == ("x",)
    assert index.find(anchor_of(two)).tracks == ("y",)


@pytest.mark.parametrize("at", [2.0, 1.0, 3.0])
def test_where_faces_swap_a_track_is_never_of_both(at: float) -> None:
    """A tracker that swaps two faces at a time: each new track is one face, then the other."""
    old = [Seen("a", box=LEFT), Seen("b", box=RIGHT)]
    swapped = index_of([Seen("x", end=at), Seen("y", end=at, box=RIGHT)])
    later = index_of([Seen("x", start=at, box=RIGHT), Seen("y", start=at, box=LEFT)])
    for part in swapped, later:
        assert [part.find(anchor_of(each)).how for each in old] == ["box", "box"]
    both = _joined({"x": [(LEFT, 0, at), (RIGHT, at, 4)], "y": [(RIGHT, 0, at), (LEFT, at, 4)]})
    finds = [both.find(anchor_of(each)).tracks for each in old]
    mostly = {2.0: [(), ()], 1.0: [("y",), ("x",)], 3.0: [("x",), ("y",)]}
    assert finds == mostly[at]


def _joined(
    tracks: dict[str, list[tuple[tuple[float, float, float, float], float, float]]],
) -> TrackIndex:
    """Tracks that jump from box to box."""
    import pyarrow as pa

    from tests.helpers.corrections import tables

    parts = [
        [Seen(name, start=start, end=end, box=box) for box, start, end in boxes]
        for name, boxes in tracks.items()
    ]
    whole = tables([replace(each[0], end=each[-1].end) for each in parts])[0]
    faces = pa.concat_tables([tables(each)[1] for each in parts])
    return TrackIndex(whole, faces)


def test_after_a_cut_another_face_in_its_place_is_not_it() -> None:
    anchor = anchor_of(Seen("a", start=0, end=2))
    assert found(anchor, Seen("x", start=2.0, end=4)) == Found((), "lost")
    short = anchor_of(Seen("a", start=1.8, end=2.0))
    assert found(short, Seen("x", start=2.0, end=4), Seen("y", start=0, end=1.8)).tracks == ()


def test_two_faces_in_one_place_are_not_clear() -> None:
    near = (104.0, 100.0, 204.0, 220.0)
    assert found(anchor_of(Seen("a")), Seen("x"), Seen("y", box=near)) == Found((), "lost")


def test_elsewhere_and_in_other_videos_nothing_is_found() -> None:
    anchor = anchor_of(Seen("a"))
    assert found(anchor, Seen("x", box=NEAR)).how == "lost"
    assert found(anchor, Seen("x", video="other-0123456789ab")).how == "lost"
    assert found(anchor, Seen("x", start=100, end=104)).how == "lost"
    assert found(anchor).how == "lost"


def test_where_boxes_fail_the_embedding_decides() -> None:
    """As in a video that is turned now."""
    anchor = anchor_of(Seen("a", face=3), ENCODER)
    turned = [Seen("x", box=(0, 300, 80, 400), face=3), Seen("y", box=NEAR, face=4)]
    index = index_of(turned, ENCODER)
    assert index.find(anchor, ENCODER, elsewhere=True) == Found(("x",), "embedding")
    assert index.find(anchor, "other", elsewhere=True).how == "lost"  # of another encoder
    assert index_of(turned).find(anchor, ENCODER, elsewhere=True).how == "lost"  # not kept
    assert (
        index.find(replace(anchor, embedding="AAAA"), ENCODER, elsewhere=True).how == "lost"
    )  # of another size


def test_an_embedding_alone_does_not_decide_between_two() -> None:
    anchor = anchor_of(Seen("a", face=3), ENCODER)
    twins = [Seen("x", box=NEAR, face=3), Seen("y", box=RIGHT, face=3)]
    assert index_of(twins, ENCODER).find(anchor, ENCODER, elsewhere=True).how == "lost"
    assert (
        index_of([Seen("x", box=NEAR, face=4)], ENCODER).find(anchor, ENCODER, elsewhere=True).how
        == "lost"
    )
    later = Seen("x", start=3.5, end=9, box=NEAR, face=3)
    assert index_of([later], ENCODER).find(anchor, ENCODER, elsewhere=True).how == "lost"


def test_a_like_face_in_another_place_is_another_one() -> None:
    """Unless nothing of the video is where it was."""
    anchor = anchor_of(Seen("a", face=3), ENCODER)
    index = index_of([Seen("x", box=NEAR, face=3)], ENCODER)
    assert index.find(anchor, ENCODER).how == "lost"


def test_a_video_that_is_shown_otherwise_is_known_by_all_its_anchors() -> None:
    old = [Seen(f"a{n}", start=10 * n, end=10 * n + 4) for n in range(5)]
    anchors = index_of(old).anchors([each.track_id for each in old])
    moved = [replace(each, box=RIGHT) for each in old]
    assert index_of(moved).videos_elsewhere(anchors) == {old[0].video}
    assert index_of(moved).videos_elsewhere(anchors[:4]) == frozenset()  # too few to say
    assert index_of([*moved[2:], *old[:2]]).videos_elsewhere(anchors) == frozenset()
    assert index_of(old).videos_elsewhere(anchors) == frozenset()


def test_a_track_without_faces_has_an_anchor() -> None:
    index = index_of([Seen("a", start=1, end=1)])
    (anchor,) = index.anchors(["a"])
    assert anchor.boxes == ()
    assert index.find(anchor).how == "lost"
    with pytest.raises(KeyError):
        index.anchors(["b"])


def test_an_anchor_holds_boxes_of_all_its_time() -> None:
    anchor = anchor_of(Seen("a", start=10, end=90))
    times = [box[0] for box in anchor.boxes]
    assert len(times) == 8
    assert np.diff(times) == pytest.approx([10.0] * 7, abs=0.4)
    assert len(anchor_of(Seen("a", end=0.5)).boxes) == 3


def test_two_anchors_of_one_face_are_known_as_such() -> None:
    old = anchor_of(Seen("a", end=8, move=(20, 0)))
    assert is_same_face(old, anchor_of(Seen("x", start=2, end=4, box=(142, 103, 240, 220))))
    assert not is_same_face(old, anchor_of(Seen("x", end=8, box=RIGHT)))
    assert not is_same_face(old, anchor_of(Seen("x", start=8, end=12)))
    assert not is_same_face(old, anchor_of(Seen("x", end=8, video="other-0123456789ab")))
    assert not is_same_face(old, replace(old, boxes=()))


def test_overlap_of_boxes() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    assert iou(boxes, np.array([0, 0, 2, 2], np.float32)) == pytest.approx([1, 1 / 3, 0, 0])
