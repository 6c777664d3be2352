from __future__ import annotations

import hashlib

import numpy as np
import pytest

from vcn_ray.errors import PackError
from vcn_ray.models.dlib_weights import (
    MMOD_FILE,
    RESNET_FILE,
    SHA256,
    Affine,
    Conv,
    Linear,
    model_file,
    read_layers,
    read_means,
    read_mmod_options,
)
from vcn_ray.records import F32


def packed(value: int) -> bytes:
    """An integer as dlib writes it."""
    size = (abs(value).bit_length() + 7) // 8
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def tensor(values: F32) -> bytes:
    sizes = [*values.shape, *[1] * (4 - values.ndim)]
    return b"".join(packed(n) for n in (2, *sizes)) + values.astype("<f4").tobytes()


def test_all_three_files_are_there_and_are_the_published_ones() -> None:
    for name, digest in SHA256.items():
        assert hashlib.sha256(model_file(name).read_bytes()).hexdigest() == digest


def test_numbers_are_read_as_they_are_written() -> None:
    reals = [(3, -1), (-7, 2), (300, -3)]  # mantissa, binary exponent
    data = b"\x01\x17input_rgb_image_pyramid" + b"".join(packed(n) for r in reals for n in r)
    assert read_means(data).tolist() == [1.5, -28.0, 37.5]


def test_a_convolution_is_split_into_weights_and_biases() -> None:
    values = np.arange(2 * 3 * 5 * 4 + 2, dtype=np.float32)
    shape = b"".join(packed(n) for n in (2, 5, 4, 1, 1, 2, 2))
    (conv,) = read_layers(b"\x01\x05con_4" + tensor(values) + shape)
    assert isinstance(conv, Conv)
    np.testing.assert_array_equal(conv.weight, values[:-2].reshape(2, 3, 5, 4))
    assert (conv.bias.tolist(), conv.stride, conv.padding) == ([120.0, 121.0], 1, 2)


def test_the_files_hold_the_published_networks() -> None:
    detector = model_file(MMOD_FILE).read_bytes()
    layers = read_layers(detector)
    assert [type(layer) for layer in layers] == [Conv, Affine] * 6 + [Conv]
    assert [la.weight.shape[0] for la in layers if isinstance(la, Conv)] == [
        *(16, 32, 32, 45, 45, 45, 1)
    ]
    options = read_mmod_options(detector)
    assert options.window == (80, 80)
    assert options.overlap == pytest.approx(0.338276, abs=1e-6)
    assert options.covered == 1

    encoder = model_file(RESNET_FILE).read_bytes()
    layers = read_layers(encoder)
    assert [type(layer) for layer in layers] == [Conv, Affine] * 29 + [Linear]
    assert isinstance(layers[-1], Linear)
    assert layers[-1].weight.shape == (128, 256)
    for data in (detector, encoder):
        np.testing.assert_allclose(read_means(data), [122.782, 117.001, 104.298], rtol=1e-6)


def test_broken_files_are_refused() -> None:
    data = model_file(MMOD_FILE).read_bytes()
    with pytest.raises(PackError, match="file ends"):
        read_layers(data[: len(data) // 2])
    for read in (read_layers, read_means, read_mmod_options):
        with pytest.raises(PackError, match=r"not (a )?dlib"):
            read(b"no network at all")
