"""InsightFace's packs: its archives from a web server, and those with a manifest."""

from __future__ import annotations

import functools
import json
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import (
    BaseHTTPRequestHandler,
    HTTPServer,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pack_files import pack_files, with_folder, with_manifest, write_archive
from vcn_ray.cli.main import main
from vcn_ray.config import load_config
from vcn_ray.errors import PackError
from vcn_ray.packs.fetch import pull_pack
from vcn_ray.packs.find import open_pack
from vcn_ray.packs.load import load_pack

pytestmark = pytest.mark.usefixtures("home")


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


def test_a_pack_is_pulled_whole_and_once(
    shared: Path, home: Path, zoo: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = zoo
    write_archive(folder / "buffalo_sc.zip", pack_files(shared), "buffalo_sc/")
    assert main(["packs", "pull", "buffalo_sc", "--set", f"download.url={url}"]) == 0
    shown = capsys.readouterr()
    assert "non-commercial research only" in shown.out
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
        (_lacking, "does not hold det_500m.onnx: give another address as download.url, or fetch"),
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
        ("buffalo_xl", "http://127.0.0.1:9", "no pack to download is called 'buffalo_xl'"),
        ("buffalo_l", "http://127.0.0.1:9", "cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_an_error(home: Path, name: str, url: str, message: str) -> None:
    with pytest.raises(PackError, match=message):
        pull_pack(name, home, url)


@pytest.mark.parametrize(
    "url", ["http://me:secret@host/x", "file:///etc", "http://host:port/x", "http://a b/x", "host"]
)
def test_addresses_that_will_not_do_are_refused(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--set", f"download.url={url}"]) == 2
    shown = capsys.readouterr().err
    assert "download.url: must" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-nothing\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", "broke off"),
    ],
)
def test_servers_that_break_off_are_an_error(home: Path, answer: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(PackError, match=message):
            pull_pack("buffalo_sc", home, f"http://127.0.0.1:{server.getsockname()[1]}")


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


def test_files_in_folders_of_an_archive_are_taken_too(
    shared: Path, home: Path, zoo: tuple[str, Path], tmp_path: Path
) -> None:
    made = with_folder(tmp_path / "made" / "cheetah_s", shared)
    files = {p.relative_to(made).as_posix(): p for p in made.rglob("*") if p.is_file()}
    write_archive(zoo[1] / "cheetah_s.zip", files, "cheetah_s/")
    pulled = pull_pack("cheetah_s", home, zoo[0])
    assert load_pack(str(pulled)).detector_hash == load_pack(str(made)).detector_hash


def test_a_package_without_recognition_is_no_pack(shared: Path, home: Path) -> None:
    folder = with_manifest(home / "raccoon_s", shared)
    content = json.loads((folder / "manifest.json").read_text())
    del content["tasks"]["recognition"]
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(PackError, match="cannot be used"):
        load_pack("raccoon_s")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_a_damaged_archive_is_refused_in_one_line(
    shared: Path, home: Path, zoo: tuple[str, Path], kind: int
) -> None:
    url, folder = zoo
    path = folder / "buffalo_sc.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, file in pack_files(shared).items():
            archive.write(file, name)
    content = bytearray(path.read_bytes())
    content[200:5000] = bytes(4800)
    path.write_bytes(content)
    with pytest.raises(PackError, match=r"is no archive of a pack \(.*unpack it into"):
        pull_pack("buffalo_sc", home, url)
    assert not (home / "buffalo_sc").exists()


@pytest.mark.parametrize("length", ["abc", "-5", "9" * 40, ""])
def test_a_stated_length_of_nonsense_is_no_traceback(
    shared: Path, home: Path, tmp_path: Path, length: str
) -> None:
    write_archive(tmp_path / "a.zip", pack_files(shared))
    content = (tmp_path / "a.zip").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        if length.isdigit():
            with pytest.raises(PackError, match="broke off"):
                pull_pack("buffalo_sc", home, url)
        else:
            pull_pack("buffalo_sc", home, url)
            assert load_pack("buffalo_sc").encoder == "onnx"
