"""The adapted encoder of a title, written as ONNX for those who serve it elsewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.helpers.committed import commit
from vcn_ray.cli.main import main
from vcn_ray.errors import StorageError, UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import save_arrays
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32
from vcn_ray.run.encoder import adapted_encoder
from vcn_ray.run.stored import find_title, stored_titles
from vcn_ray.schema import SCHEMA_VERSION


def learned(pack: FacePack) -> Backbone:
    """An encoder whose tail is another one than the pack's."""
    encoder = pack.load_encoder()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.tail_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02 * float(parameter.abs().mean()))
    return encoder


def store(storage: Storage, title: str, pack: FacePack, encoder: Backbone | None) -> None:
    """What a run leaves of a title, as far as this needs it."""
    title_id = f"{title}-0"
    names = {id(p) for p in encoder.tail_parameters()} if encoder else set()
    tensors = {
        f"encoder.{name}": parameter.detach().numpy()
        for name, parameter in (encoder.named_parameters() if encoder else ())
        if id(parameter) in names
    }
    folder = f"titles/{title_id}/result-1"
    summary = {
        "title": title,
        "pack": {"name": pack.name, "encoder_hash": pack.encoder_hash},
        "schema_version": SCHEMA_VERSION,
        "videos": [],
        "config": {"adapt": {"encoder": "tail"}},
        "warnings": [],
    }
    storage.write_bytes(
        f"{folder}/model.safetensors", save_arrays(tensors | {"head.x": np.zeros(1)})
    )
    storage.write_json(f"{folder}/result.json", summary)
    commit(storage, folder, {})
    storage.write_json(
        f"titles/{title_id}/latest.json", {"title": title, "result": "result-1", "uris": {}}
    )


def embed(file: Path, crops: F32) -> F32:
    session = onnxruntime.InferenceSession(str(file))
    embeddings: F32 = session.run(None, {session.get_inputs()[0].name: crops})[0]
    return embeddings


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "out"))


@pytest.mark.parametrize("name", ["dlib", "yunet-mobilefacenet"])
def test_torch_modules_are_written_with_what_they_do_to_pixels(
    storage: Storage, yunet_pack: Path, tmp_path: Path, name: str
) -> None:
    place = name if name == "dlib" else str(yunet_pack)
    pack, file = load_pack(place), tmp_path / "film.onnx"
    encoder = learned(pack)
    store(storage, "film", pack, encoder)
    assert main(["packs", "export", storage.uri, str(file), "--pack", place]) == 0
    side = encoder.input_pixels
    crops = np.random.default_rng(0).integers(0, 256, (3, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        wanted = encoder(encoder.prepare(torch.from_numpy(crops))).numpy()
        untaught = pack.load_encoder()
        before = untaught(untaught.prepare(torch.from_numpy(crops))).numpy()
    found, scale = embed(file, crops), np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 1e-4 * scale
    assert np.abs(found - before).max() > 1e-2 * scale


def test_a_graph_stays_the_graph_it_was(
    storage: Storage, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(shared / "models/scrfd_500m/det_500m.onnx", folder)
    shutil.copy(shared / "models/mobilefacenet/mobilefacenet_arcface.onnx", folder)
    pack, file = load_pack(str(folder)), tmp_path / "film.onnx"
    encoder = learned(pack)
    store(storage, "film", pack, encoder)
    assert main(["packs", "export", storage.uri, str(file), "--pack", str(folder)]) == 0
    assert "RGB, (grey level - 127.5 127.5 127.5) / 127.5" in capsys.readouterr().out
    pictures = np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    with torch.no_grad():
        wanted = encoder(torch.from_numpy(pictures)).numpy()
    assert np.abs(embed(file, pictures) - wanted).max() < 1e-4 * np.abs(wanted).max()
    source = folder / "mobilefacenet_arcface.onnx"
    names = [onnxruntime.InferenceSession(str(f)).get_inputs()[0].name for f in (source, file)]
    assert names[0] == names[1]


def test_titles_are_found_by_name_and_id(storage: Storage, yunet_pack: Path) -> None:
    pack = load_pack(str(yunet_pack))
    with pytest.raises(UsageError, match="holds no results: run vcn index"):
        find_title(storage, None)
    store(storage, "film", pack, None)
    assert find_title(storage, None).summary["title"] == "film"
    store(storage, "series", pack, None)
    assert find_title(storage, "film").folder == find_title(storage, "film-0").folder
    with pytest.raises(UsageError, match=r"2 titles: name one of film \(film-0\)"):
        find_title(storage, None)
    with pytest.raises(UsageError, match="and 0 called 'flim': name one of film"):
        find_title(storage, "flim")


def test_a_result_of_another_version_is_refused(storage: Storage, yunet_pack: Path) -> None:
    store(storage, "film", load_pack(str(yunet_pack)), None)
    path = f"{find_title(storage, None).folder}/result.json"
    storage.write_json(path, storage.read_json(path) | {"schema_version": "1"})
    with pytest.raises(UsageError, match=r"has schema version 1, .* index the title again"):
        find_title(storage, None)


def test_titles_of_another_version_are_skipped(
    storage: Storage, yunet_pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(storage, "film", load_pack(str(yunet_pack)), None)
    path = f"{find_title(storage, None).folder}/result.json"
    storage.write_json(path, storage.read_json(path) | {"schema_version": "1"})
    with pytest.raises(UsageError, match="holds no results"):
        list(stored_titles(storage))
    assert "skipped: " in caplog.text


def test_a_fault_of_another_title_does_not_matter(storage: Storage, yunet_pack: Path) -> None:
    pack = load_pack(str(yunet_pack))
    store(storage, "good", pack, None)
    store(storage, "bad", pack, None)
    path = f"{find_title(storage, 'bad').folder}/result.json"
    storage.write_bytes(path, b"{")
    assert find_title(storage, "good").summary["title"] == "good"
    with pytest.raises(StorageError, match=r"result\.json is damaged: it is no JSON"):
        find_title(storage, "bad")
    storage.delete(path)
    assert find_title(storage, "good-0").summary["title"] == "good"


def test_what_cannot_be_exported_is_told(
    storage: Storage,
    yunet_pack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack = load_pack(str(yunet_pack))
    store(storage, "head", pack, None)
    title = find_title(storage, None)
    for change, why in (
        ({}, "too little was found"),
        ({"warnings": [{"code": "encoder_collapsed"}]}, "collapsed"),
        ({"config": {"adapt": {"encoder": "frozen"}}}, 'set it to "tail"'),
    ):
        changed = title._replace(summary=title.summary | change)
        with pytest.raises(UsageError, match=why):
            adapted_encoder(changed, pack, storage)
    with pytest.raises(UsageError, match="encoder of pack dlib on this machine is a different one"):
        adapted_encoder(find_title(storage, None), load_pack("dlib"), storage)
    monkeypatch.delenv("VCN_PACKS", raising=False)
    assert main(["packs", "export", storage.uri, str(tmp_path / "film.onnx")]) == 2
    assert re.search("no pack is called 'yunet-mobilefacenet'.* by --pack", capsys.readouterr().err)
    store(storage, "head", pack, learned(pack))
    words = [
        "packs",
        "export",
        storage.uri,
        str(tmp_path / "nowhere/film.onnx"),
        "--pack",
        str(yunet_pack),
    ]
    assert main(words) == 2
    assert "cannot be written" in capsys.readouterr().err
