"""Packs made of folders with model files: graphs, weights that torch saved, and what is refused."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file

from tests.helpers.encoders import drawn
from tests.helpers.films import vcn
from vcn_ray.errors import PackError
from vcn_ray.models.iresnet import IResNet
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.add import PackOptions, add_pack, find_weights
from vcn_ray.packs.check import read_picture
from vcn_ray.packs.describe import read_pack_file
from vcn_ray.packs.embedded import CENTERFACE, SFACE
from vcn_ray.packs.inspect import inspect_folder
from vcn_ray.packs.load import describe_pack, load_pack

YUNET = "yunet/yunet_n_dynamic.onnx"
GRAPH = "mobilefacenet/mobilefacenet_arcface.onnx"
WEIGHTS = "mobilefacenet/mobilefacenet.pt"


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Path:
    """A folder with a detector; encoders are put there by the tests."""
    path = tmp_path / "mine"
    path.mkdir()
    shutil.copy(shared / "models" / YUNET, path)
    return path


@pytest.fixture(autouse=True)
def _no_pictures_for_a_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Priors are in `test_prior`; measuring one takes seconds."""
    monkeypatch.setattr("vcn_ray.packs.add.shipped_pictures", list)


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """The weights of an IResNet of full width with a block a layer."""
    torch.manual_seed(0)
    return drawn(IResNet((1, 1, 1, 1), dim=64)).state_dict()


def crops() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (2, 112, 112, 3), dtype=np.uint8))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_adds_a_folder_of_graphs(folder: Path, shared: Path) -> None:
    shutil.copy(shared / "models" / GRAPH, folder)
    words = ("--name", "yunet-mbf", "--licence", "Apache-2.0", "--commercial-use")
    more = ("--source", "two repositories", "--min-score", "0.6", "--input-pixels", "960")
    ran = vcn("packs", "add", folder, *words, *more)
    assert (ran.code, ran.err) == (0, "")
    shown = ran.out.splitlines()
    assert "detector: yunet, yunet_n_dynamic.onnx, takes frames shrunk to 960 pixels" in shown
    assert f"encoder: onnx, {Path(GRAPH).name}, takes crops of 112 pixels" in shown
    assert any(line.endswith("std [127.5, 127.5, 127.5], rgb") for line in shown)
    assert {"licence: Apache-2.0", "commercial use: yes", "faces found: 6"} <= set(shown)
    assert f"written: {folder / 'pack.toml'}" in shown
    spec = read_pack_file(folder)
    assert (spec.name, spec.source, spec.commercial_use) == ("yunet-mbf", "two repositories", True)
    assert (spec.detector.min_score, spec.detector.input_pixels) == (0.6, 960)
    assert names_in(folder) == [Path(GRAPH).name, "pack.toml", "yunet_n_dynamic.onnx"]


def test_centerface_goes_with_another_encoder(tmp_path: Path, shared: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(find_shipped(CENTERFACE), folder)
    shutil.copy(shared / "models" / GRAPH, folder)
    plain = load_pack(str(folder))  # described by its files alone
    ran = vcn("packs", "add", folder, "--licence", "MIT, Apache-2.0", "--commercial-use")
    assert (ran.code, ran.err) == (0, "")
    shown = ran.out.splitlines()
    assert "detector: centerface, centerface.onnx, takes frames scaled to 640 pixels" in shown
    assert "faces found: 6" in shown
    spec = read_pack_file(folder)
    assert spec.detector.kind == "centerface"
    assert (spec.detector.min_score, spec.detector.input_pixels) == (0.35, 640)
    pack, built_in = load_pack(str(folder)), load_pack("centerface-sface")
    assert pack.detector_hash == plain.detector_hash
    assert pack.encoder == "onnx"
    picture = read_picture()[None]
    ours, theirs = (each.detector.detect(picture)[0] for each in (pack, built_in))
    np.testing.assert_array_equal(ours.boxes, theirs.boxes)
    np.testing.assert_array_equal(ours.landmarks, theirs.landmarks)
    ours_cut, theirs_cut = (p.aligner.align(picture[0], ours) for p in (pack, built_in))
    np.testing.assert_array_equal(ours_cut, theirs_cut)


def test_opencvs_sface_is_described_by_its_file(folder: Path) -> None:
    """The graph scales grey levels itself, which the names of its first steps show."""
    shutil.copy(find_shipped(SFACE), folder)
    spec = inspect_folder(folder)
    assert spec.encoder.kind == "onnx"
    assert (spec.encoder.mean, spec.encoder.std) == ([0.0] * 3, [1.0] * 3)
    assert (spec.encoder.input_pixels, spec.encoder.channels) == (112, "rgb")
    mine, built_in = load_pack(str(folder)), load_pack("centerface-sface")
    found, wanted = (pack.load_encoder().embed(crops()) for pack in (mine, built_in))
    assert torch.equal(found, wanted)


def test_adds_weights_of_mobilefacenet(folder: Path, shared: Path, yunet_pack: Path) -> None:
    shutil.copy(shared / "models" / WEIGHTS, folder)
    added = add_pack(folder, PackOptions())
    assert (added.check.problems, added.spec.encoder.kind) == ([], "mobilefacenet")
    again = vcn("packs", "add", folder)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "pack.toml exists already" in again.err
    assert vcn("packs", "add", folder, "--force").code == 0  # the safetensors are no second encoder
    (folder / Path(WEIGHTS).name).unlink()  # the pickle is needed no longer
    pack, twin = load_pack(str(folder)), load_pack(str(yunet_pack))
    assert pack.encoder_hash == twin.encoder_hash
    assert torch.equal(pack.load_encoder().embed(crops()), twin.load_encoder().embed(crops()))


def test_adds_weights_of_iresnet(folder: Path, small: dict[str, torch.Tensor]) -> None:
    parallel = {f"module.{name}": values for name, values in small.items()}
    torch.save({"epoch": 3, "state_dict": parallel}, folder / "net.pth")
    ran = vcn("packs", "add", folder)
    assert "encoder: iresnet, net.safetensors, takes crops of 112 pixels" in ran.out
    assert describe_pack(str(folder)).encoder == "iresnet"
    assert load_file(folder / "net.safetensors").keys() == small.keys()
    encoder = load_pack(str(folder)).load_encoder()
    net = IResNet((1, 1, 1, 1), dim=64)
    net.load_state_dict(small)
    assert encoder.dim == 64
    assert torch.equal(encoder.embed(crops()), net.embed(crops()))


Save = Callable[[dict[str, torch.Tensor], Path], object]


@pytest.mark.parametrize(
    "save",
    [
        lambda weights, path: save_file(weights, path.with_suffix(".safetensors")),
        lambda weights, path: torch.save(
            {"state_dict_backbone": weights, "state_dict_softmax_fc": {}}, path
        ),
        lambda weights, path: torch.save(
            {f"module.backbone.{n}": v for n, v in weights.items()} | {"module.head": torch.eye(3)},
            path,
        ),
        lambda weights, path: torch.save(
            {n: v for n, v in weights.items() if "num_batches" not in n}, path
        ),
    ],
)
def test_weights_are_found_however_they_lie(
    folder: Path, small: dict[str, torch.Tensor], save: Save
) -> None:
    save(small, folder / "net.pt")
    (file,) = find_weights(folder)
    assert file.kind == "iresnet"
    net = IResNet.like(file.weights)
    net.load_state_dict(file.weights)
    assert all(torch.equal(v, small[n]) for n, v in net.named_parameters())


def test_a_better_scale_is_chosen(folder: Path, shared: Path) -> None:
    model = onnx.load(str(shared / "models" / GRAPH))
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name == "input.1":
                node.input[at] = "scaled"
    half = numpy_helper.from_array(np.array(127.5, np.float32), "half")
    model.graph.initializer.append(half)
    for node in (  # the graph now takes grey levels as they are, under names that do not tell so
        helper.make_node("Div", ["around", "half"], ["scaled"], name="second"),
        helper.make_node("Sub", ["input.1", "half"], ["around"], name="first"),
    ):
        model.graph.node.insert(0, node)
    onnx.save(model, str(folder / "net.onnx"))
    ran = vcn("packs", "add", folder)
    assert ran.code == 0
    assert "(chosen: it tells people apart better)" in ran.out
    encoder = read_pack_file(folder).encoder
    assert (encoder.mean, encoder.std) == ([0.0] * 3, [1.0] * 3)


def test_problems_are_shown_and_the_description_kept(folder: Path, shared: Path) -> None:
    shutil.copy(shared / "models" / GRAPH, folder)
    ran = vcn("packs", "add", folder, "--min-score", "0.999")
    assert ran.code == 1
    path = folder / "pack.toml"
    assert "problem: found 0 of 6 faces: lower min_score?\n" in ran.out
    assert f"to do: change {path}, then run vcn packs add {folder} --keep\n" in ran.out
    spec = read_pack_file(folder)
    assert spec.detector.min_score == 0.999
    assert (spec.name, spec.commercial_use) == ("mine", False)  # what nobody says
    assert spec.licence.startswith("unknown: ask")


def refusal(folder: Path, **options: Any) -> str:
    """The one line that is said; no description is left."""
    with pytest.raises(PackError) as raised:
        add_pack(folder, PackOptions(**options))
    assert "\n" not in str(raised.value)
    assert not [name for name in names_in(folder) if "pack.toml" in name]
    return str(raised.value)


def test_folders_that_are_no_packs_are_refused(folder: Path, shared: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="is no folder: give the one that holds the model files"):
        add_pack(tmp_path / "nowhere", PackOptions())
    (tmp_path / "empty").mkdir()
    assert "holds no model files: put a detector (.onnx)" in refusal(tmp_path / "empty")
    assert "needs one face-ID encoder (none of 1 ONNX files is one)" in refusal(folder)
    shutil.copy(shared / "models" / GRAPH, folder)
    shutil.copy(shared / "models" / WEIGHTS, folder)
    both = "mobilefacenet_arcface.onnx, mobilefacenet.pt"
    assert f"one face-ID encoder ({both}): leave one in the folder" in refusal(folder)
    (folder / "mobilefacenet.pt").unlink()
    assert "needs --licence" in refusal(folder, commercial_use=True)
    assert "detector.min_score = 1.5 is not valid" in refusal(folder, min_score=1.5)
    assert "detector.input_pixels = 3 is not valid" in refusal(folder, input_pixels=3)
    shutil.copy(shared / "models/scrfd_500m/det_500m.onnx", folder)
    two = "det_500m.onnx, yunet_n_dynamic.onnx"
    assert f"needs one detector ({two}): leave one in the folder" in refusal(folder)


def test_graphs_that_cannot_be_trained_are_refused(folder: Path) -> None:
    shape = ("n", 3, 112, 112)
    data = helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", "d"])
    node = helper.make_node("Sin", ["data"], ["out"])
    graph = helper.make_graph([node], "g", [data], [out])
    onnx.save(helper.make_model(graph), str(folder / "net.onnx"))
    assert "the ONNX operator Sin" in refusal(folder)


Spoil = Callable[[dict[str, torch.Tensor]], object]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda w: w | {"extra.weight": torch.zeros(1)}, "the entry extra.weight is unknown"),
        (
            lambda w: {n: v for n, v in w.items() if n != "layer3.0.conv1.weight"},
            "looks like iresnet, but the entry layer3.0.conv1.weight is missing",
        ),
        (
            lambda w: w | {"layer2.0.conv2.weight": torch.zeros(4, 4, 3, 3)},
            "layer2.0.conv2.weight has the shape (4, 4, 3, 3), not (128, 128, 3, 3)",
        ),
        (
            lambda w: {"stem.weight": torch.zeros(3)},
            "unknown encoder (its first entry is stem.weight",
        ),
        (
            lambda w: {f"{who}.{n}": v for who in ("student", "teacher") for n, v in w.items()},
            "holds two encoders (student.layer1.0.prelu.weight, teacher.",
        ),
        (lambda w: {"epoch": 3}, "holds no weights by name"),
        (lambda w: [torch.zeros(3)], "holds no weights by name"),
        (lambda w: torch.nn.Linear(2, 2), "cannot be read as weights alone"),
    ],
)
def test_other_weights_are_refused(
    folder: Path, small: dict[str, torch.Tensor], content: Spoil, said: str
) -> None:
    torch.save(content(small), folder / "net.pt")
    assert said in refusal(folder)
    assert names_in(folder) == ["net.pt", "yunet_n_dynamic.onnx"]


def test_damaged_weights_are_refused(folder: Path) -> None:
    (folder / "net.pth").write_bytes(b"no weights")
    assert "cannot be read as weights alone" in refusal(folder)
    (folder / "net.pth").rename(folder / "net.safetensors")
    assert "cannot be read as safetensors" in refusal(folder)


@dataclass
class Code:
    """What makes a folder when it is unpickled as pickles usually are."""

    path: str

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


def test_code_in_a_pickle_is_not_run(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({"conv1.weight": Code(str(made))}, folder / "net.pt")
    said = refusal(folder)
    assert "code in a pickle is never run" in said
    assert not made.exists()
    torch.load(folder / "net.pt", weights_only=False)
    assert made.exists()  # so there was code in it


def test_safetensors_in_the_way_are_kept(folder: Path, small: dict[str, torch.Tensor]) -> None:
    other = small | {"fc.bias": small["fc.bias"] + 1}
    torch.save(small, folder / "net.pt")
    save_file(other, folder / "net.safetensors")
    assert "net.safetensors holds other weights than net.pt" in refusal(folder)
    assert torch.equal(load_file(folder / "net.safetensors")["fc.bias"], other["fc.bias"])
    save_file({f"module.{n}": v for n, v in small.items()}, folder / "net.safetensors")
    (folder / "net.pt").unlink()
    assert "has 'module.' before all names: save it again" in refusal(folder)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Without root's right to write everywhere, where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_cannot_be_written_is_refused(shared: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # others may not look into the tests' own folder
        folder = Path(name)
        for file in (YUNET, GRAPH):
            shutil.copy(shared / "models" / file, folder)
        folder.chmod(0o555)
        with somebody_else():
            said = refusal(folder)
        folder.chmod(0o755)
    assert f"{folder / 'pack.toml'} cannot be written (Permission denied): " in said
