"""Encoders from ONNX files: equal to onnxruntime, trainable, cut in three, and written back."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from tests.helpers.encoders import ENCODERS, export, seeded
from vcn_ray.errors import PackError
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.onnx_export import write_encoder
from vcn_ray.models.onnx_graph import read_graph
from vcn_ray.models.onnx_operators import OPERATORS
from vcn_ray.records import F32

CLOSE = 1e-4
KINDS = [(kind, folded) for kind in ENCODERS for folded in (True, False)]


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Crops (count, 112, 112, 3) uint8."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 112, 112, 3), dtype=np.uint8))


def by_onnxruntime(path: Path, images: torch.Tensor) -> F32:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    found: F32 = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    return found


def relative(ours: torch.Tensor, theirs: F32) -> float:
    """Greatest difference over the greatest value."""
    return float(np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    folder = tmp_path_factory.mktemp("onnx")
    found = {}
    for kind, folded in KINDS:
        found[kind, folded] = folder / f"{kind}-{folded}.onnx"
        export(seeded(kind), found[kind, folded], folded)
    return found


@pytest.mark.parametrize(("kind", "folded"), KINDS)
def test_equal_to_onnxruntime(files: dict[tuple[str, bool], Path], kind: str, folded: bool) -> None:
    encoder = OnnxEncoder.from_file(files[kind, folded], InputScale())
    for count in (1, 3):
        images = encoder.prepare(pictures(count))
        with torch.no_grad():
            found = encoder(images)
        assert found.shape == (count, encoder.dim)
        assert relative(found, by_onnxruntime(files[kind, folded], images)) < CLOSE


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("kind", ENCODERS)
def test_equal_whatever_the_opset(tmp_path: Path, kind: str, opset: int) -> None:
    export(seeded(kind), tmp_path / "net.onnx", opset=opset)
    encoder = OnnxEncoder.from_file(tmp_path / "net.onnx", InputScale())
    images = encoder.prepare(pictures(2))
    assert relative(encoder(images), by_onnxruntime(tmp_path / "net.onnx", images)) < CLOSE


def test_a_real_net_is_equal_to_its_torch_twin(shared: Path) -> None:
    path = shared / "models/mobilefacenet/mobilefacenet_arcface.onnx"
    encoder = OnnxEncoder.from_file(path, InputScale())
    images = encoder.prepare(pictures(4))
    assert relative(encoder(images), by_onnxruntime(path, images)) < CLOSE
    assert encoder.dim == 128
    assert encoder.trunk(images).shape == (4, 128, 14, 14)  # where the torch twin is cut, too


@pytest.mark.parametrize(("kind", "folded"), KINDS)
def test_the_parts_make_the_whole(
    files: dict[tuple[str, bool], Path], kind: str, folded: bool
) -> None:
    encoder = OnnxEncoder.from_file(files[kind, folded], InputScale())
    images = encoder.prepare(pictures(2))
    with torch.no_grad():
        activations = encoder.trunk(images)
        features = encoder.tail(activations)
        assert features.ndim == 2
        whole = encoder.graph(images)
        assert torch.equal(encoder.project(features), whole)
        assert torch.equal(encoder(images), whole)
        assert torch.allclose(encoder.frozen_trunk()(images), activations, atol=1e-5)
    tail = {id(parameter) for parameter in encoder.tail_parameters()}
    everything = {id(parameter) for parameter in encoder.parameters()}
    assert tail < everything
    assert 0.05 < len(tail) / len(everything) < 0.75


@pytest.mark.parametrize(("kind", "cut"), [("iresnet", (32, 14, 14)), ("vit", (49, 16))])
def test_the_tail_begins_at_the_last_stage(
    files: dict[tuple[str, bool], Path], kind: str, cut: tuple[int, ...]
) -> None:
    encoder = OnnxEncoder.from_file(files[kind, True], InputScale())
    assert encoder.trunk(encoder.prepare(pictures(1))).shape[1:] == cut


@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients_are_those_of_the_module(files: dict[tuple[str, bool], Path], kind: str) -> None:
    encoder = OnnxEncoder.from_file(files[kind, False], InputScale())
    model = seeded(kind)
    images = encoder.prepare(pictures(3))
    towards = torch.randn(3, encoder.dim, generator=torch.Generator().manual_seed(1))
    (encoder(images) * towards).sum().backward()
    (model(images) * towards).sum().backward()
    ours = [p.grad for p in encoder.parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in ours)
    theirs = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    found = 0
    for name, grad in theirs.items():
        mine = encoder.graph.weight_names.get(name)
        if mine is None:  # matrices are stored turned over, under names of the exporter's own
            continue
        given = encoder.graph.weights[mine].grad
        assert given is not None
        assert torch.allclose(given.reshape(grad.shape), grad, atol=1e-3 * float(grad.abs().max()))
        found += 1
    assert found > len(theirs) / 2
    sums = (
        sum(float(g.double().square().sum()) for g in grads) for grads in (ours, theirs.values())
    )
    assert next(sums) == pytest.approx(next(sums), rel=1e-3)


def test_batch_norms_keep_their_statistics_while_training(
    files: dict[tuple[str, bool], Path],
) -> None:
    encoder = OnnxEncoder.from_file(files["iresnet", False], InputScale())
    images = encoder.prepare(pictures(3))
    before = encoder(images)
    encoder.train()
    assert torch.equal(encoder(images), before)
    kept = set(encoder.graph.constant_names)
    assert any(name.endswith("running_mean") for name in kept)
    assert not any(name.endswith("running_mean") for name in encoder.graph.weight_names)
    assert "features.weight" in encoder.graph.weight_names  # the scale of the last one


@pytest.mark.parametrize(("kind", "folded"), KINDS)
def test_what_was_learned_is_written_back(
    files: dict[tuple[str, bool], Path], tmp_path: Path, kind: str, folded: bool
) -> None:
    source = files[kind, folded]
    encoder = OnnxEncoder.from_file(source, InputScale())
    images = encoder.prepare(pictures(2))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.01).add_(0.001)
    write_encoder(encoder, source, tmp_path / "learned.onnx")
    learned = by_onnxruntime(tmp_path / "learned.onnx", images)
    assert relative(encoder(images), learned) < CLOSE
    assert relative(encoder(images), by_onnxruntime(source, images)) > 10 * CLOSE
    again = OnnxEncoder.from_file(tmp_path / "learned.onnx", InputScale())
    assert torch.equal(again(images), encoder(images))


def test_a_copy_learns_for_itself(files: dict[tuple[str, bool], Path]) -> None:
    encoder = OnnxEncoder.from_file(files["vit", True], InputScale())
    student = copy.deepcopy(encoder)
    before = encoder(encoder.prepare(pictures(1)))
    optimiser = torch.optim.SGD(student.tail_parameters(), lr=0.1)
    student(student.prepare(pictures(1))).square().sum().backward()
    optimiser.step()
    assert torch.equal(encoder(encoder.prepare(pictures(1))), before)
    assert not torch.equal(student(student.prepare(pictures(1))), before)
    student.load_state_dict(encoder.state_dict())
    assert torch.equal(student(student.prepare(pictures(1))), before)


def test_pixels_are_scaled_as_described(files: dict[tuple[str, bool], Path]) -> None:
    crops = pictures(1)
    plain = OnnxEncoder.from_file(files["iresnet", True], InputScale())
    assert torch.allclose(plain.prepare(crops), (crops.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
    scale = InputScale((1.0, 2.0, 3.0), (10.0, 20.0, 30.0), bgr=True)
    turned = OnnxEncoder.from_file(files["iresnet", True], scale).prepare(crops)
    blue = (crops[..., 2].float() - 1.0) / 10.0
    assert torch.allclose(turned[:, 0], blue)
    floats = crops.permute(0, 3, 1, 2).float()
    assert torch.equal(plain.prepare(floats), plain.prepare(crops))


def test_a_scale_inside_the_graph_is_not_trained(shared: Path) -> None:
    path = shared / "models/mobilefacenet/mobilefacenet_arcface.onnx"
    encoder = OnnxEncoder.from_file(path, InputScale())
    assert all(parameter.numel() > 3 for parameter in encoder.parameters())


def _graph(op: str, **more: object) -> onnx.ModelProto:
    side = more.pop("side", 112)
    shape = ["n", 3, side, side]
    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", "d"])
    node = helper.make_node(op, ["data"], ["out"], **more)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(helper.make_graph([node], "g", [data], [out]), opset_imports=opsets)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (_graph("Sin"), "operator Sin"),
        (_graph("Relu"), "no embedding"),
        (_graph("Flatten", side=8), "no layer that can be trained"),
        (_graph("Relu", side="p"), "an encoder takes"),
    ],
)
def test_what_is_no_encoder_is_refused(tmp_path: Path, model: onnx.ModelProto, told: str) -> None:
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(PackError, match=told):
        OnnxEncoder.from_file(tmp_path / "net.onnx", InputScale())


def test_files_that_are_no_graphs_are_refused(
    tmp_path: Path, files: dict[tuple[str, bool], Path]
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(PackError, match="no ONNX graph"):
        read_graph(path)
    model = onnx.load(str(files["iresnet", True]))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 9))
    onnx.save(model, str(path))
    with pytest.raises(PackError, match="opset"):
        read_graph(path)
    model = onnx.load(str(files["iresnet", True]))
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(PackError, match="other files"):
        read_graph(path)


def test_every_operator_is_met_by_a_test_or_by_name() -> None:
    names = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= names
