from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vcn_ray.errors import UsageError
from vcn_ray.io.catalog import CatalogVideo, read_catalog


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "season" / "one").mkdir(parents=True)
    for name in ("season/one/b.MKV", "season/a.mp4", "season/notes.txt"):
        (tmp_path / name).write_bytes(b"")
    missing = tmp_path / "missing.mp4"
    found = read_catalog([str(missing), str(tmp_path / "season"), str(tmp_path / "season/a.mp4")])
    assert [Path(video.uri).name for video in found] == ["missing.mp4", "a.mp4", "b.MKV"]
    assert all(video.title is None for video in found)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_manifests(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"catalog.{ending}"
    if ending == "csv":
        path.write_text('uri,title\ne1.mp4,Season 1\n"/films/e 2.mp4",007\nfilm.mp4,\n')
    elif ending == "jsonl":
        path.write_text(
            '{"uri": "e1.mp4", "title": "Season 1"}\n{"uri": "/films/e 2.mp4", "title": "007"}\n'
            '{"uri": "film.mp4", "title": null}\n'
        )
    else:
        uris = ["e1.mp4", "/films/e 2.mp4", "film.mp4"]
        pq.write_table(pa.table({"uri": uris, "title": ["Season 1", "007", None]}), path)
    assert read_catalog([str(path)]) == [
        CatalogVideo(str(tmp_path / "e1.mp4"), "Season 1"),
        CatalogVideo("/films/e 2.mp4", "007"),
        CatalogVideo(str(tmp_path / "film.mp4"), None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url,title\na.mp4,x\n", r"unknown column 'url', did you mean 'uri'\?"),
        ("title\nx\n", "needs a column 'uri', has title"),
        ("uri\n\n,\n", "cannot be read as a manifest|has no uri"),
        ("uri,titel\na.mp4,x\n", r"unknown column 'titel', did you mean 'title'\?"),
        ("uri\nhttps://host/a.mp4\n", r"row 1: https://host/a\.mp4: name a path"),
        ("uri\ns3://me:secret/x@bucket/a.mp4\n", "row 1: s3://\\*\\*\\*@bucket/a.mp4: write"),
        ("", "cannot be read as a manifest"),
        ("uri,uri\na.mp4,b.mp4\n", "column 'uri' more than once"),
        ("uri\n~nobody-of-this-name/a.mp4\n", "home directory"),
    ],
)
def test_a_wrong_manifest_is_reported_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_catalog([str(path)])
    assert "\n" not in str(caught.value)


def test_other_wrong_inputs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such manifest"):
        read_catalog([str(tmp_path / "nothing.csv")])
    with pytest.raises(UsageError, match="no videos below the folder"):
        read_catalog([str(tmp_path)])
    with pytest.raises(UsageError, match="name a path of this machine or s3://bucket/key"):
        read_catalog(["gs://bucket/film.mp4"])
    (tmp_path / "c.csv").write_text("uri,title\na.mp4,One\na.mp4,Two\n")
    with pytest.raises(UsageError, match=r"a\.mp4 is listed twice"):
        read_catalog([str(tmp_path / "c.csv")])


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        (".csv", "uri,title\na.mp4,x\n".encode("utf-16"), "in UTF-16: save it as UTF-8"),
        (".jsonl", '{"uri": "a.mp4"}'.encode("utf-16"), "in UTF-16: save it as UTF-8"),
        (".csv", b"uri\na\xff\xfe.mp4\n", "UTF8"),
        (".csv", b"uri,t\xff\na,b\n", "utf-8"),
        (".jsonl", b'{"uri": "a\xff.mp4"}\n', "UTF8|JSON"),
        (".jsonl", b'{"uri": ' + b"[" * 100_000 + b"\n", "cannot be read"),
        (".jsonl", b'{"uri": "a\\u0000.mp4"}\n', "row 1: a uri holds no zero byte"),
        (".parquet", b"PAR1" * 100, "cannot be read"),
        (".csv", b"x" * 100_000 + b",uri\n1,2\n", "unknown column 'x+'"),
    ],
)
def test_a_hostile_manifest_is_one_short_line(
    tmp_path: Path, ending: str, content: bytes, message: str
) -> None:
    path = tmp_path / f"catalog{ending}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_catalog([str(path)])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_bad_text_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "catalog.parquet"
    text = pa.array([b"a\xff.mp4"]).view(pa.string())
    pq.write_table(pa.table({"uri": text}), path)
    with pytest.raises(UsageError, match="cannot be read as a manifest"):
        read_catalog([str(path)])
