"""Packs: what is read, what is refused and how it is said, and the check on a real picture."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from vcn_ray.errors import PackError
from vcn_ray.packs.check import check_pack, problems_of, read_picture
from vcn_ray.packs.face_pack import Detector
from vcn_ray.packs.inspect import inspect_folder
from vcn_ray.packs.load import describe_pack, list_packs, load_pack
from vcn_ray.records import U8, Detections

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test_packs"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own; returns where InsightFace's packs would lie in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    models = tmp_path / ".insightface" / "models"
    models.mkdir(parents=True)
    return models


@pytest.fixture
def folder(yunet_pack: Path, tmp_path: Path) -> Path:
    """A copy of the pack folder, to spoil."""
    return Path(shutil.copytree(yunet_pack, tmp_path / "pack"))


def rewrite(folder: Path, change: Change) -> None:
    path = folder / "pack.toml"
    content = tomllib.loads(path.read_text())
    change(content)
    path.write_text(tomli_w.dumps(content))


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

    rewrite(folder, lambda content: content["detector"].update(min_score=0.7))
    stricter = load_pack(str(folder))
    assert stricter.detector_hash != original.detector_hash
    assert stricter.encoder_hash == original.encoder_hash


def test_settings_take_effect(folder: Path) -> None:
    picture = read_picture()[None]
    rewrite(folder, lambda content: content["detector"].update(min_score=0.93))
    assert len(load_pack(str(folder)).detector.detect(picture)[0]) < 6
    seen = []
    for pixels in (640, 960):
        settings = {"min_score": 0.5, "input_pixels": pixels}
        rewrite(folder, lambda content, settings=settings: content["detector"].update(settings))
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
            "'haar' will not do: Input should be 'yunet'",
        ),
        (lambda c: c["encoder"].update(kind="arcface"), "encoder.kind = 'arcface' will not do"),
        (lambda c: c["encoder"].update(channels="bgr"), "only a graph of kind onnx"),
        (lambda c: c["encoder"].update(mean=[1.0, 2.0]), "encoder.mean = [1.0, 2.0] will not do"),
        (lambda c: c["encoder"].update(input_pixels=128), "encoder.input_pixels = 128 will not do"),
        (lambda c: c["detector"].update(min_score="0.5"), "detector.min_score = '0.5' will not do"),
        (lambda c: c["detector"].update(min_score=1.5), "detector.min_score = 1.5 will not do"),
        (lambda c: c.update(commercial_use="yes"), "commercial_use = 'yes' will not do"),
        (lambda c: c["encoder"].update(sha256="abc"), "encoder.sha256 = 'abc' will not do"),
        (lambda c: c.update(detector=3), "detector = 3 will not do"),
    ],
)
def test_wrong_keys_are_named(folder: Path, change: Change, said: str) -> None:
    rewrite(folder, change)
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["../pack2/yunet_n_dynamic.onnx", "/etc/hostname", "link.onnx"])
def test_files_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    shutil.copytree(folder, folder.parent / "pack2")
    (folder / "link.onnx").symlink_to(folder.parent / "pack2" / "yunet_n_dynamic.onnx")
    rewrite(folder, lambda content: content["detector"].update(file=name))
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


def with_checksum(folder: Path, table: str) -> None:
    """Make pack.toml agree with whatever the file now holds."""

    def update(content: dict[str, Any]) -> None:
        path = folder / content[table]["file"]
        content[table]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    rewrite(folder, update)


def test_other_content_than_the_kind_says_is_refused(folder: Path, capfd: Any) -> None:
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
        rewrite(folder, lambda content, kind=kind: content["detector"].update(kind=kind))
        with pytest.raises(PackError, match=f"cannot be opened as {kind}"):
            load_pack(str(folder))


@pytest.mark.parametrize("text", [b"name = ", b"\xff\xfe", b"[detector\n"])
def test_broken_toml_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "pack.toml").write_bytes(text)
    assert "cannot be read as TOML" in refusal(tmp_path)


def test_unknown_names_get_a_suggestion(home: Path, tmp_path: Path) -> None:
    assert refusal("dlob").endswith("did you mean 'dlib'?")
    assert refusal("bufalo_l").endswith("did you mean 'buffalo_l'?")
    assert "known are dlib, " in refusal(str(tmp_path / "nowhere"))
    assert "has no pack.toml" in refusal(tmp_path)
    (tmp_path / "file").touch()
    assert "give the folder that holds pack.toml" in refusal(tmp_path / "file")


@pytest.fixture
def buffalo(shared: Path, tmp_path: Path) -> Path:
    """A folder with the files of InsightFace's smallest pack; its encoder is another net."""
    folder = tmp_path / "elsewhere" / "buffalo_sc"
    folder.mkdir(parents=True)
    models = shared / "models"
    shutil.copy(models / "scrfd_500m/det_500m.onnx", folder)
    shutil.copy(models / "mobilefacenet/mobilefacenet_arcface.onnx", folder / "w600k_mbf.onnx")
    return folder


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
    names = [info.name for info in list_packs()]
    assert names == ["dlib", *sorted(made), "buffalo_sc"]


def test_a_folder_needs_one_detector_and_one_encoder(buffalo: Path) -> None:
    folder = buffalo.rename(buffalo.parent / "mine")
    shutil.copy(folder / "w600k_mbf.onnx", folder / "second.onnx")
    assert "one face-ID encoder (second.onnx, w600k_mbf.onnx)" in refusal(folder)
    (folder / "second.onnx").unlink()
    (folder / "det_500m.onnx").unlink()
    assert "one detector (none of 1 ONNX files is one)" in refusal(folder)


def test_an_onnx_encoder_is_told_how_its_input_is_scaled(buffalo: Path) -> None:
    spec = inspect_folder(buffalo)
    content = spec.model_dump(exclude_none=True)
    (buffalo / "pack.toml").write_text(tomli_w.dumps(content))
    plain = load_pack(str(buffalo))
    crops = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    for change in ({"channels": "bgr"}, {"mean": [0.0, 0.0, 0.0]}, {"std": [1.0, 2.0, 3.0]}):
        rewrite(buffalo, lambda c, change=change: c["encoder"].update(change))
        other = load_pack(str(buffalo))
        assert other.encoder_hash != plain.encoder_hash
        assert other.detector_hash == plain.detector_hash
        assert not torch.allclose(
            other.load_encoder().embed(crops), plain.load_encoder().embed(crops)
        )
        (buffalo / "pack.toml").write_text(tomli_w.dumps(content))
    rewrite(buffalo, lambda c: c["encoder"].update(input_pixels=128))
    with pytest.raises(PackError, match="takes pictures of 112 pixels"):
        load_pack(str(buffalo)).load_encoder()


def test_list_shows_what_is_there(home: Path, yunet_pack: Path) -> None:
    assert [info.name for info in list_packs()] == ["dlib"]
    (home / "nothing").mkdir()
    shutil.copytree(yunet_pack, home / "mine")
    (home / "some.zip").touch()
    dlib, mine, nothing = list_packs()
    assert dlib.commercial_use
    assert dlib.problem == ""
    assert nothing.name == "nothing"
    assert "has no pack.toml" in nothing.problem
    assert (mine.name, mine.problem) == ("yunet-mobilefacenet", "")


def test_dlib_is_described_as_it_loads() -> None:
    pack, info = load_pack("dlib"), describe_pack("dlib")
    assert (pack.name, pack.licence, pack.source) == (info.name, info.licence, info.source)
    assert (pack.commercial_use, pack.encoder) == (info.commercial_use, info.encoder)


@pytest.mark.parametrize("name", ["yunet-mobilefacenet", "scrfd-mobilefacenet"])
def test_check_passes_good_packs(yunet_pack: Path, name: str) -> None:
    check = check_pack(str(yunet_pack.parent / name))
    assert (check.name, check.faces, check.found, check.extra) == (name, 6, 6, 0)
    assert check.same_cosine is not None
    assert check.different_cosine is not None
    assert check.same_cosine > 0.8 > 0.4 > check.different_cosine
    assert check.detect_seconds > 0
    assert check.embed_seconds > 0
    assert check.problems == []


def test_check_finds_what_is_wrong(folder: Path) -> None:
    rewrite(folder, lambda content: content["detector"].update(min_score=0.999))
    check = check_pack(str(folder))
    assert (check.found, check.same_cosine, check.different_cosine) == (0, None, None)
    assert check.problems == ["found 0 of 6 faces: lower min_score?"]

    rewrite(folder, lambda content: content["detector"].update(min_score=0.5))
    weights = folder / "mobilefacenet.safetensors"
    state = load_file(weights)
    state["conv3.weight"].zero_()  # every face gets one embedding
    save_file(state, weights)
    with_checksum(folder, "encoder")
    (problem,) = check_pack(str(folder)).problems
    assert problem.startswith("two people look as alike")


def described(folder: Path, **encoder: Any) -> Path:
    """The folder with a pack.toml, its encoder described otherwise."""
    content = inspect_folder(folder).model_dump(exclude_none=True)
    content["encoder"] |= encoder
    (folder / "pack.toml").write_text(tomli_w.dumps(content))
    return folder


def test_check_passes_an_onnx_pack_as_it_is_inspected(buffalo: Path) -> None:
    check = check_pack(str(described(buffalo)))
    assert check.problems == []
    assert check.landmark_pixels is not None
    assert check.landmark_pixels < 6
    assert check.separation is not None
    assert check.separation > 4


def test_check_finds_a_wrong_scale(buffalo: Path) -> None:
    check = check_pack(str(described(buffalo, mean=[0.0] * 3, std=[1.0] * 3)))
    (problem,) = (problem for problem in check.problems if "better" in problem)
    assert "with mean = [127.5, 127.5, 127.5]" in problem


@dataclass
class Reordered:
    """A detector whose landmarks come in another order."""

    detector: Detector
    order: list[int]

    def detect(self, frames: U8) -> list[Detections]:
        found = self.detector.detect(frames)
        return [replace(faces, landmarks=faces.landmarks[:, self.order]) for faces in found]


@pytest.mark.parametrize(
    "order", [[1, 0, 2, 4, 3], [1, 0, 2, 3, 4], [0, 1, 2, 4, 3], [2, 1, 0, 3, 4]]
)
def test_check_finds_landmarks_in_another_order(
    yunet_pack: Path, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    pack = load_pack(str(yunet_pack))
    turned = replace(pack, detector=Reordered(pack.detector, order))
    monkeypatch.setattr("vcn_ray.packs.check.load_pack", lambda _: turned)
    assert any("in another order" in problem for problem in check_pack("turned").problems)


def test_check_reports_boxes_without_a_face() -> None:
    assert problems_of(6, 2, 0.9, 0.1) == ["2 boxes hold no face: raise min_score?"]


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
