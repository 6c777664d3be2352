"""The check of a pack on a picture, and its sizes and speeds, in functions and commands."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.pack_files import rewrite, with_checksum
from vcn_ray.cli.main import main
from vcn_ray.packs.check import check_pack, face_problems, measure_speed
from vcn_ray.packs.face_pack import Detector
from vcn_ray.packs.inspect import inspect_folder
from vcn_ray.packs.load import describe_pack, load_pack
from vcn_ray.records import U8, Detections


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
    assert face_problems(6, 2, 0.9, 0.1) == ["2 boxes hold no face: raise min_score?"]


def test_a_smaller_frame_takes_less(yunet_pack: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        pack = load_pack(str(yunet_pack))
        large, small = (measure_speed(pack, side, time.process_time, 1) for side in (960, 240))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert small.frames > 3 * large.frames > 0
    assert large.faces > 0


def test_sizes_are_those_of_the_files(yunet_pack: Path) -> None:
    info = describe_pack(str(yunet_pack))
    assert info.detector_bytes == (yunet_pack / "yunet_n_dynamic.onnx").stat().st_size
    assert info.encoder_bytes == (yunet_pack / "mobilefacenet.safetensors").stat().st_size
    dlib = describe_pack("dlib")
    assert (dlib.detector_bytes, dlib.encoder_bytes) == (9880429, 22466066)


def test_commands_show_sizes_and_speed(
    yunet_pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VCN_PACKS", str(tmp_path / "packs"))
    (tmp_path / "packs" / "broken").mkdir(parents=True)
    shutil.copytree(yunet_pack, tmp_path / "packs" / "mine")
    assert main(["packs", "list"]) == 0
    plain = capsys.readouterr().out
    assert "frames/s" not in plain
    assert main(["packs", "list", "--speed"]) == 0
    timed = capsys.readouterr().out
    assert "frames/s" in timed
    assert "pack.toml:" in timed
    for shown in (plain, timed):
        lines = [line.split("│") for line in shown.splitlines() if line.startswith("│")]
        rows = {name.strip(): cells for _, name, *cells in lines}
        assert rows["dlib"][1].strip() == "9.9 + 22.5"
        assert rows["yunet-mobilefacenet"][1].strip() == "0.3 + 4.1"
        assert rows["broken"][1].strip() == "-"
    assert [float(cell) > 0 for cell in rows["dlib"][2:4]] == [True, True]
    assert [cell.strip() for cell in rows["broken"][2:4]] == ["-", "-"]
    assert main(["packs", "show", "dlib"]) == 0
    assert "detector MB: 9.8804\nencoder MB: 22.4661\n" in capsys.readouterr().out
