"""`vcn export` and `vcn_ray.export` on outputs as a run leaves them."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pandas as pd
import pytest

import vcn_ray
from tests.helpers.corrections import RIGHT, TITLE_ID, VIDEO, Seen
from tests.helpers.exports import NTSC, even_times, write_film
from tests.helpers.films import vcn
from tests.helpers.s3_server import S3Server
from vcn_ray.config import RunConfig
from vcn_ray.errors import UsageError
from vcn_ray.exports.formats import FORMATS
from vcn_ray.exports.words import DATASET, FORMAT_WORDS
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk


def seen_at(rate: Fraction) -> list[Seen]:
    """Ann from frame 25 to 100 and 110 to 120, p002 from 0 to 50, and a face of nobody."""
    second, rated = 1 / float(rate), float(rate)
    faces = rated / 5  # a second: one in each fifth picture
    return [
        Seen("t1", "p001", 25 * second, 100 * second, rate=rated, fps=faces),
        Seen("t2", "p001", 110 * second, 120 * second, rate=rated, fps=faces),
        Seen("t3", "p002", 0.0, 50 * second, RIGHT, face=1, rate=rated, fps=faces),
        Seen("t4", None, 200 * second, 250 * second, face=2, rate=rated, fps=faces),
    ]


def film(place: Path, rate: Fraction = Fraction(25), timecode: str | None = "") -> str:
    """An output of one title, in which p001 is called Ann."""
    storage = Storage.open(str(place / "out"))
    write_film(storage, seen_at(rate), rate, timecode)
    desk = Desk(storage, who="me")
    desk.name("p001", "Ann")
    return storage.uri


def rows(path: str) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def spans(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table[["name", "in_frame", "out_frame"]].to_numpy().tolist()]


@pytest.fixture
def out(tmp_path: Path) -> str:
    return film(tmp_path)


def test_every_format_has_words_and_a_writer() -> None:
    assert [*FORMATS, DATASET] == list(FORMAT_WORDS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_and_said(name: str, out: str, tmp_path: Path) -> None:
    ran = vcn("export", out, "--format", name, "--to", tmp_path / "files/")
    assert (ran.code, ran.err) == (0, "")
    stem = TITLE_ID if FORMATS[name].each != "video" else VIDEO
    path = tmp_path / "files" / f"{stem}{FORMATS[name].ending}"
    what = "123 boxes" if FORMATS[name].boxes else "3 ranges"
    assert ran.out.splitlines()[-1] == f"{what} in {path}"
    assert path.stat().st_size > 0


def test_a_dataset_is_written_and_said(out: str, tmp_path: Path) -> None:
    ran = vcn("export", out, "--format", "dataset", "--to", tmp_path / "lake")
    assert (ran.code, ran.err) == (0, "")
    (folder,) = (tmp_path / "lake").glob("dataset-*")
    assert ran.out.splitlines()[-1].endswith(f"rows in {folder}")
    people = pd.read_parquet(folder / "people")
    assert "Ann" in people["name"].tolist()
    again = vcn_ray.export(out, "dataset", to=tmp_path / "lake")
    assert again.files == (str(folder),)


@pytest.mark.parametrize("words", [["--title", "Film"], ["--person", "Ann"], ["--join", "1"]])
def test_a_dataset_is_of_the_whole_catalog(words: list[str], out: str, tmp_path: Path) -> None:
    ran = vcn("export", out, "--format", "dataset", "--to", tmp_path / "lake", *words)
    assert ran.code == 2
    assert "holds the whole catalog" in ran.err
    assert not (tmp_path / "lake").exists()


def test_names_and_corrections_count(out: str, tmp_path: Path) -> None:
    desk = Desk(Storage.open(out), who="me")
    desk.move(["t4"], into="p002")
    done = vcn_ray.export(out, "csv", to=tmp_path)
    table = rows(done.files[0])
    assert spans(table) == [
        ("", "0", "50"),
        ("Ann", "25", "100"),
        ("Ann", "110", "120"),
        ("", "200", "250"),
    ]
    assert table["person_id"].tolist() == ["p002", "p001", "p001", "p002"]
    assert table["in_timecode"].tolist()[1] == "00:00:01:00"


def test_ranges_of_a_person_are_chosen_and_joined(out: str, tmp_path: Path) -> None:
    done = vcn_ray.export(out, "csv", person="Ann", join=0.5, to=tmp_path / "ann.csv")
    assert done.files == (str(tmp_path / "ann.csv"),)
    assert spans(rows(done.files[0])) == [("Ann", "25", "120")]
    done = vcn_ray.export(out, "csv", person="p001", others=True, to=tmp_path / "rest.csv")
    assert spans(rows(done.files[0])) == [("", "0", "50")]


def test_all_others_are_blurred_strangers_too(out: str, tmp_path: Path) -> None:
    done = vcn_ray.export(out, "boxes", person="Ann", others=True, to=tmp_path)
    assert set(rows(done.files[0])["track_id"]) == {"t3", "t4"}
    Desk(Storage.open(out), who="me").no_face(["t4"])
    done = vcn_ray.export(out, "boxes", person="Ann", others=True, to=tmp_path)
    assert set(rows(done.files[0])["track_id"]) == {"t3"}


@pytest.mark.parametrize(
    ("timecode", "words", "first"),
    [
        ("", [], "00:00:00:25"),
        ("10:00:00;00", [], "10:00:00;25"),
        ("10:00:00:00", [], "10:00:00:25"),
        ("10:00:00:00", ["--drop-frame"], "10:00:00;25"),
        ("10:00:00;00", ["--no-drop-frame"], "10:00:00:25"),
        ("10:00:00;00", ["--start", "01:00:00:00"], "01:00:00:25"),
        ("10:00:00:00", ["--start", "00:00:59;10"], "00:01:00;07"),
        ("10:00:00:00", ["--rate", "25"], "10:00:00:21"),
    ],
)
def test_the_start_is_the_files_or_the_users(
    timecode: str, words: list[str], first: str, tmp_path: Path
) -> None:
    out = film(tmp_path, NTSC, timecode)
    ran = vcn("export", out, "--format", "csv", "--person", "Ann", "--to", tmp_path, *words)
    assert ran.code == 0, ran.err
    assert rows(f"{tmp_path}/{TITLE_ID}.csv")["in_timecode"][0] == first
    assert ("it has no start timecode, so it starts at 00:00:00:00" in ran.out) == (not timecode)
    assert ("non-drop frame: --drop-frame" in ran.out) == (not timecode)
    assert ("not its own rate" in ran.out) == ("--rate" in words)


def test_an_older_result_is_asked_for_at_its_file(tmp_path: Path) -> None:
    out = film(tmp_path, timecode=None)
    done = vcn_ray.export(out, "otio", to=tmp_path)
    assert "film.mov: it cannot be reached for its timecode, so it starts at" in done.notes[0]


def test_a_timecode_of_the_file_that_does_not_fit_is_said(tmp_path: Path) -> None:
    out = film(tmp_path, Fraction(25), "10:00:00:27")
    (note,) = vcn_ray.export(out, "csv", to=tmp_path).notes
    assert "its own timecode 10:00:00:27 does not exist at 25 frames a second" in note


def test_a_variable_rate_is_refused_with_advice(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "out"))
    seconds = np.delete(even_times(1000, Fraction(25)).seconds, [300, 500])
    write_film(storage, seen_at(Fraction(25)), seconds=seconds)
    for name, form in FORMATS.items():
        ran = vcn("export", storage.uri, "--format", name, "--to", tmp_path / "files/")
        assert ran.code == (2 if form.timecode == "needed" else 0), name
        assert ("no constant frame rate" in ran.err) == (ran.code == 2)
        assert ran.err.count("\n") == (ran.code == 2)
    table = rows(f"{tmp_path}/files/{TITLE_ID}.csv")
    assert set(table["in_timecode"]) == {""}
    with pytest.raises(UsageError, match="ffmpeg -i VIDEO -vf fps=25 -c:a copy COPY"):
        vcn_ray.export(storage.uri, "otio", to=tmp_path / "files")
    ran = vcn(
        *("export", storage.uri, "--format", "otio", "--rate", "50", "--to", tmp_path / "files/")
    )
    assert "50 frames a second are not its own rate: frames are counted from seconds" in ran.out
    timeline = otio.adapters.read_from_file(f"{tmp_path}/files/{VIDEO}.otio")
    (clip,) = timeline.find_clips()
    marks = [marker.marked_range for marker in clip.markers]
    assert [(m.start_time.value, m.duration.value) for m in marks] == [
        (0, 100),
        (50, 150),
        (220, 20),
    ]
    assert clip.source_range.duration.value == 2000


def test_a_video_that_cannot_be_written_does_not_stop_the_others(tmp_path: Path) -> None:
    out = film(tmp_path)
    seconds = np.delete(even_times(1000, Fraction(25)).seconds, 300)
    write_film(
        Storage.open(out),
        seen_at(Fraction(25)),
        seconds=seconds,
        title="Phone",
        title_id="phone-0",
        video_id="phone-1",
    )
    ran = vcn("export", out, "--format", "edl", "--to", tmp_path / "files/")
    assert ran.code == 1
    assert ran.err.startswith("left out: film.mov has no constant frame rate")
    assert [path.name for path in (tmp_path / "files").iterdir()] == [f"{VIDEO}.edl"]


def test_the_catalog_is_one_table_or_a_file_each(tmp_path: Path) -> None:
    out = film(tmp_path)
    write_film(
        Storage.open(out), seen_at(NTSC), NTSC, title="Two", title_id="two-0", video_id="two-1"
    )
    done = vcn_ray.export(out, "csv", to=tmp_path / "all")
    assert done.files == (f"{tmp_path}/all/appearances.csv",)
    assert rows(done.files[0])["title"].value_counts().to_dict() == {"Film": 3, "Two": 3}
    done = vcn_ray.export(out, "otio", to=tmp_path / "all")
    assert [Path(file).name for file in done.files] == [f"{VIDEO}.otio", "two-1.otio"]
    assert vcn_ray.export(out, "otio", title="Two", to=tmp_path / "two.otio").rows == 3
    with pytest.raises(UsageError, match=r"names one file, and there are several: name a folder"):
        vcn_ray.export(out, "otio", to=tmp_path / "both.otio")
    with pytest.raises(UsageError, match=r"p001 is another person in every title: .* --title"):
        vcn_ray.export(out, "csv", person="p001", to=tmp_path)
    assert vcn_ray.export(out, "csv", person="Ann", to=tmp_path / "ann.csv").rows == 2


def test_a_video_past_midnight_does_not_stop_the_table(tmp_path: Path) -> None:
    out = film(tmp_path, timecode="23:59:58:00")
    ran = vcn("export", out, "--format", "csv", "--to", tmp_path / "all.csv")
    assert ran.code == 0
    assert "film.mov: frames at 24 hours of timecode and behind have none" in ran.out
    table = rows(f"{tmp_path}/all.csv")
    ends = table[["in_timecode", "out_timecode"]].to_numpy().tolist()
    assert ends == [["23:59:58:00", ""], ["23:59:59:00", ""], ["", ""]]
    ran = vcn("export", out, "--format", "edl", "--to", tmp_path / "all.edl")
    assert "film.mov: frame" in ran.err
    assert "beyond 24 hours" in ran.err


def test_a_video_of_two_titles_has_a_file_for_each(tmp_path: Path) -> None:
    out = film(tmp_path)
    write_film(Storage.open(out), seen_at(Fraction(25)), title="Two", title_id="two-0")
    done = vcn_ray.export(out, "otio", to=tmp_path / "all")
    assert [Path(file).name for file in done.files] == [f"{VIDEO}.otio", f"{VIDEO}.two-0.otio"]
    timelines = [otio.adapters.read_from_file(file) for file in done.files]
    assert [timeline.name for timeline in timelines] == ["Film", "Two"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["--format", "csv", "--person", "Zoe"],
            r"has no person 'Zoe' there, only Ann, p001, p002",
        ),
        (["--format", "csv", "--title", "Nix"], "called 'Nix': name one of Film"),
        (["--format", "otio", "--start", "1:00"], "timecode 1:00: write it as 01:00:00:00"),
        (["--format", "otio", "--start", "25:00:00:00"], "hours end at 23"),
        (["--format", "edl", "--start", "23:59:59:00"], "beyond 24 hours"),
        (["--format", "otio", "--drop-frame"], "no drop frame at 25"),
        (["--format", "otio", "--rate", "15"], "write one of 24000/1001"),
        (["--format", "csv", "--join", "-1"], "write seconds, 0 or more"),
        (["--format", "csv", "--others"], "whom --person names: name one"),
        (["--format", "mot", "--start", "01:00:00:00"], "--start is about timecode, and mot has"),
        (["--format", "boxes", "--join", "1"], "--join is about ranges, and boxes has none"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], why: str, out: str, tmp_path: Path
) -> None:
    ran = vcn("export", out, *words, "--to", tmp_path / "files/")
    assert ran.code == 2
    assert why in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "files").exists()


def test_exports_do_not_lie_in_the_output(out: str) -> None:
    with pytest.raises(UsageError, match="lies in the output itself, where vcn erase would not"):
        vcn_ray.export(out, "csv", to=f"{out}/exports/")


@pytest.mark.parametrize("rate", [Fraction(25), NTSC])
def test_without_the_times_of_pictures_those_of_faces_count(rate: Fraction, tmp_path: Path) -> None:
    out = film(tmp_path, rate)
    first = vcn_ray.export(out, "csv", to=tmp_path / "before.csv")
    for path in Path(out).glob("videos/*/detect-*/*"):
        path.unlink()
    done = vcn_ray.export(out, "csv", to=tmp_path / "after.csv")
    assert Path(done.files[0]).read_bytes() == Path(first.files[0]).read_bytes()
    assert "film.mov: the times of its pictures were deleted" in done.notes[-1]
    assert vcn_ray.export(out, "coco", to=tmp_path / "after.json").rows == 123


def test_nobody_is_no_export(tmp_path: Path) -> None:
    write_film(Storage.open(str(tmp_path / "out")), [Seen("t1", None)])
    with pytest.raises(UsageError, match="nobody was found, so there is nothing to export"):
        vcn_ray.export(tmp_path / "out", "csv", to=tmp_path)


def test_a_name_that_is_changed_is_said(out: str, tmp_path: Path) -> None:
    Desk(Storage.open(out), who="me").name("p001", "=Ann | Lee")
    done = vcn_ray.export(out, "csv", to=tmp_path)
    assert "the name =Ann | Lee is written as '=Ann | Lee" in done.notes[-1]
    done = vcn_ray.export(out, "resolve-edl", to=tmp_path)
    assert "is written as =Ann \u00a6 Lee" in done.notes[-1]


def test_one_marker_on_a_frame_is_said(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "out"))
    seen = [Seen("t1", "p001", 1.0, 3.0, fps=5), Seen("t2", "p002", 1.0, 2.0, RIGHT, face=1, fps=5)]
    write_film(storage, seen)
    for name, form in FORMATS.items():
        done = vcn_ray.export(storage.uri, name, to=tmp_path / "files")
        said = [note for note in done.notes if "Resolve keeps only one marker" in note]
        assert len(said) == form.one_a_frame, name


def test_a_separator_is_for_tables_alone(out: str, tmp_path: Path) -> None:
    ran = vcn("export", out, "--format", "csv", "--separator", "tab", "--to", tmp_path / "a.csv")
    assert ran.code == 0
    table = pd.read_csv(tmp_path / "a.csv", sep="\t")
    assert table["person_id"].tolist() == ["p002", "p001", "p001"]
    with pytest.raises(UsageError, match="--separator is about csv and boxes, and otio has none"):
        vcn_ray.export(out, "otio", separator=";", to=tmp_path)
    with pytest.raises(UsageError, match="there is no separator 'x': name one of , ; tab"):
        vcn_ray.export(out, "csv", separator="x", to=tmp_path)


def test_a_dataset_without_a_place_has_a_folder_of_its_own(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    done = vcn_ray.export(out, "dataset")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "vcn-dataset"}
    assert done.files[0].startswith(str(tmp_path / "vcn-dataset"))


def test_a_list_that_is_cut_says_how_much_is_left(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "out"))
    people = [Seen(f"t{n}", f"p{n:03d}", 5.0 * n, 5.0 * n + 4, face=n, fps=5) for n in range(1, 16)]
    write_film(storage, people)
    with pytest.raises(UsageError, match=r"only p001, .*p012 and 3 more$"):
        vcn_ray.export(storage.uri, "csv", person="Zoe", to=tmp_path)


@pytest.mark.network
def test_s3_gives_the_same_bytes_and_takes_them(s3_server: S3Server, tmp_path: Path) -> None:
    s3_server.client.create_bucket(Bucket="exports")
    s3 = S3Config(endpoint=s3_server.url, region="us-east-1")
    here, there = film(tmp_path), Storage.open("s3://exports/out", s3)
    write_film(there, seen_at(Fraction(25)))
    Desk(there, who="me").name("p001", "Ann")
    for name, form in FORMATS.items():
        local = vcn_ray.export(here, name, to=tmp_path / "files")
        remote = vcn_ray.export(there.uri, name, to="s3://exports/files/", config=RunConfig(s3=s3))
        stem = TITLE_ID if form.each != "video" else VIDEO
        assert remote.files == (f"s3://exports/files/{stem}{form.ending}",)
        body = io.BytesIO()
        s3_server.client.download_fileobj("exports", f"files/{stem}{form.ending}", body)
        assert body.getvalue() == Path(local.files[0]).read_bytes()
    one = vcn_ray.export(there.uri, "csv", to="s3://exports/one.csv", config=RunConfig(s3=s3))
    assert one.files == ("s3://exports/one.csv",)
