"""Sizes and speeds of packs, as the commands tell them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import torch

from vcn_ray.cli.main import main
from vcn_ray.packs.load import describe_pack, load_pack
from vcn_ray.packs.speed import measure_speed


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


def test_commands_tell_sizes_and_speed(
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
