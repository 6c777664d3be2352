"""A cut-out shows the whole of one person, and none of the neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.sample_helpers import Detector, overlap
from vcn_ray.sample.cutouts import cut_out
from vcn_ray.sample.portraits import PORTRAITS, Portrait

everybody = pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda portrait: portrait.identity)


@everybody
def test_a_cut_out_holds_the_one_face(portrait: Portrait, find_faces: Detector) -> None:
    rgba, face = cut_out(portrait)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    shown = (rgba[..., :3] * alpha + 128 * (1 - alpha)).astype(np.uint8)
    found = find_faces(np.pad(shown, ((20, 20), (20, 20), (0, 0))), 1)
    assert len(found) == 1
    assert overlap(face, found[0] - 20) > 0.5


@everybody
def test_a_cut_out_is_solid_at_the_face_and_clear_at_the_top(portrait: Portrait) -> None:
    rgba, face = cut_out(portrait)
    x0, y0, x1, y1 = face.astype(int)
    middle = rgba[(y0 + y1) // 2 - 20 : (y0 + y1) // 2 + 20, (x0 + x1) // 2 - 20 :][:, :40, 3]
    assert middle.min() == 255
    assert rgba[0, :, 3].max() == 0
    assert rgba[:, 0, 3].max() == 0
    assert len(np.unique(rgba[..., 3])) > 50  # soft edges


@everybody
def test_a_body_reaches_below_every_frame(portrait: Portrait) -> None:
    rgba, face = cut_out(portrait)
    opaque = np.flatnonzero(rgba[..., 3].max(axis=1) > 250)
    assert (opaque[-1] - face[3]) / (face[3] - face[1]) > 2.2


def test_colours_continue_beyond_the_edge() -> None:
    """Otherwise blending would show a rim of the old background."""
    rgba = cut_out(PORTRAITS[6]).rgba.astype(np.int64)
    edge = (rgba[..., 3] > 60) & (rgba[..., 3] < 200)
    edge[160:] = False  # the hair in front of a bright wall is skipped
    assert rgba[..., :3][edge].mean() < 150
