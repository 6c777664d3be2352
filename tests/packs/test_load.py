"""Packs of this machine: how they are found, loaded and described, and which are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tomli_w
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file

from tests.helpers.pack_files import Change, rewrite, with_checksum
from vcn_ray.errors import PackError
from vcn_ray.io.s3 import S3Config
from vcn_ray.packs.check import read_picture
from vcn_ray.packs.embedded import BUILT_IN_NAMES
from vcn_ray.packs.find import list_packs
from vcn_ray.packs.inspect import inspect_folder
from vcn_ray.packs.load import describe_pack, load_pack

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test_packs"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own; returns where InsightFace's packs would lie in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    models = tmp_path / ".insightface" / "models"
    models.mkdir(parents=True)
    return models


def setting(table: str, **values: object) -> Change:
    """A change of some settings in a table of pack.toml."""
    return lambda content: content[table].update(values)


def refusal(folder: Path | str) -> str:
    """The one line that loading and describing both give."""
    with pytest.raises(PackError) as described:
        describe_pack(str(folder))
    with pytest.raises(PackError) as loaded:
        load_pack(str(folder))
    assert str(described.value) == str(loaded.value)
    assert "\n" not in str(loaded.value)
    return str(loaded.value)


def test_loads_a_folder(yunet_pack: Path) -> None:
    pack = load_pack(str(yunet_pack))
    assert (pack.name, pack.licence, pack.commercial_use) == (yunet_pack.name, "Apache-2.0", True)
    assert pack.encoder == "mobilefacenet"
    assert pack.aligner.input_pixels == pack.load_encoder().input_pixels == 112
    picture = read_picture()
    crops = pack.aligner.align(picture, pack.detector.detect(picture[None])[0])
    assert crops.shape == (6, 112, 112, 3)


def test_each_encoder_is_a_fresh_one_in_eval_mode(yunet_pack: Path) -> None:
    pack = load_pack(str(yunet_pack))
    first, second = pack.load_encoder(), pack.load_encoder()
    assert not first.training
    with torch.no_grad():
        first.tail_parameters()[0].fill_(0)
    assert second.tail_parameters()[0].abs().sum() > 0


def test_describes_without_loading(yunet_pack: Path) -> None:
    info = describe_pack(str(yunet_pack.parent / "scrfd-mobilefacenet"))
    assert (info.detector, info.encoder) == ("scrfd", "mobilefacenet")
    assert not info.commercial_use
    assert "non-commercial" in info.licence
    assert info.problem == ""


def test_hashes_follow_settings_not_file_names(yunet_pack: Path, folder: Path) -> None:
    original = load_pack(str(yunet_pack))

    def rename(content: dict[str, Any]) -> None:
        (folder / content["detector"]["file"]).rename(folder / "other.onnx")
        content["detector"]["file"] = "other.onnx"
        content["source"] = "elsewhere"

    rewrite(folder, rename)
    renamed = load_pack(str(folder))
    assert renamed.detector_hash == original.detector_hash
    assert renamed.encoder_hash == original.encoder_hash

    rewrite(folder, setting("detector", min_score=0.7))
    stricter = load_pack(str(folder))
    assert stricter.detector_hash != original.detector_hash
    assert stricter.encoder_hash == original.encoder_hash


def test_settings_take_effect(folder: Path) -> None:
    picture = read_picture()[None]
    rewrite(folder, setting("detector", min_score=0.93))
    assert len(load_pack(str(folder)).detector.detect(picture)[0]) < 6
    seen = []
    for pixels in (640, 960):
        rewrite(folder, setting("detector", min_score=0.5, input_pixels=pixels))
        seen.append(load_pack(str(folder)).detector.detect(picture)[0].boxes)
    rewrite(folder, lambda content: content["detector"].pop("input_pixels"))
    seen.append(load_pack(str(folder)).detector.detect(picture)[0].boxes)
    assert [len(boxes) for boxes in seen] == [6, 6, 6]
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(licenze="x"), "unknown key licenze: did you mean 'licence'?"),
        (
            lambda c: c["detector"].update(min_scores=1),
            "unknown key detector.min_scores: did you mean 'min_score'?",
        ),
        (lambda c: c["aligner"].update(zzz=1), "unknown key aligner.zzz: known are kind"),
        (lambda c: c.pop("licence"), "the key licence is missing: add it"),
        (lambda c: c["encoder"].pop("sha256"), "the key encoder.sha256 is missing"),
        (lambda c: c.pop("aligner"), "the key aligner is missing"),
        (
            lambda c: c["detector"].update(kind="haar"),
            "'haar' is not valid: input should be 'yunet'",
        ),
        (lambda c: c["encoder"].update(kind="arcface"), "encoder.kind = 'arcface' is not valid"),
        (lambda c: c["encoder"].update(channels="bgr"), "only an encoder of kind onnx"),
        (lambda c: c["encoder"].update(mean=[1.0, 2.0]), "encoder.mean = [1.0, 2.0] is not valid"),
        (
            setting("encoder", input_pixels=128),
            "input_pixels = 128 is not valid",
        ),
        (
            lambda c: c["detector"].update(min_score="0.5"),
            "min_score = '0.5' is not valid",
        ),
        (lambda c: c["detector"].update(min_score=1.5), "detector.min_score = 1.5 is not valid"),
        (lambda c: c.update(commercial_use="yes"), "commercial_use = 'yes' is not valid"),
        (lambda c: c["encoder"].update(sha256="abc"), "encoder.sha256 = 'abc' is not valid"),
        (lambda c: c.update(detector=3), "detector = 3 is not valid"),
    ],
)
def test_wrong_keys_are_named(folder: Path, change: Change, said: str) -> None:
    rewrite(folder, change)
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["../pack2/yunet_n_dynamic.onnx", "/etc/hostname", "link.onnx"])
def test_files_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    shutil.copytree(folder, folder.parent / "pack2")
    (folder / "link.onnx").symlink_to(folder.parent / "pack2" / "yunet_n_dynamic.onnx")
    rewrite(folder, setting("detector", file=name))
    assert "outside the folder" in refusal(folder)


@pytest.mark.parametrize("table", ["detector", "encoder"])
def test_missing_and_changed_files_are_refused(folder: Path, table: str) -> None:
    path = folder / tomllib.loads((folder / "pack.toml").read_text())[table]["file"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "the file is damaged or another one" in refusal(folder)
    path.unlink()
    assert "cannot be read (No such file or directory): put the file there" in refusal(folder)
    path.mkdir()
    assert "cannot be read (Is a directory)" in refusal(folder)


def test_other_content_than_the_kind_says_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = folder / "mobilefacenet.safetensors"
    state = load_file(weights)
    del state["bn.weight"]
    save_file(state, weights)
    with_checksum(folder, "encoder")
    with pytest.raises(PackError, match=r"weights of mobilefacenet \(.*bn\.weight") as raised:
        load_pack(str(folder)).load_encoder()
    assert "\n" not in str(raised.value)

    torch.save(state, weights)  # a pickle is never opened, whatever its name
    with_checksum(folder, "encoder")
    with pytest.raises(PackError, match="does not hold the weights"):
        load_pack(str(folder)).load_encoder()

    (folder / "yunet_n_dynamic.onnx").write_bytes(b"not a graph")
    with_checksum(folder, "detector")
    for kind in ("yunet", "scrfd"):
        rewrite(folder, setting("detector", kind=kind))
        with pytest.raises(PackError, match="is no ONNX graph"):
            load_pack(str(folder))


def external(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """A graph with one tensor that says its values are in another file, at a place in the graph."""
    tensor = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "outside")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "constant":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["outside"], value=tensor))
    else:
        branch = helper.make_graph([], "branch", [], [], [tensor])
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)
    return model


@pytest.mark.parametrize("place", ["initializer", "constant", "inner graph"])
@pytest.mark.parametrize("name", ["det_500m.onnx", "w600k_mbf.onnx"])
def test_weights_outside_the_checksum_are_refused(buffalo: Path, name: str, place: str) -> None:
    """The file beside a graph could change without any checksum that would tell."""
    onnx.save(external(onnx.load(buffalo / name), place), buffalo / name)
    (buffalo / "w.bin").write_bytes(bytes(12))
    (buffalo / name).rename(buffalo / "other.onnx")  # whose checksum is not known
    folder = buffalo.rename(buffalo.with_name("mine"))
    with pytest.raises(PackError, match="keeps its weights in other files"):
        load_pack(str(folder)).load_encoder()


@pytest.mark.parametrize("text", [b"name = ", b"\xff\xfe", b"[detector\n"])
def test_broken_toml_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "pack.toml").write_bytes(text)
    assert "cannot be read as TOML" in refusal(tmp_path)


def test_unknown_names_get_a_suggestion(home: Path, tmp_path: Path) -> None:
    assert refusal("dlob").endswith("did you mean 'dlib'?")
    assert refusal("bufalo_l").endswith("did you mean 'buffalo_l'?")
    assert "known are centerface-sface, centerface-dlib, dlib, " in refusal(
        str(tmp_path / "nowhere")
    )
    assert "has no pack.toml" in refusal(tmp_path)
    (tmp_path / "file").touch()
    assert "give the folder that holds pack.toml" in refusal(tmp_path / "file")


def test_an_insightface_pack_needs_no_description(
    home: Path, buffalo: Path, yunet_pack: Path
) -> None:
    absent = refusal("buffalo_sc")
    assert f"det_500m.onnx and w600k_mbf.onnx into {home / 'buffalo_sc'}" in absent
    assert "nothing is downloaded by itself" in absent
    shutil.copytree(buffalo, home / "buffalo_sc")
    pack, info = load_pack("buffalo_sc"), describe_pack("buffalo_sc")
    assert (info.detector, info.encoder, info.commercial_use) == ("scrfd", "onnx", False)
    assert "research only" in info.licence
    picture = read_picture()
    crops = torch.from_numpy(pack.aligner.align(picture, pack.detector.detect(picture[None])[0]))
    twin = load_pack(str(yunet_pack)).load_encoder()  # the same net as a torch module
    assert torch.allclose(pack.load_encoder().embed(crops), twin.embed(crops), atol=1e-4)
    (home / "buffalo_sc" / "w600k_mbf.onnx").unlink()
    assert "needs w600k_mbf.onnx" in refusal("buffalo_sc")
    (home / "buffalo_sc" / "det_500m.onnx").write_bytes(b"another one")
    (home / "buffalo_sc" / "w600k_mbf.onnx").write_bytes(b"no graph")
    assert "is no ONNX graph" in refusal("buffalo_sc")


def test_a_known_file_is_verified(home: Path, buffalo: Path) -> None:
    path = buffalo / "det_500m.onnx"
    model = onnx.load(str(path))
    model.producer_name = "somebody"
    onnx.save(model, str(path))
    assert "and InsightFace's det_500m.onnx has 5e4447f5" in refusal(buffalo)
    path.rename(buffalo / "other.onnx")
    buffalo.rename(buffalo.parent / "mine")
    assert load_pack(str(buffalo.parent / "mine")).licence.startswith("unknown")


def test_names_are_looked_for_in_more_places(
    home: Path, buffalo: Path, yunet_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCN_PACKS", f"{yunet_pack.parent}{os.pathsep}{buffalo.parent}")
    assert load_pack("buffalo_sc").encoder == "onnx"
    assert load_pack("yunet-mobilefacenet").encoder == "mobilefacenet"
    made = [path.name for path in yunet_pack.parent.iterdir()]
    assert len(made) == 3
    names = [info.name for info in list_packs(S3Config())]
    assert names == [*BUILT_IN_NAMES, *sorted(made), "buffalo_sc"]


def test_a_folder_needs_one_detector_and_one_encoder(buffalo: Path) -> None:
    folder = buffalo.rename(buffalo.parent / "mine")
    shutil.copy(folder / "w600k_mbf.onnx", folder / "second.onnx")
    assert "one face-ID encoder (second.onnx, w600k_mbf.onnx)" in refusal(folder)
    (folder / "second.onnx").unlink()
    (folder / "det_500m.onnx").unlink()
    assert "one detector (none of 1 ONNX files is one)" in refusal(folder)


def test_an_onnx_encoder_scales_its_input_as_described(buffalo: Path) -> None:
    spec = inspect_folder(buffalo)
    content = spec.model_dump(exclude_none=True)
    (buffalo / "pack.toml").write_text(tomli_w.dumps(content))
    plain = load_pack(str(buffalo))
    crops = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    for change in ({"channels": "bgr"}, {"mean": [0.0, 0.0, 0.0]}, {"std": [1.0, 2.0, 3.0]}):
        rewrite(buffalo, setting("encoder", **change))
        other = load_pack(str(buffalo))
        assert other.encoder_hash != plain.encoder_hash
        assert other.detector_hash == plain.detector_hash
        assert not torch.allclose(
            other.load_encoder().embed(crops), plain.load_encoder().embed(crops)
        )
        (buffalo / "pack.toml").write_text(tomli_w.dumps(content))
    rewrite(buffalo, setting("encoder", input_pixels=128))
    with pytest.raises(PackError, match="takes pictures of 112 pixels"):
        load_pack(str(buffalo)).load_encoder()


def test_list_shows_what_is_there(home: Path, yunet_pack: Path) -> None:
    assert [info.name for info in list_packs(S3Config())] == list(BUILT_IN_NAMES)
    (home / "nothing").mkdir()
    shutil.copytree(yunet_pack, home / "mine")
    (home / "some.zip").touch()
    *built_in, mine, nothing = list_packs(S3Config())
    assert [info.name for info in built_in] == list(BUILT_IN_NAMES)
    assert all(info.commercial_use and info.problem == "" for info in built_in)
    assert nothing.name == "nothing"
    assert "has no pack.toml" in nothing.problem
    assert (mine.name, mine.problem) == ("yunet-mobilefacenet", "")


@pytest.mark.parametrize("kind", ["dlib", "pack.toml", "graphs"])
def test_a_pack_is_described_as_it_loads(kind: str, folder: Path, buffalo: Path) -> None:
    name = {"dlib": "dlib", "pack.toml": str(folder), "graphs": str(buffalo)}[kind]
    pack, info = load_pack(name), describe_pack(name)
    for field in ("name", "licence", "source", "commercial_use", "encoder"):
        assert getattr(pack, field) == getattr(info, field)
    assert (info.detector_hash, info.encoder_hash) == (pack.detector_hash, pack.encoder_hash)
    assert len({info.detector_hash, info.encoder_hash, ""}) == 3


def test_keys_that_hold_hashes_stay_valid(folder: Path) -> None:
    known = {
        "dlib": ("c13a14e7a06dcf54cb3a158768e2698c", "b8312eed86da12da2947d386f6463ca5"),
        str(folder): ("d3757cf057e150c27a618139942ea7b4", "769810864aa8c0f6308434b36157cb6a"),
    }
    for name, (detector, encoder) in known.items():
        info = describe_pack(name)
        assert info.detector_hash.startswith(detector)
        assert info.encoder_hash.startswith(encoder)


def test_script_needs_the_test_material(tmp_path: Path) -> None:
    copy = tmp_path / "project" / "scripts" / "test_packs"
    copy.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, copy)
    done = subprocess.run(
        [sys.executable, copy, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"no model files at {tmp_path / 'shared' / 'models'}: put the test material there\n"
    )
    assert not (tmp_path / "out").exists()


def test_script_writes_the_published_weights(yunet_pack: Path, shared: Path) -> None:
    published = torch.load(
        shared / "models" / "mobilefacenet" / "mobilefacenet.pt", "cpu", weights_only=True
    )
    written = load_file(yunet_pack / "mobilefacenet.safetensors")
    assert written.keys() == published.keys()
    assert all(np.array_equal(written[name], published[name]) for name in published)


@pytest.mark.parametrize("table", ["encoder", "detector"])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "zero\0byte"])
def test_only_a_regular_file_is_a_model(folder: Path, table: str, name: str) -> None:
    """A pipe would never answer, and a device never end."""
    if name == "pipe":
        os.mkfifo(folder / name)
    elif name.startswith("/"):
        name = "link"
        (folder / name).symlink_to("/dev/zero")
    rewrite(folder, setting(table, file=name))
    assert (
        ("no regular file" in (said := refusal(folder)))
        or "outside the folder" in said
        or ("no zero byte" in said)
    )


def test_a_pipe_in_a_folder_without_description_is_refused(buffalo: Path) -> None:
    folder = buffalo.rename(buffalo.with_name("mine"))
    os.mkfifo(folder / "third.onnx")
    with pytest.raises(PackError, match="is no regular file"):
        load_pack(str(folder))


def test_a_description_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pack.toml")
    with pytest.raises(PackError, match=r"has no pack.toml|no regular file"):
        load_pack(str(tmp_path))


def _cycle(graph: onnx.GraphProto) -> None:
    graph.node[0].input[0] = graph.node[-1].output[0]


def _huge_input(graph: onnx.GraphProto) -> None:
    for axis in graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 2**31


def _huge_weight(graph: onnx.GraphProto) -> None:
    graph.initializer[0].dims[:] = [2**40, 2**40]


def _huge_step(graph: onnx.GraphProto) -> None:
    shape = numpy_helper.from_array(np.array([1, 3, 2**20, 2**20]), "huge")
    graph.initializer.append(shape)
    first = graph.input[0].name
    graph.node.insert(0, helper.make_node("Expand", [first, "huge"], ["grown"]))
    graph.node[1].input[0] = "grown"


def _loop(graph: onnx.GraphProto) -> None:
    body = helper.make_graph([], "body", [], [])
    graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def _odd_name(graph: onnx.GraphProto) -> None:
    graph.node[0].name = "\x1b[2J"
    shape = numpy_helper.from_array(np.array([7, 7, 7, 7]), "odd")
    graph.initializer.append(shape)
    first = graph.input[0].name
    graph.node.insert(0, helper.make_node("Reshape", [first, "odd"], ["shaped"], name="\x1b[2J"))
    graph.node[1].input[0] = "shaped"


@pytest.mark.parametrize(
    "change", [_cycle, _huge_input, _huge_weight, _huge_step, _loop, _odd_name]
)
@pytest.mark.parametrize("name", ["det_500m.onnx", "w600k_mbf.onnx"])
def test_an_absurd_graph_is_refused_in_one_line(
    buffalo: Path,
    name: str,
    change: Callable[[onnx.GraphProto], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = onnx.load(buffalo / name)
    change(model.graph)
    onnx.save(model, buffalo / "other.onnx")
    (buffalo / name).unlink()
    folder = buffalo.rename(buffalo.with_name("mine"))
    with pytest.raises(PackError) as caught:
        load_pack(str(folder)).load_encoder()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800
    assert capfd.readouterr().err == ""  # onnxruntime would log names of the file
