from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.dlib_nets import dlib_detector
from tests.helpers.photographs import face_at_edge, group, large_face, portrait, two_faces
from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.dlib_detector import Mmod, suppress
from vcn_ray.models.dlib_weights import MMOD_FILE, RESNET_FILE, MmodOptions, model_file
from vcn_ray.records import U8

OPTIONS = MmodOptions(window=(80, 80), overlap=0.3, covered=1.0)


@pytest.fixture(scope="module")
def network() -> Mmod:
    return Mmod(model_file(MMOD_FILE).read_bytes())


def check_against_dlib(network: Mmod, picture: U8, faces: int) -> None:
    ours = network.find(picture[None])[0]
    theirs = dlib_detector()(picture, 0)
    assert len(theirs) == faces
    wanted = [(d.rect.left(), d.rect.top(), d.rect.right(), d.rect.bottom()) for d in theirs]
    # the same cells of the same pyramid: not only close (IoU 0.95), but equal to the pixel
    assert ours.rectangles.tolist() == [list(r) for r in wanted]
    np.testing.assert_allclose(ours.scores, [d.confidence for d in theirs], atol=1e-3)


@pytest.mark.parametrize(("picture", "faces"), [(two_faces, 2), (face_at_edge, 1), (large_face, 1)])
def test_boxes_and_scores_equal_dlibs_own(network, picture, faces):
    check_against_dlib(network, picture(), faces)


@pytest.mark.slow
def test_a_group_of_six_equals_dlibs_own(network):
    check_against_dlib(network, group(), 6)


def test_each_frame_of_a_batch_gets_its_own_faces(network):
    picture = two_faces()
    frames = np.stack([picture, np.zeros_like(picture), picture[:, ::-1]])
    both, none, mirrored = network.find(frames)
    alone = network.find(frames[:1])[0]
    np.testing.assert_array_equal(both.rectangles, alone.rectangles)
    assert len(none.rectangles) == 0
    assert len(mirrored.rectangles) == 2
    width = picture.shape[1]
    middles, wanted = (np.sort(b.rectangles[:, ::2].mean(axis=1)) for b in (mirrored, both))
    # windows lie 8 pixels apart on a level, 14 on the level of these faces
    np.testing.assert_allclose(np.sort(width - 1 - middles), wanted, atol=20)


def test_the_threshold_decides_what_is_a_face(network):
    picture = group()[None, 60:380, 300:720]  # a whole face, and one that the edge cuts
    scores = network.find(picture)[0].scores
    assert scores[0] > 1 > scores[1] > 0
    assert len(network.find(picture, threshold=0.7)[0].scores) == 1
    assert len(network.find(picture, threshold=2)[0].scores) == 0
    more = network.find(picture, threshold=-1.2)[0].scores
    assert len(more) > 2
    assert (more > -1.2).all()
    assert (np.diff(more) <= 0).all()


def test_faces_under_the_window_are_missed_and_just_over_it_found(network):
    face = portrait()[:240, 96:336]  # one face, 96 pixels high by the detector's box
    assert len(network.find(face[None])[0].scores) == 1
    small = np.ascontiguousarray(face[::2, ::2])
    assert len(network.find(small[None])[0].scores) == 0


@pytest.mark.parametrize("size", [(1, 1), (6, 300), (7, 7), (300, 8)])
def test_frames_too_small_for_a_face_have_none(network, size):
    found = network.find(np.zeros((2, *size, 3), np.uint8))
    assert [f.rectangles.shape for f in found] == [(0, 4)] * 2


def test_frames_may_be_read_only_or_views_or_none(network):
    frames = np.stack([two_faces()] * 2)[:, ::-1, ::-1]
    frames.setflags(write=False)
    assert len(network.find(frames)) == 2
    assert network.find(frames[:0]) == []


@pytest.mark.parametrize("shape", [(2, 90, 90), (1, 90, 90, 4)])
def test_other_arrays_are_refused(network, shape):
    with pytest.raises(ShapeError, match="frames need"):
        network.find(np.zeros(shape, np.uint8))
    with pytest.raises(ShapeError, match="float32"):
        network.find(np.zeros((1, 90, 90, 3), np.float32))


def test_another_networks_file_is_refused():
    with pytest.raises(PackError, match="not dlib's face detector"):
        Mmod(model_file(RESNET_FILE).read_bytes())


def test_the_stronger_of_two_overlapping_boxes_stays():
    boxes = np.array([[0, 0, 9, 9], [1, 1, 10, 10], [40, 0, 49, 9]])
    kept = suppress(boxes, np.array([0.5, 0.9, 0.1], np.float32), OPTIONS)
    assert kept.rectangles.tolist() == [[1, 1, 10, 10], [40, 0, 49, 9]]
    np.testing.assert_allclose(kept.scores, [0.9, 0.1])


def test_overlap_is_measured_by_the_hull_of_both():
    # 5x5 common pixels: of the union 25 / 175 in both cases, of the hull 25 / 225
    corner = np.array([[0, 0, 9, 9], [5, 5, 14, 14]])
    scores = np.array([1, 0.5], np.float32)
    between = MmodOptions(window=(80, 80), overlap=0.13, covered=1.0)
    assert len(suppress(corner, scores, between).scores) == 2
    below = MmodOptions(window=(80, 80), overlap=0.11, covered=1.0)
    assert len(suppress(corner, scores, below).scores) == 1


def test_a_box_mostly_inside_another_goes_where_the_file_says_so():
    inside = np.array([[0, 0, 39, 39], [0, 0, 9, 9]])
    scores = np.array([1, 0.5], np.float32)
    assert len(suppress(inside, scores, OPTIONS).scores) == 2
    strict = MmodOptions(window=(80, 80), overlap=0.3, covered=0.9)
    assert len(suppress(inside, scores, strict).scores) == 1


@pytest.mark.gpu
def test_a_gpu_finds_the_same_faces(network):
    assert torch.cuda.is_available(), "this test is for a machine with a CUDA device"
    frames = np.stack([two_faces()] * 10)
    on_gpu = Mmod(model_file(MMOD_FILE).read_bytes()).to("cuda").find(frames)
    for ours, wanted in zip(on_gpu, network.find(frames), strict=True):
        np.testing.assert_array_equal(ours.rectangles, wanted.rectangles)
        np.testing.assert_allclose(ours.scores, wanted.scores, atol=0.02)
