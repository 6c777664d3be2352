"""Seeded random changes of aligned crops (METHOD 2.2), batched in torch on any device.

Drawing the changes and applying them are two functions: the few numbers that change a crop can be
stored, and its picture made again at any time, in any batch. It knows nothing of tracks, encoders
or training.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional

from vcn_ray.bounds import STRICT, Fraction, NonNegative

BLUR_REACH = 3.0
"""Radius of the blur's window in standard deviations."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentConfig:
    """Strength of the changes. Lengths are fractions of the crop's side."""

    rotation_degrees: NonNegative = 7.0  # standard deviation
    scale: NonNegative = 0.04  # standard deviation around 1
    shift: NonNegative = 0.018  # standard deviation; 2 pixels of 112
    mirror_chance: Fraction = 0.5
    colour_temperature: NonNegative = 0.15  # standard deviation of log(gain of red); blue's is
    # the opposite
    gain: NonNegative = 0.25  # standard deviation of its log
    blur_chance: Fraction = 0.3
    min_blur: NonNegative = 0.0036  # standard deviation of the Gaussian, 0.4 pixels of 112
    max_blur: NonNegative = 0.018


class Augmentation(NamedTuple):
    """The change of each of m crops, float32."""

    affine: Tensor  # (m, 2, 3) from a pixel of the result to its place in the source, both in -1..1
    gains: Tensor  # (m, 3) factors of red, green, blue
    blur: Tensor  # (m,) standard deviation as a fraction of the crop's side; 0: none

    def rows(self, rows: Tensor) -> Augmentation:
        """Return the changes of some of the crops, by row numbers (b,)."""
        return Augmentation(self.affine[rows], self.gains[rows], self.blur[rows])


def plain(count: int, mirrored: bool = False) -> Augmentation:
    """Return changes that leave `count` crops as they are, or only mirror them."""
    affine = torch.tensor([[-1.0 if mirrored else 1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return Augmentation(affine.repeat(count, 1, 1), torch.ones(count, 3), torch.zeros(count))


def draw(count: int, config: AugmentConfig, generator: torch.Generator) -> Augmentation:
    """Draw random changes for `count` crops, on the CPU so that every device gets the same ones."""

    def normal(deviation: float) -> Tensor:
        return torch.randn(count, generator=generator) * deviation

    def chance(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    angle = torch.deg2rad(normal(config.rotation_degrees))
    scale = (1 + normal(config.scale)).clamp(min=0.5)
    mirror = torch.where(chance(config.mirror_chance), -1.0, 1.0)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    shift_x, shift_y = 2 * normal(config.shift), 2 * normal(config.shift)  # -1..1 spans two units
    affine = torch.stack(
        [
            torch.stack([mirror * cosine, -mirror * sine, shift_x], dim=1),
            torch.stack([sine, cosine, shift_y], dim=1),
        ],
        dim=1,
    )
    warmth, gain = normal(config.colour_temperature), normal(config.gain)
    gains = torch.exp(torch.stack([gain + warmth, gain, gain - warmth], dim=1))
    above = torch.rand(count, generator=generator) * (config.max_blur - config.min_blur)
    blur = torch.where(chance(config.blur_chance), config.min_blur + above, 0.0)
    return Augmentation(affine, gains, blur)


def augment(crops: Tensor, changes: Augmentation) -> Tensor:
    """Apply changes to crops.

    Args:
        crops: (b, p, p, 3) uint8 RGB.
        changes: One row for each crop, on any device.

    Returns:
        (b, 3, p, p) float32 RGB in 0..255, on the device of the crops.
    """
    images = crops.permute(0, 3, 1, 2).float()
    if not len(images):
        return images
    changes = Augmentation(*(part.to(images.device) for part in changes))
    grid = functional.affine_grid(changes.affine, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    images = images * changes.gains[:, :, None, None]
    blurred = changes.blur.nonzero().flatten()
    if len(blurred):
        sigma = changes.blur[blurred] * images.shape[-1]
        images[blurred] = gaussian_blur(images[blurred], sigma)
    return images.clamp(0, 255)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each of (b, c, h, w) images by its own standard deviation (b,) in pixels."""
    count, channels, height, width = images.shape
    reach = min(int(torch.ceil(BLUR_REACH * sigma.max())), height - 1, width - 1)
    steps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None]  # (b * c, 1, window)
    flat = images.reshape(1, count * channels, height, width)
    flat = functional.pad(flat, (reach, reach, reach, reach), mode="reflect")
    flat = functional.conv2d(flat, kernel[:, :, None, :], groups=count * channels)
    flat = functional.conv2d(flat, kernel[:, :, :, None], groups=count * channels)
    return flat.reshape(images.shape)
