"""Packs from elsewhere: an S3 prefix, InsightFace's archives, and its packs with a manifest."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import re
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import S3Server
from vcn_ray.cli import main
from vcn_ray.config import RunConfig, load_config
from vcn_ray.errors import PackError
from vcn_ray.io.pack_cache import _fetch, fetch_pack, pull_pack
from vcn_ray.io.s3_objects import S3Objects
from vcn_ray.models.packs import load_pack
from vcn_ray.run.find_pack import open_pack, resolve_pack

BUCKET = "packs"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without packs and an empty cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("VCN_PACKS", raising=False)
    return tmp_path / ".insightface" / "models"


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
    assert on_s3.count("GET", BUCKET, "models/yunet-mobilefacenet/") == fetched
    config = reached(on_s3, f"s3://{BUCKET}/models/")
    with pytest.raises(PackError, match=r"holds no pack: put pack\.toml"):
        open_pack(config)
    with pytest.raises(PackError, match="is no address of a pack"):
        open_pack(reached(on_s3, "gs://bucket/pack"))


def test_another_pack_below_the_same_prefix_is_fetched_anew(
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
        _fetch(S3Objects(BUCKET, s3), entry._replace(size=entry.size + 1), folder_for(uri))


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
    with pytest.raises(PackError, match="name a folder in full"):
        resolve_pack("~nobody-of-that-name/x", s3)


def test_the_commands_know_places_on_s3(
    on_s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_s3.client.put_object(Bucket=BUCKET, Key="models/broken/pack.toml", Body=b"name = 1")
    monkeypatch.setenv("VCN_PACKS", f"s3://{BUCKET}/models")
    before = len(on_s3.log)
    assert main(["packs", "list", *on_s3.settings]) == 0
    told = capsys.readouterr().out
    assert f"s3://{BUCKET}/models/yunet-mobilefacenet" in " ".join(told.split())
    assert "broken" in told
    assert not any(request.key.endswith(".onnx") for request in on_s3.log[before:])
    monkeypatch.setenv("VCN_PACKS", f"s3://nowhere/x:s3://{BUCKET}/models")
    assert main(["packs", "list", *on_s3.settings]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "s3://nowhere" in told
    assert "yunet-mobilefacenet" in told
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


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on loopback and the folder that it shows."""
    folder = tmp_path / "zoo"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def pack_files(shared: Path) -> dict[str, Path]:
    models = shared / "models"
    return {
        "det_500m.onnx": models / "scrfd_500m/det_500m.onnx",
        "w600k_mbf.onnx": models / "mobilefacenet/mobilefacenet_arcface.onnx",
    }


def write_archive(path: Path, files: dict[str, Path], inside: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, f"{inside}{name}")


def test_a_pack_is_pulled_whole_and_once(
    shared: Path, home: Path, zoo: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = zoo
    write_archive(folder / "buffalo_sc.zip", pack_files(shared), "buffalo_sc/")
    assert main(["packs", "pull", "buffalo_sc", "--set", f"download.url={url}"]) == 0
    told = capsys.readouterr()
    assert "non-commercial research only" in told.out
    assert {file.name for file in (home / "buffalo_sc").iterdir()} == set(pack_files(shared))
    assert load_pack("buffalo_sc").encoder == "onnx"
    (folder / "buffalo_sc.zip").unlink()
    assert pull_pack("buffalo_sc", home, url) == home / "buffalo_sc"
    # What lacks or is damaged is put in its place, and what else is there stays.
    (home / "buffalo_sc" / "w600k_mbf.onnx").unlink()
    (home / "buffalo_sc" / "det_500m.onnx").write_bytes(b"half of it")
    (home / "buffalo_sc" / "1k3d68.onnx").write_bytes(b"of no use here")
    write_archive(folder / "buffalo_sc.zip", pack_files(shared))
    shares: list[float] = []
    pull_pack("buffalo_sc", home, url, shares.append)
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert load_pack("buffalo_sc").encoder == "onnx"
    (home / "buffalo_sc" / "1k3d68.onnx").unlink()
    assert {file.name for file in (home / "buffalo_sc").iterdir()} == set(pack_files(shared))


def test_nothing_is_downloaded_unless_asked_for(
    shared: Path, home: Path, zoo: tuple[str, Path]
) -> None:
    url, folder = zoo
    write_archive(folder / "buffalo_sc.zip", pack_files(shared))
    asked = {"pack": "buffalo_sc", "download.url": url}
    with pytest.raises(PackError, match=r"put det_500m.onnx and w600k_mbf.onnx into .*packs pull"):
        open_pack(load_config(None, asked))
    assert not home.exists()
    config = load_config(None, asked | {"download.allowed": "true"})
    assert open_pack(config).licence.endswith("research only")


def _escape(path: Path, files: dict[str, Path]) -> None:
    write_archive(path, files)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.onnx", b"x")
        archive.writestr("run.sh", b"x")


def _truncate(path: Path, files: dict[str, Path]) -> None:
    write_archive(path, files)
    path.write_bytes(path.read_bytes()[:-1000])


def _spoil_member(path: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            archive.write(file, name)
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(range(100))
    path.write_bytes(content)


def _encrypt(path: Path, files: dict[str, Path]) -> None:
    write_archive(path, files)
    content = path.read_bytes()
    # The flag of the first member, in its own header and in the list at the end.
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + place
        content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
    path.write_bytes(content)


def _other_detector(path: Path, files: dict[str, Path]) -> None:
    write_archive(path, files | {"det_500m.onnx": files["w600k_mbf.onnx"]})


def _lacking(path: Path, files: dict[str, Path]) -> None:
    write_archive(path, {"w600k_mbf.onnx": files["w600k_mbf.onnx"]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, "is no archive of a pack"),
        (_spoil_member, "is no archive of a pack"),
        (_encrypt, "is no archive of a pack .*password"),
        (_other_detector, "InsightFace's det_500m.onnx has 5e4447f5"),
        (_lacking, "does not hold det_500m.onnx: name another address by download.url, or fetch"),
        (lambda path, files: None, "cannot be fetched .*404.*unpack it into .*/buffalo_sc$"),
    ],
)
def test_wrong_archives_leave_nothing(
    shared: Path,
    home: Path,
    zoo: tuple[str, Path],
    spoil: Callable[[Path, dict[str, Path]], None],
    message: str,
) -> None:
    url, folder = zoo
    spoil(folder / "buffalo_sc.zip", pack_files(shared))
    with pytest.raises(PackError, match=message):
        pull_pack("buffalo_sc", home, url)
    assert [file for file in home.iterdir() if file.is_dir()] == []


def test_an_archive_writes_nothing_elsewhere(
    shared: Path, home: Path, zoo: tuple[str, Path]
) -> None:
    url, folder = zoo
    _escape(folder / "buffalo_sc.zip", pack_files(shared))
    found = pull_pack("buffalo_sc", home, url)
    assert {file.name for file in found.iterdir()} == set(pack_files(shared))
    assert not list(home.parents[1].rglob("outside.onnx"))


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("buffalo_xl", "http://127.0.0.1:9", "no pack to be fetched is called 'buffalo_xl'"),
        ("buffalo_l", "http://127.0.0.1:9", "cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_told(home: Path, name: str, url: str, message: str) -> None:
    with pytest.raises(PackError, match=message):
        pull_pack(name, home, url)


@pytest.mark.parametrize(
    "url", ["http://me:secret@host/x", "file:///etc", "http://host:port/x", "http://a b/x", "host"]
)
def test_addresses_that_will_not_do_are_refused(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--set", f"download.url={url}"]) == 2
    told = capsys.readouterr().err
    assert "download.url must" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-nothing\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", "broke off"),
    ],
)
def test_servers_that_break_off_are_told(home: Path, answer: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(PackError, match=message):
            pull_pack("buffalo_sc", home, f"http://127.0.0.1:{server.getsockname()[1]}")


def with_manifest(folder: Path, shared: Path, **tasks: Any) -> Path:
    """A pack as InsightFace describes its later ones."""
    folder.mkdir(parents=True)
    told: dict[str, Any] = {}
    for task, (name, file) in zip(
        ("detection", "recognition"), pack_files(shared).items(), strict=True
    ):
        shutil.copy(file, folder / name)
        told[task] = {"file": name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    told["recognition"]["embedding_dimension"] = 128
    for task, change in tasks.items():
        told[task] = told.get(task, {}) | change
    (folder / "MODEL.LICENSE").write_text("for research")
    content = {"manifest_version": 2, "model_id": "cheetah_s", "license": "MODEL.LICENSE"}
    (folder / "manifest.json").write_text(json.dumps(content | {"tasks": told}))
    return folder


def test_a_manifest_describes_a_pack(shared: Path, home: Path, yunet_pack: Path) -> None:
    pack = load_pack(str(with_manifest(home / "cheetah_s", shared)))
    assert (pack.name, pack.encoder, pack.commercial_use) == ("cheetah_s", "onnx", False)
    plain = home / "buffalo_sc"
    plain.mkdir()
    for name, file in pack_files(shared).items():
        shutil.copy(file, plain / name)
    # The same graphs without a manifest: it changes nothing but the names.
    assert load_pack("buffalo_sc").encoder_hash == load_pack("cheetah_s").encoder_hash
    scale = {"preprocessing": {"mean": 0.0, "std": 255.0}}
    other = load_pack(str(with_manifest(home / "cheetah_l", shared, recognition=scale)))
    assert other.encoder_hash != pack.encoder_hash


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"recognition": {"sha256": "0" * 64}}, "has sha256"),
        ({"recognition": {"file": "../w600k_mbf.onnx"}}, "cannot be used .*escapes"),
        ({"detection": {"preprocessing": "embedded"}}, "its detector is no SCRFD"),
        ({"detection": {"file": "absent.onnx"}}, "cannot be used .absent.onnx missing"),
    ],
)
def test_wrong_manifests_are_refused(
    shared: Path, home: Path, tasks: dict[str, Any], message: str
) -> None:
    folder = with_manifest(home / "cheetah_s", shared, **tasks)
    with pytest.raises(PackError, match=message):
        load_pack(str(folder))


def test_a_pack_with_files_in_folders_is_fetched_whole(
    shared: Path, home: Path, zoo: tuple[str, Path], on_s3: S3Server
) -> None:
    made = with_manifest(home / "made" / "cheetah_s", shared)
    (made / "models").mkdir()
    (made / "det_500m.onnx").rename(made / "models" / "det_500m.onnx")
    told = (made / "manifest.json").read_text()
    (made / "manifest.json").write_text(told.replace('"det_500m', '"models/det_500m'))
    files = {str(p.relative_to(made)): p for p in made.rglob("*") if p.is_file()}
    write_archive(zoo[1] / "cheetah_s.zip", files, "cheetah_s/")
    for name, file in files.items():
        on_s3.client.upload_file(str(file), BUCKET, f"models/cheetah_s/{name}")
    hashes = {
        load_pack(str(folder)).detector_hash
        for folder in (
            made,
            pull_pack("cheetah_s", home, zoo[0]),
            fetch_pack(f"s3://{BUCKET}/models/cheetah_s", reached(on_s3).s3),
        )
    }
    assert len(hashes) == 1


def test_a_package_without_recognition_is_no_pack(shared: Path, home: Path) -> None:
    folder = with_manifest(home / "raccoon_s", shared)
    content = json.loads((folder / "manifest.json").read_text())
    del content["tasks"]["recognition"]
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(PackError, match="cannot be used"):
        load_pack("raccoon_s")
