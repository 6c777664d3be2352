"""Photographs are read as they look, and a damaged one costs a bounded time."""

from __future__ import annotations

import io
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vcn_ray.errors import UsageError
from vcn_ray.io.photos import MAX_PIXELS, read_photo


def test_pictures_of_many_kinds_are_read(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64 * 48).reshape(64, 48).astype(np.uint8)
    kinds = {
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "float.tiff": Image.fromarray(grey.astype(np.float32) / 255),
        "cmyk.jpg": Image.fromarray(grey).convert("RGB").convert("CMYK"),
        "a:b.png": Image.fromarray(grey),
        "-x.webp": Image.fromarray(grey).convert("RGB"),
    }
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
        read = read_photo(tmp_path / name)
        assert read.shape == (64, 48, 3)
        assert np.abs(read.astype(int) - grey[..., None]).max() < 12, name


def test_a_camera_s_turn_is_followed(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    exif = picture.getexif()
    exif[274] = 6  # a quarter turn
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_photo(tmp_path / "turned.jpg").shape == (60, 40, 3)


def test_what_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (8000, 9000)).save(path, compress_level=1)
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"was not read within 0\.05 s.*save it again") as caught:
        read_photo(path, max_seconds=0.05)
    assert time.monotonic() - begun < 10
    assert "\n" not in str(caught.value)


def test_other_kinds_and_too_many_pixels_are_one_line(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.eps")
    (tmp_path / "b.jpg").write_text("no picture")
    for name in ("a.eps", "b.jpg"):
        with pytest.raises(UsageError, match=r"cannot be read as a picture: .*use a JPEG, PNG"):
            read_photo(tmp_path / name)
    Image.new("1", (MAX_PIXELS // 100 + 1, 100)).save(tmp_path / "c.png")
    with pytest.raises(UsageError, match="has more than 80,000,000 pixels"):
        read_photo(tmp_path / "c.png")


def _outcome(path: Path) -> str:
    """Number of channels, or what is said of the picture."""
    try:
        return str(read_photo(path, max_seconds=20).shape[2])
    except UsageError as error:
        return str(error).removeprefix(f"{path} ")


def test_damaged_tiffs_end_in_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "TIFF")
    rng = random.Random(1)
    for number in range(6):
        data = bytearray(whole.getvalue())
        for _ in range(3 + number):
            data[rng.randrange(len(data) - 150, len(data))] = rng.randrange(256)
        path = tmp_path / f"{number}.tiff"
        path.write_bytes(bytes(data))
        assert re.fullmatch(r"3|cannot be read as a picture: .*", _outcome(path))
