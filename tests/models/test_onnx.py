"""Encoders from ONNX files: equal to onnxruntime, trainable, cut in three, and written back."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.encoders import ENCODERS, export, seeded
from vcn_ray.errors import PackError
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.onnx_export import write_encoder
from vcn_ray.models.onnx_graph import graph_inputs, read_graph, restore_floats
from vcn_ray.models.onnx_operators import OPERATORS
from vcn_ray.packs.load import load_pack
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


def squares(grads: Iterable[torch.Tensor]) -> float:
    """The sum of all squares."""
    return sum(float(grad.double().square().sum()) for grad in grads)


@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients_are_those_of_the_module(files: dict[tuple[str, bool], Path], kind: str) -> None:
    encoder = OnnxEncoder.from_file(files[kind, False], InputScale())
    model = seeded(kind)
    images = encoder.prepare(pictures(3))
    towards = torch.randn(3, encoder.dim, generator=torch.Generator().manual_seed(1))
    (encoder(images) * towards).sum().backward()
    (model(images) * towards).sum().backward()
    ours = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert len(ours) == len(list(encoder.parameters()))
    assert all(grad.abs().sum() > 0 for grad in ours)
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
    assert squares(ours) == pytest.approx(squares(theirs.values()), rel=1e-3)


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


def _graph(op: str, side: int | str = 112) -> onnx.ModelProto:
    shape = ("n", 3, side, side)
    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", "d"])
    node = helper.make_node(op, ["data"], ["out"])
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


def quantised(listed: bool) -> onnx.ModelProto:
    """A graph with one matrix as blocks of small integers, as OpenCV Zoo keeps them.

    Args:
        listed: Whether the file lists the matrix that these become among its inputs.
    """
    rng = np.random.default_rng(0)
    stored: dict[str, np.ndarray] = {
        "blocks": rng.integers(-128, 128, (4, 6), dtype=np.int8),
        "scale": rng.random((2, 6), np.float32) / 100,
        "zero": rng.integers(-9, 9, (2, 6), dtype=np.int8),
        "shape": np.array([3, 8]),
        "bias": rng.random(8, np.float32),
        "unused": np.ones(3, np.float32),
    }
    nodes = [
        helper.make_node(
            "DequantizeLinear", ["blocks", "scale", "zero"], ["flat"], axis=0, block_size=2
        ),
        helper.make_node("Reshape", ["flat", "shape"], ["matrix"]),
        helper.make_node("Gemm", ["x", "matrix", "bias"], ["hidden"]),
        helper.make_node("Reshape", ["hidden", "rows"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    if listed:
        inputs.append(helper.make_tensor_value_info("matrix", TensorProto.FLOAT, [3, 8]))
    graph = helper.make_graph(
        nodes,
        "quantised",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4])],
        [
            *(numpy_helper.from_array(values, name) for name, values in stored.items()),
            numpy_helper.from_array(np.array([4, 4]), "rows"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("listed", [False, True])
def test_weights_kept_as_small_integers_become_floats(listed: bool) -> None:
    model = quantised(listed)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    block = np.arange(4) // 2  # the literal formula: each value by the scale of its block
    literal = stored["blocks"].astype(np.float32) - stored["zero"].astype(np.float32)[block]
    literal = (literal * stored["scale"][block]).reshape(3, 8)

    restore_floats(model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Reshape"]
    assert [value.name for value in model.graph.input] == ["x"]
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert set(after) == {"matrix", "bias", "rows"}
    np.testing.assert_array_equal(after["matrix"], literal)
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(
            m.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for m in (quantised(False), model)
    ]
    before, now = (session.run(None, {"x": x})[0] for session in sessions)
    np.testing.assert_allclose(now, before, atol=1e-5)


def test_a_graph_without_small_integers_stays_as_it_is() -> None:
    model = quantised(listed=False)
    del model.graph.node[:2]
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 8), np.float32), "matrix"))
    before = model.SerializeToString()
    restore_floats(model)
    assert model.SerializeToString() == before
    assert len(graph_inputs(model)) == 1


@pytest.mark.parametrize(
    ("values", "slope"),
    [
        ((2, 5, 4, 3), (5, 1, 1)),
        ((2, 5, 4, 3), (1, 5, 1, 1)),
        ((2, 5, 4, 3), (1,)),
        ((2, 5, 4, 3), (1, 1, 1)),
        ((2, 5, 4, 3), ()),
        ((2, 5, 4, 3), (3,)),  # along rows, not along channels
        ((2, 5, 4, 3), (4, 1)),
        ((2, 5, 4, 3), (4, 3)),
        ((2, 5, 4, 3), (5, 4, 3)),
        ((2, 5, 4, 3), (5, 1, 3)),
        ((2, 5, 4, 3), (2, 5, 1, 1)),
        ((2, 5, 4, 3), (2, 1, 1, 1)),
        ((5, 5, 5, 5), (5,)),
        ((3, 1, 4, 4), (1, 1, 1)),
        ((4, 6), (6,)),
        ((4, 6), (1, 6)),
        ((4, 6), (4, 1)),
        ((4, 6), (1,)),
        ((2, 3, 4), (3, 1)),
        ((2, 3, 4), (4,)),
        ((6,), (6,)),
        ((6,), (1,)),
    ],
    ids=str,
)
def test_prelu_is_the_literal_formula(values: tuple[int, ...], slope: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=values).astype(np.float32))
    x.view(-1)[0] = 0.0
    a = torch.from_numpy(np.asarray(rng.normal(size=slope), np.float32))
    found = OPERATORS["PRelu"]([x, a], {})
    literal = torch.where(x >= 0, x, a * x)
    assert found.shape == literal.shape == x.shape
    assert torch.equal(found, literal)


def test_every_operator_is_met_by_a_test_or_by_name() -> None:
    names = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= names


def test_batch_norms_are_part_of_the_convolutions_of_a_frozen_trunk() -> None:
    encoder = load_pack("centerface-sface").load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    images = encoder.prepare(torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8))
    with torch.inference_mode():
        expected, found = encoder.trunk(images), encoder.frozen_trunk()(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    folded = copy.deepcopy(encoder)
    folded.graph.fold_batch_norms()
    norms = [
        [n.op for n in g.nodes].count("BatchNormalization") for g in (folded.graph, encoder.graph)
    ]
    assert norms[0] < norms[1] / 5
