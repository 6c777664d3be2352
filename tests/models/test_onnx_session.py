"""Graphs of one picture run with several, and devices that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.helpers.detector_graphs import fix_size, write_distance_graph, write_map_graph
from vcn_ray.errors import PackError
from vcn_ray.models.onnx_session import BatchSession, check_provider
from vcn_ray.records import F32

NETWORKS = ("yunet/yunet_n_dynamic.onnx", "scrfd_500m/det_500m.onnx", "scrfd_2.5g/det_2.5g.onnx")


def noise(count: int, height: int = 64, width: int = 96) -> F32:
    return np.random.default_rng(1).normal(0, 40, (count, 3, height, width)).astype(np.float32)


def plain_outputs(path: Path, pictures: F32) -> list[F32]:
    """What the graph of the file gives to each picture alone."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    alone = [session.run(None, {name: picture[None]}) for picture in pictures]
    return [
        np.stack([output.reshape(-1, output.shape[-1]) for output in outputs])
        for outputs in zip(*alone, strict=True)
    ]


def assert_as_alone(session: BatchSession, path: Path, pictures: F32) -> None:
    for max_batch in (1, 2, 16):
        session.max_batch = max_batch
        for output, expected in zip(
            session.run(pictures), plain_outputs(path, pictures), strict=True
        ):
            np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_published_graphs_take_batches(shared: Path, network: str) -> None:
    path = shared / "models" / network
    session = BatchSession(path)
    assert session.batched
    assert session.input_size is None
    assert_as_alone(session, path, noise(5))


@pytest.mark.parametrize("anchors", [1, 2])
@pytest.mark.parametrize("by_picture", [False, True])
def test_made_graphs_take_batches(tmp_path: Path, anchors: int, by_picture: bool) -> None:
    path = write_distance_graph(tmp_path / "d.onnx", anchors=anchors, by_picture=by_picture)
    session = BatchSession(path)
    assert session.batched
    assert_as_alone(session, path, noise(3))


def test_a_graph_of_one_picture_is_run_one_by_one(tmp_path: Path) -> None:
    path = write_distance_graph(tmp_path / "d.onnx", size=(64, 96), one_picture_only=True)
    session = BatchSession(path)
    assert not session.batched
    assert session.input_size == (64, 96)
    assert_as_alone(session, path, noise(3))


def test_a_fixed_size_is_kept_or_freed(shared: Path, tmp_path: Path) -> None:
    source = shared / "models" / NETWORKS[0]
    path = fix_size(source, tmp_path / "fixed.onnx", 64, 96)
    assert BatchSession(path).input_size == (64, 96)
    freed = BatchSession(path, any_size=True)
    assert freed.input_size is None
    assert_as_alone(freed, source, noise(2, 32, 64))


def test_a_size_that_steps_inside_fix_is_kept(tmp_path: Path) -> None:
    path = write_distance_graph(tmp_path / "d.onnx", size=(64, 96), one_picture_only=True)
    assert BatchSession(path, any_size=True).input_size == (64, 96)


def test_a_batch_that_the_file_fixes_is_freed(tmp_path: Path) -> None:
    """CenterFace's file declares ten pictures of 32 pixels, and its weights as inputs."""
    path = write_map_graph(tmp_path / "maps.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    plain = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    pictures = noise(10, 32, 32)
    expected = plain.run(None, {"picture": pictures})
    session = BatchSession(path, any_size=True)
    assert session.batched
    assert session.input_size is None
    assert BatchSession(path).input_size == (32, 32)
    for count in (1, 3, 10):
        for output, wanted in zip(session.run(pictures[:count]), expected, strict=True):
            rows = wanted[:count].reshape(count, -1, wanted.shape[-1])
            np.testing.assert_allclose(output, rows, atol=1e-5)
    wide = [output.shape for output in session.run(noise(2, 64, 96))]
    assert wide == [(2, channels * 16, 24) for channels in (1, 2, 2, 10)]


def test_weights_listed_as_inputs_are_constants(tmp_path: Path) -> None:
    path = write_map_graph(tmp_path / "maps.onnx")
    listed = [value.name for value in onnx.load(path).graph.input]
    assert listed == ["picture", "w0", "w1", "w2", "w3"]
    session = BatchSession(path, any_size=True)._session
    assert [value.name for value in session.get_inputs()] == ["picture"]
    assert session.get_overridable_initializers() == []


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime was built for GPUs",
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_missing_is_an_error(tmp_path: Path, device: str) -> None:
    path = write_distance_graph(tmp_path / "d.onnx")
    with pytest.raises(PackError, match="install onnxruntime-gpu") as caught:
        BatchSession(path, device=device)
    assert "\n" not in str(caught.value)


def test_a_session_that_fell_back_to_the_cpu_is_an_error(tmp_path: Path) -> None:
    path = write_distance_graph(tmp_path / "d.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with pytest.raises(PackError, match="cannot use CUDAExecutionProvider"):
        check_provider("CUDAExecutionProvider", session.get_providers())


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(shared: Path) -> None:
    path = shared / "models" / NETWORKS[1]
    pictures = noise(5)
    for one, other in zip(
        BatchSession(path, device="cuda").run(pictures),
        BatchSession(path).run(pictures),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", "tensorrt"])
def test_unknown_devices_are_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(PackError, match="known are cpu, cuda"):
        BatchSession(write_distance_graph(tmp_path / "d.onnx"), device=device)


def test_threads_reach_the_session(tmp_path: Path) -> None:
    session = BatchSession(write_distance_graph(tmp_path / "d.onnx"), threads=3)._session
    assert session.get_session_options().intra_op_num_threads == 3
