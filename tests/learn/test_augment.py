from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.helpers.synth import PIXELS, crops_of
from vcn_ray.learn.augment import AugmentConfig, augment, draw, gaussian_blur, plain

STILL = AugmentConfig(
    rotation_degrees=0,
    scale=0,
    shift=0,
    mirror_chance=0,
    colour_temperature=0,
    gain=0,
    blur_chance=0,
)


def crops(count: int = 6) -> torch.Tensor:
    return torch.from_numpy(crops_of(np.arange(count), 1))


def drawn(config: AugmentConfig, seed: int = 0, count: int = 6) -> torch.Tensor:
    changes = draw(count, config, torch.Generator().manual_seed(seed))
    return augment(crops(count), changes)


def as_images(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.permute(0, 3, 1, 2).float()


def test_no_change_gives_the_crops_back() -> None:
    torch.testing.assert_close(drawn(STILL), as_images(crops()), atol=1e-3, rtol=0)
    torch.testing.assert_close(augment(crops(), plain(6)), as_images(crops()), atol=1e-3, rtol=0)


def test_mirrored_is_the_flip() -> None:
    flipped = as_images(crops()).flip(3)
    torch.testing.assert_close(augment(crops(), plain(6, True)), flipped, atol=1e-3, rtol=0)
    torch.testing.assert_close(drawn(replace(STILL, mirror_chance=1)), flipped, atol=1e-3, rtol=0)


def test_the_seed_decides_and_each_crop_differs() -> None:
    config = AugmentConfig()
    assert torch.equal(drawn(config), drawn(config))
    assert not torch.equal(drawn(config), drawn(config, seed=1))
    changes = draw(6, config, torch.Generator().manual_seed(0))
    assert len(np.unique(changes.affine.flatten(1), axis=0)) == 6


def test_rows_and_batches_do_not_change_a_crop() -> None:
    changes = draw(6, AugmentConfig(blur_chance=0.5), torch.Generator().manual_seed(3))
    rows = torch.tensor([4, 1])
    whole = augment(crops(), changes)
    torch.testing.assert_close(augment(crops()[rows], changes.rows(rows)), whole[rows])


def test_values_stay_in_range() -> None:
    loud = drawn(AugmentConfig(gain=2.0))
    assert loud.min() >= 0
    assert loud.max() <= 255
    assert augment(crops()[:0], plain(0)).shape == (0, 3, PIXELS, PIXELS)


def test_warmth_moves_red_and_blue_in_opposite_ways() -> None:
    changes = draw(400, replace(STILL, colour_temperature=0.2), torch.Generator().manual_seed(0))
    red, green, blue = changes.gains.log().T
    torch.testing.assert_close(red, -blue)
    assert green.abs().max() == 0
    assert abs(float(red.std()) - 0.2) < 0.03


def test_rotation_turns_about_the_middle() -> None:
    picture = torch.zeros(1, 33, 33, 3, dtype=torch.uint8)
    picture[0, 16, 16] = 255  # the middle stays
    picture[0, 16, 26] = 255  # ten to the right
    changes = plain(1)
    changes.affine[0] = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # a quarter turn
    turned = augment(picture, changes)[0, 0]
    assert {tuple(at) for at in (turned > 200).nonzero().tolist()} in (
        {(16, 16), (26, 16)},
        {(16, 16), (6, 16)},
    )


def test_blur_is_a_gaussian_of_the_given_width() -> None:
    picture = torch.zeros(2, 1, 41, 41)
    picture[:, :, 20, 20] = 1
    blurred = gaussian_blur(picture, torch.tensor([1.0, 2.5]))
    torch.testing.assert_close(blurred.sum(dim=(1, 2, 3)), torch.ones(2))
    steps = torch.arange(41) - 20.0
    for image, sigma in zip(blurred, (1.0, 2.5), strict=True):
        variance = float((image[0].sum(0) * steps**2).sum())
        assert abs(variance**0.5 - sigma) < 0.06
