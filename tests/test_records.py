"""Records: what they print, how they are indexed, and which arrays they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.core_data import made_title
from vcn_ray.errors import ShapeError
from vcn_ray.records import Clustering, Faces, Mask, Merge


def faces() -> Faces:
    return Faces(
        frame=np.array([0, 3, 3]),
        boxes=np.arange(12, dtype=np.float32).reshape(3, 4),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        kept=np.array([True, False, True]),
    )


def test_a_record_prints_types_and_shapes() -> None:
    shown = "Faces(frame=int64[3], boxes=float32[3,4], scores=float32[3], kept=bool[3])"
    assert repr(faces()) == shown
    merge = Merge(1, "closure", 0, 1, 1, 1, 0.5, 0.6, 0.7)
    label, sure = np.zeros(5, np.int64), np.zeros(5, np.float32)
    warnings = ("over_merging: 1 of 2 pairs",)
    found = repr(Clustering(label, sure, sure, (merge,) * 4, ("",) * 5, warnings))
    assert found == (
        "Clustering(label=int64[5], confidence=float32[5], distance=float32[5], merges=<4 Merge>, "
        "reason=<5 str>, warnings=('over_merging: 1 of 2 pairs',))"
    )
    assert "centre=float32[64], teacher_temperature=0.07" in repr(made_title([0, 1]))


@pytest.mark.parametrize("rows", [slice(1, None), [1, 2], np.array([False, True, True])])
def test_rows_are_chosen_like_those_of_an_array(rows: slice | list[int] | Mask) -> None:
    chosen = faces()[rows]
    assert chosen.frame.tolist() == [3, 3]
    assert chosen.boxes[:, 0].tolist() == [4, 8]
    assert chosen.kept.tolist() == [False, True]


def test_one_row_is_a_record_too_and_rows_can_be_iterated() -> None:
    assert faces()[-1].frame.tolist() == [3]
    assert [len(face) for face in iter(faces())] == [1, 1, 1]
    with pytest.raises(IndexError):
        faces()[3]


def test_what_all_tracks_share_stays_whole() -> None:
    outputs = made_title([0, 1, 0])
    some = outputs[np.array([2, 0])]
    assert len(some) == 2
    assert np.array_equal(some.output, outputs.output[[2, 0]])
    assert np.array_equal(some.centre, outputs.centre)
    assert some.teacher_temperature == outputs.teacher_temperature


def test_arrays_of_different_length_are_refused() -> None:
    whole = faces()
    with pytest.raises(ShapeError, match=r"Faces.scores needs 3 rows, got \(2,\)"):
        Faces(whole.frame, whole.boxes, whole.scores[:2], whole.kept)
    with pytest.raises(ShapeError, match="confidence needs 5 rows"):
        Clustering(np.zeros(5, np.int64), np.zeros(4, np.float32), np.zeros(5, np.float32), (), ())
