"""The check on labelled faces: what is read, which face counts, and what is found to be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tomli_w
from PIL import Image

from vcn_ray.cli.main import main
from vcn_ray.errors import UsageError
from vcn_ray.packs import accuracy
from vcn_ray.packs.accuracy import (
    FaceCheck,
    central_face,
    check_faces,
    colour_problems,
    find_faces,
    rate_problems,
    read_face,
)
from vcn_ray.packs.check import PICTURE_FACES, read_picture
from vcn_ray.packs.inspect import inspect_folder
from vcn_ray.packs.load import load_pack
from vcn_ray.records import U8

LONG_SIDE = 960


def around(point: tuple[int, int], reach: int = 100) -> U8:
    """A part of the picture of six people about one of them, smaller at its edge."""
    x, y = point
    part = read_picture()[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
    return np.ascontiguousarray(part)


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A labelled folder of six people, each as they are and mirrored."""
    folder = tmp_path / "six"
    for number, point in enumerate(PICTURE_FACES):
        (folder / f"p{number}").mkdir(parents=True)
        part = Image.fromarray(around(point))
        part.save(folder / f"p{number}" / "a.png")
        part.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"p{number}" / "b.JPG")
    return folder


def some_faces(shared: Path, folder: Path, people: range, each: int) -> Path:
    """A part of the labelled photographs."""
    for number in people:
        person = shared / "data" / "faces" / f"id{number:03d}"
        (folder / person.name).mkdir(parents=True)
        for path in sorted(person.iterdir())[:each]:
            shutil.copy(path, folder / person.name)
    return folder


def test_pictures_are_found_by_person(six: Path) -> None:
    (six / "p0" / "notes.txt").touch()
    (six / "p0" / ".a.jpg").touch()
    (six / "p0" / "more.jpg").mkdir()
    (six / "nobody").mkdir()
    (six / ".hidden").mkdir()
    shutil.copy(six / "p0" / "a.png", six / "loose.png")
    found = find_faces(six)
    assert [str(path.relative_to(six)) for path, _ in found][:3] == [
        "p0/a.png",
        "p0/b.JPG",
        "p1/a.png",
    ]
    assert [person for _, person in found] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_folder_that_cannot_be_compared_is_refused(six: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(No such file or directory\)"):
        find_faces(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"cannot be read \(Not a directory\)"):
        find_faces(six / "p0" / "a.png")
    with pytest.raises(UsageError, match="pictures of 0 people, needed are two"):
        find_faces(six / "p0")
    for path in six.glob("*/b.JPG"):
        path.unlink()
    with pytest.raises(UsageError, match="one picture of each of 6 people"):
        find_faces(six)


def test_pictures_are_read_upright_and_small(tmp_path: Path) -> None:
    picture = Image.fromarray(read_picture())  # 1280 x 886
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    picture.convert("L").save(tmp_path / "grey.jpg")
    picture.convert("RGBA").save(tmp_path / "clear.png")
    assert np.array_equal(read_face(tmp_path / "turned.png", 1280), read_picture())
    grey = read_face(tmp_path / "grey.jpg", 320)
    assert grey is not None
    assert (grey.shape, grey.dtype) == ((222, 320, 3), np.uint8)
    assert np.array_equal(grey[..., 0], grey[..., 2])
    clear = read_face(tmp_path / "clear.png", 2000)
    assert np.array_equal(clear, read_picture())
    few = picture.convert("P")
    few.save(tmp_path / "few.png", transparency=bytes(range(256)))  # of which Pillow warns
    assert np.array_equal(read_face(tmp_path / "few.png", 2000), np.array(few.convert("RGB")))


def test_broken_pictures_are_none(six: Path) -> None:
    for name in ("a.png", "b.JPG"):
        path = six / "p0" / name
        path.write_bytes(path.read_bytes()[:1500])
        assert read_face(path, LONG_SIDE) is None
    path.write_text("no picture")
    assert read_face(path, LONG_SIDE) is None


@pytest.mark.parametrize("point", PICTURE_FACES)
def test_the_face_in_the_middle_counts(yunet_pack: Path, point: tuple[int, int]) -> None:
    detector = load_pack(str(yunet_pack)).detector
    height, width = read_picture().shape[:2]
    wide = np.pad(read_picture(), ((height, height), (width, width), (0, 0)))
    x, y = point[0] + width, point[1] + height
    seen = np.ascontiguousarray(wide[y - 300 : y + 300, x - 450 : x + 450])
    assert len(detector.detect(seen[None])[0]) > 1
    (box,) = central_face(detector, seen).boxes
    assert np.all(box[:2] < (450, 300))
    assert np.all(box[2:] > (450, 300))
    assert len(central_face(detector, seen[:40, :40].copy())) == 0


def test_check_counts_and_names(yunet_pack: Path, six: Path) -> None:
    (six / "p3" / "a.png").write_text("no picture")
    (six / "p5" / "c.jpeg").touch()
    done: list[float] = []
    check = check_faces(str(yunet_pack), six, LONG_SIDE, done.append)
    assert (check.name, check.people, check.pictures) == (yunet_pack.name, 6, 11)
    assert check.unreadable == ["p3/a.png", "p5/c.jpeg"]
    assert (check.found, check.bordered, check.recall) == (11, 0, 1.0)
    assert (check.same_pairs, check.different_pairs) == (5, 50)
    assert check.accepted == (None, None)  # at most one of a hundred, of fifty: no pair
    assert min(check.detect_seconds, check.embed_seconds) > 0
    assert check.problems == []
    assert done == pytest.approx(np.arange(1, 14) / 13)


def test_a_face_too_large_is_found_within_a_border(
    shared: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    folder = some_faces(shared, tmp_path / "close", range(2), 2)
    for path in folder.glob("*/*"):
        close = np.array(Image.open(path))[65:185, 65:185]
        Image.fromarray(cv2.resize(close, (960, 960))).save(path)
    check = check_faces(str(yunet_pack.parent / "scrfd-mobilefacenet"), folder, LONG_SIDE)
    assert (check.found, check.bordered) == (4, 4)


def test_a_folder_without_faces_is_a_problem(yunet_pack: Path, six: Path) -> None:
    for path in six.glob("*/*"):
        Image.new("RGB", (80, 60), "teal").save(path)
    check = check_faces(str(yunet_pack), six, LONG_SIDE)
    assert (check.found, check.recall, check.same_pairs) == (0, 0, 0)
    assert check.problems == ["found a face in 0 of 12 pictures: lower min_score?"]


def onnx_pack(shared: Path, folder: Path, channels: str) -> Path:
    """A folder with SCRFD and an encoder of kind onnx, said to take these channels."""
    folder.mkdir()
    models = shared / "models"
    shutil.copy(models / "scrfd_500m/det_500m.onnx", folder)
    shutil.copy(models / "mobilefacenet/mobilefacenet_arcface.onnx", folder)
    content = inspect_folder(folder).model_dump(exclude_none=True)
    content["encoder"]["channels"] = channels
    (folder / "pack.toml").write_text(tomli_w.dumps(content))
    return folder


def test_labels_find_swapped_colours(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "BATCH", 7)  # parts must come together
    faces = some_faces(shared, tmp_path / "faces", range(20, 30), 4)
    checks: dict[str, FaceCheck] = {}
    for channels in ("rgb", "bgr"):
        pack = onnx_pack(shared, tmp_path / channels, channels)
        checks[channels] = check_faces(str(pack), faces, LONG_SIDE)
        assert (checks[channels].found, checks[channels].same_pairs) == (40, 60)
    assert checks["rgb"].problems == []
    (problem,) = checks["bgr"].problems
    assert 'with channels = "rgb": was the encoder trained like that?' in problem


def test_a_word_on_colours_needs_people_and_certainty() -> None:
    given = np.linspace(4, 6, 12)
    assert colour_problems(given, given, bgr=False) == []
    assert colour_problems(given, 1.02 * given, bgr=False) == []  # surely, but not clearly
    assert colour_problems(given, 1.1 * given[::-1], bgr=False) == []  # clearly, but not surely
    assert colour_problems(given[:9], 1.1 * given[:9], bgr=False) == []
    (problem,) = colour_problems(given, 1.1 * given, bgr=False)
    assert "(5.50 deviations for 5.00)" in problem
    assert 'channels = "bgr"' in problem


def test_poor_figures_are_problems() -> None:
    assert rate_problems(90, 100, 0.5) == []
    assert rate_problems(90, 100, None) == []
    assert rate_problems(89, 100, 0.9) == ["found a face in 89 of 100 pictures: lower min_score?"]
    (problem,) = rate_problems(100, 100, 0.02)
    assert problem.startswith("TAR is 2% at FAR 0.01: the encoder")


def test_the_command_checks_both(
    yunet_pack: Path, six: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (six / "p1" / "z\x1b[31m.png").touch()
    assert main(["packs", "check", str(yunet_pack), "--faces", str(six)]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "faces found: 6" in lines  # in the picture of six people
    assert lines[lines.index(f"{six}:") :][1:7] == [
        "people: 6",
        "pictures: 12",
        "unreadable: 1 picture (p1/z?[31m.png)",
        "faces found: 12",
        "detection recall: 1.0000",
        "pairs: 6 of one person, 60 of two",
    ]
    assert "checking faces" in said.err


@pytest.mark.parametrize("place", ["nowhere", "six/p0"])
def test_the_command_says_what_is_wrong_with_the_folder(
    six: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["packs", "check", "dlib", "--faces", str(six.parent / place)]) == 2
    said: Any = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"vcn packs: {six.parent / place}")


def test_the_embedded_pack_is_checked_without_test_material(six: Path) -> None:
    check = check_faces("dlib", six, LONG_SIDE)
    assert (check.found, check.same_pairs, check.problems) == (12, 6, [])
