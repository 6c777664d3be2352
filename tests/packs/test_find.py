"""Packs on S3: found by prefix and by name, fetched once, and kept as they were planned with."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pack_files import with_folder
from tests.helpers.s3_server import S3Server
from vcn_ray.cli.main import main
from vcn_ray.config import RunConfig, load_config
from vcn_ray.errors import PackError
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.packs.fetch import _fetch_object, fetch_pack
from vcn_ray.packs.find import find_pack, open_pack, resolve_pack
from vcn_ray.packs.load import load_pack

BUCKET = "packs"


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def on_s3(s3_server: S3Server, yunet_pack: Path) -> Iterator[S3Server]:
    """Two packs below one prefix; a folder within one of them is none of its files."""
    client = s3_server.client
    client.create_bucket(Bucket=BUCKET)
    for folder in (yunet_pack, yunet_pack.parent / "scrfd-mobilefacenet"):
        for file in folder.iterdir():
            client.upload_file(str(file), BUCKET, f"models/{folder.name}/{file.name}")
    client.put_object(Bucket=BUCKET, Key="models/yunet-mobilefacenet/old/pack.toml", Body=b"?")
    yield s3_server
    for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]:
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


def reached(server: S3Server, pack: str = "dlib") -> RunConfig:
    values = dict(word.split("=", 1) for word in server.settings if "=" in word)
    return load_config(None, values | {"pack": pack})


def test_a_pack_on_s3_is_the_same_and_fetched_once(on_s3: S3Server, yunet_pack: Path) -> None:
    config = reached(on_s3, f"s3://{BUCKET}/models/yunet-mobilefacenet")
    there, here = open_pack(config), load_pack(str(yunet_pack))
    assert (there.detector_hash, there.encoder_hash) == (here.detector_hash, here.encoder_hash)
    fetched = on_s3.count("GET", BUCKET, "models/yunet-mobilefacenet/")
    open_pack(config)
    info = find_pack(config)
    assert (info.detector_hash, info.encoder_hash) == (here.detector_hash, here.encoder_hash)
    assert on_s3.count("GET", BUCKET, "models/yunet-mobilefacenet/") == fetched
    config = reached(on_s3, f"s3://{BUCKET}/models/")
    with pytest.raises(PackError, match=r"holds no pack: put pack\.toml"):
        open_pack(config)
    with pytest.raises(PackError, match="is no address of a pack"):
        open_pack(reached(on_s3, "gs://bucket/pack"))


def test_another_pack_below_the_same_prefix_is_fetched_again(
    on_s3: S3Server, yunet_pack: Path
) -> None:
    uri = f"s3://{BUCKET}/models/yunet-mobilefacenet"
    config = reached(on_s3, uri)
    before = fetch_pack(uri, config.s3)
    text = (yunet_pack / "pack.toml").read_text().replace("min_score = 0.5", "min_score = 0.6")
    on_s3.client.put_object(
        Bucket=BUCKET, Key="models/yunet-mobilefacenet/pack.toml", Body=text.encode()
    )
    after = fetch_pack(uri, config.s3)
    assert after != before
    assert after.name == before.name == "yunet-mobilefacenet"
    assert open_pack(config).detector_hash != load_pack(str(before)).detector_hash


def test_a_run_keeps_the_pack_that_it_was_planned_with(
    on_s3: S3Server, yunet_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = reached(on_s3).s3
    pinned = resolve_pack(f"s3://{BUCKET}/models/yunet-mobilefacenet/", s3)
    assert re.fullmatch(rf"s3://{BUCKET}/models/yunet-mobilefacenet#[0-9a-f]{{12}}", pinned)
    assert resolve_pack(pinned, s3) == pinned
    planned = load_pack(str(fetch_pack(pinned, s3)))
    key = "models/yunet-mobilefacenet/pack.toml"
    on_s3.client.put_object(Bucket=BUCKET, Key=key, Body=b"another one")
    # A machine that has it asks nobody; one that lacks it must not take another.
    away = load_config(None, {"s3.endpoint": "http://127.0.0.1:9", "pack": pinned})
    assert open_pack(away).encoder_hash == planned.encoder_hash
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new machine"))
    with pytest.raises(PackError, match="holds another pack than when the run was planned"):
        fetch_pack(pinned, s3)


def test_a_damaged_copy_is_fetched_again(on_s3: S3Server) -> None:
    config = reached(on_s3, f"s3://{BUCKET}/models/scrfd-mobilefacenet")
    whole = open_pack(config).detector_hash
    shares: list[float] = []
    folder = fetch_pack(config.pack, config.s3, shares.append)
    assert shares == []  # nothing had to be fetched
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert open_pack(config, progress=shares.append).detector_hash == whole
    assert len(shares) == 3
    assert shares[-1] == 1


def test_a_listing_that_is_too_long_ends(on_s3: S3Server) -> None:
    uri, s3 = f"s3://{BUCKET}/models/yunet-mobilefacenet", reached(on_s3).s3
    key = "models/yunet-mobilefacenet/pack.toml"
    (entry,) = S3Objects(BUCKET, s3).list(key)
    with pytest.raises(PackError, match="was replaced while it was fetched"):
        _fetch_object(S3Objects(BUCKET, s3), entry._replace(size=entry.size + 1), folder_for(uri))


def folder_for(uri: str) -> Path:
    return Path.home() / "fetched" / uri.rsplit("/", 1)[-1]


def test_a_name_leads_to_the_first_place_that_has_it(
    on_s3: S3Server, yunet_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, name = reached(on_s3).s3, "yunet-mobilefacenet"
    monkeypatch.setenv("VCN_PACKS", f"s3://{BUCKET}/models/:{yunet_pack.parent}")
    assert resolve_pack(name, s3).startswith(f"s3://{BUCKET}/models/{name}#")
    monkeypatch.setenv("VCN_PACKS", f"{yunet_pack.parent}:s3://{BUCKET}/models")
    assert resolve_pack(name, s3) == str(yunet_pack)
    assert resolve_pack("dlib", s3) == "dlib"
    assert resolve_pack("nowhere", s3) == "nowhere"
    monkeypatch.delenv("VCN_PACKS")
    assert resolve_pack(name, s3) == name
    monkeypatch.chdir(yunet_pack.parent)
    assert resolve_pack(name, s3) == str(yunet_pack)  # a folder beside goes before all places
    assert resolve_pack(f"file://{yunet_pack}", s3) == str(yunet_pack)
    with pytest.raises(PackError, match="give the full path"):
        resolve_pack("~nobody-of-that-name/x", s3)


def test_the_commands_know_places_on_s3(
    on_s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_s3.client.put_object(Bucket=BUCKET, Key="models/broken/pack.toml", Body=b"name = 1")
    monkeypatch.setenv("VCN_PACKS", f"s3://{BUCKET}/models")
    before = len(on_s3.log)
    assert main(["packs", "list", *on_s3.settings]) == 0
    shown = capsys.readouterr().out
    assert f"s3://{BUCKET}/models/yunet-mobilefacenet" in " ".join(shown.split())
    assert "broken" in shown
    assert not any(request.key.endswith(".onnx") for request in on_s3.log[before:])
    monkeypatch.setenv("VCN_PACKS", f"s3://nowhere/x:s3://{BUCKET}/models")
    assert main(["packs", "list", *on_s3.settings]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "s3://nowhere" in shown
    assert "yunet-mobilefacenet" in shown
    assert main(["packs", "show", "yunet-mobilefacenet", *on_s3.settings]) == 2
    assert "a place of VCN_PACKS" in capsys.readouterr().err
    monkeypatch.setenv("VCN_PACKS", f"s3://{BUCKET}/models")
    assert main(["packs", "show", "scrfd-mobilefacenet", *on_s3.settings]) == 0
    assert "detector: scrfd" in capsys.readouterr().out
    assert main(["packs", "show", f"s3://{BUCKET}/models/nowhere", *on_s3.settings]) == 2
    assert "holds no pack" in capsys.readouterr().err


def _fetch_there(uri: str, config: RunConfig, found: Any) -> None:
    found.put(str(fetch_pack(uri, config.s3)))


@pytest.mark.slow
def test_many_workers_fetch_a_pack_once(on_s3: S3Server) -> None:
    uri, context = f"s3://{BUCKET}/models/scrfd-mobilefacenet", multiprocessing.get_context("spawn")
    found = context.Queue()
    before = on_s3.count("GET", BUCKET, "models/scrfd-mobilefacenet/pack.toml")
    workers = [
        context.Process(target=_fetch_there, args=(uri, reached(on_s3), found)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    folders = {found.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(folders) == 1
    assert on_s3.count("GET", BUCKET, "models/scrfd-mobilefacenet/pack.toml") == before + 1
    assert {p.name for p in Path(folders.pop()).parent.iterdir() if p.is_dir()} == {
        "scrfd-mobilefacenet"
    }


def test_files_in_folders_of_a_pack_are_fetched_too(
    shared: Path, on_s3: S3Server, tmp_path: Path
) -> None:
    made = with_folder(tmp_path / "cheetah_s", shared)
    for file in filter(Path.is_file, made.rglob("*")):
        on_s3.client.upload_file(
            str(file), BUCKET, f"models/cheetah_s/{file.relative_to(made).as_posix()}"
        )
    fetched = fetch_pack(f"s3://{BUCKET}/models/cheetah_s", reached(on_s3).s3)
    assert load_pack(str(fetched)).detector_hash == load_pack(str(made)).detector_hash
