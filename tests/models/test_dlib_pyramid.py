from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vcn_ray.models.dlib_pyramid import GAP, MARGIN, fill, tile, to_picture

SIZES = [(360, 640), (640, 360), (480, 480), (97, 1000), (1000, 97), (7, 7), (1080, 1920)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_levels_shrink_by_five_sixths_and_keep_apart(height: int, width: int) -> None:
    tiling = tile(height, width)
    used = np.zeros((tiling.height, tiling.width), int)
    for level, (left, top, right, bottom) in enumerate(tiling.levels):
        h, w = bottom - top + 1, right - left + 1
        assert (h, w) == (height, width)
        assert min(left, top) >= MARGIN
        assert right + MARGIN < tiling.width
        assert bottom + MARGIN < tiling.height
        if level:  # the second column may come up to the first level, which dlib allows
            grown = used[top - GAP + 1 : bottom + GAP, left : right + 1]
            assert set(np.unique(grown)) <= {0, 1}
        assert not used[top : bottom + 1, left : right + 1].any()
        used[top : bottom + 1, left : right + 1] = level + 1
        height, width = math.floor(height * 5 / 6), math.floor(width * 5 / 6)


def test_the_second_column_saves_room() -> None:
    tiling = tile(480, 640)
    assert (tiling.levels[:, 0] > MARGIN).any()
    assert tiling.height < sum(b - t + 1 + GAP for _, t, _, b in tiling.levels.tolist())


def test_each_level_shows_the_whole_picture() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 120), torch.linspace(-1, 1, 160), indexing="ij")
    picture = torch.stack([x, y, x * 0 + 0.5])[None]
    tiling = tile(120, 160)
    tiles = fill(picture, tiling)
    assert tiles.shape == (1, 3, tiling.height, tiling.width)
    outside = torch.ones(tiles.shape[2:], dtype=torch.bool)
    for left, top, right, bottom in tiling.levels.tolist():
        level = tiles[0, :, top : bottom + 1, left : right + 1]
        outside[top : bottom + 1, left : right + 1] = False
        h, w = level.shape[1:]
        torch.testing.assert_close(level[0, 0], torch.linspace(-1, 1, w), atol=1e-3, rtol=0)
        torch.testing.assert_close(level[1, :, 0], torch.linspace(0, 1, h), atol=1e-3, rtol=0)
        assert (level[2] - 0.5).abs().max() < 1e-6
    assert tiles[0, :, outside].abs().max() == 0


def test_windows_grow_with_the_level_and_keep_their_place() -> None:
    height, width = 720, 1280
    tiling = tile(height, width)
    for level, (left, top, right, bottom) in enumerate(tiling.levels[:10]):
        centre = np.array([[(left + right) / 2, (top + bottom) / 2]])
        (rectangle,) = to_picture(centre, (80, 80), tiling)
        side = 79 * 1.2**level + 1
        np.testing.assert_allclose(rectangle[2:] - rectangle[:2] + 1, side, atol=1)
        # dlib adds 0.3 pixel a level on the way up, so places drift by a little
        middle = (rectangle[:2] + rectangle[2:]) / 2
        np.testing.assert_allclose(middle, [width / 2, height / 2], atol=1 + 2 * 1.2**level)


def test_a_place_between_levels_belongs_to_the_closer_one() -> None:
    tiling = tile(300, 400)
    below_first = tiling.levels[0, 3]
    near_first, near_second = ([[100.0, below_first + d]] for d in (4, 7))
    sides = [
        np.ptp(to_picture(np.array(p), (80, 80), tiling)[0, [0, 2]]) + 1
        for p in (near_first, near_second)
    ]
    assert sides == [80, 96]
