"""Hard titles: seeded, with known junk, known wrong pairs, and nobody in two sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.method import hard_films, hard_tracks
from benchmarks.method.hard_config import HardConfig, Script
from benchmarks.method.hard_films import SHORT, SMALL
from benchmarks.method.hard_frames import reencode, smear, turned
from benchmarks.method.hard_script import GENRES, cast_weights, write_script
from benchmarks.method.hard_tracks import (
    HardTitle,
    Maker,
    add_wrong_pairs,
    name_of,
    one_person,
    right_pairs,
)
from benchmarks.method.hard_watch import best_match
from benchmarks.method.photographs import PARTS, Gallery
from benchmarks.method.props import Props, find_props
from benchmarks.result_file import read_result
from vcn_ray.evaluation.labels import NO_FACE, UNIDENTIFIED, is_person
from vcn_ray.packs.load import load_pack
from vcn_ray.records import I64

PEOPLE = [f"person {n}" for n in range(40)]


def script_of(seed: int, config: HardConfig | None = None) -> Script:
    return write_script(PEOPLE, config or HardConfig(), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_script_keeps_to_its_settings(seed: int) -> None:
    script, config = script_of(seed), HardConfig()
    assert script.genre in GENRES
    assert script.lines in config.lines
    roles = [role for shot in script.shots for role in shot.roles]
    assert sum(role.kind not in ("ruin", "prop") for role in roles) >= config.tracks[0]
    for shot in script.shots:
        assert config.frames[0] <= shot.frames <= config.frames[1]
        assert 0 <= shot.scene < len(script.scenes)
        assert {len(array) for role in shot.roles for array in role.path} == {shot.frames}
    for role in roles:
        wanted = {"ruin": UNIDENTIFIED, "prop": NO_FACE}.get(role.kind, role.person)
        assert role.identity == wanted
        assert 0 <= role.photo < 1
        low, high = config.ruin_pixels
        assert role.pixels == 0 or (role.kind == "ruin" and low <= role.pixels <= high)


def test_a_trailer_has_a_lead_and_many_who_are_seen_once() -> None:
    seeds = [seed for seed in range(60) if script_of(seed).genre == "trailer"]
    config = HardConfig(tracks=(50, 50))
    shares, once = [], []
    for seed in seeds:
        shots = script_of(seed, config).shots
        names = [role.person for shot in shots for role in shot.roles if role.kind == "person"]
        count = [names.count(name) for name in set(names)]
        shares.append(max(count) / len(names))
        once.append(count.count(1) / len(count))
    assert 0.25 < np.mean(shares) < 0.65
    assert np.mean(once) > 0.4


@pytest.mark.parametrize("size", [1, 2, 9])
def test_weights_of_a_cast_sum_to_one(size: int) -> None:
    weight = cast_weights(size, (0.5, 0.1))
    assert len(weight) == size
    assert weight.sum() == pytest.approx(1)
    assert weight[0] == weight.max()


def test_a_head_that_does_not_turn_stays_where_it_is() -> None:
    places = np.arange(100, dtype=np.float64)
    np.testing.assert_allclose(turned(places, 50, 30, 0)[20:80], places[20:80], atol=1.0)
    shown = turned(places, 50, 30, 40)
    assert (np.diff(shown) >= -1e-4).all()  # nothing is shown twice
    assert shown[50] < 50  # the middle shows the side that was turned towards it


def test_a_smear_keeps_the_brightness() -> None:
    point = np.zeros((31, 31, 4), np.float32)
    point[15, 15] = 100
    moved = smear(point, np.array([8.0, 0.0]))
    assert moved.sum() == pytest.approx(point.sum(), rel=1e-4)
    assert (moved[15, :, 0] > 0).sum() == 9
    assert smear(point, np.array([1.0, 0.0])) is point


@pytest.mark.parametrize("width", [96, 426])
def test_encoding_gives_the_same_bits_whatever_memory_held(width: int) -> None:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (4, 6, width // 2, 3), dtype=np.uint8)
    frames = coarse.repeat(16, axis=1).repeat(2, axis=2)
    shown = reencode(frames, 30.0)
    assert shown.shape == frames.shape
    for size in random.integers(1000, 1_000_000, 30).tolist():
        random.integers(0, 255, size, dtype=np.uint8)
        np.testing.assert_array_equal(reencode(frames, 30.0), shown)


def test_names_of_tracks() -> None:
    identities = ["ann", "bob", UNIDENTIFIED]
    assert name_of(np.array([0, 0, 1, -1]), identities) == "ann"
    assert name_of(np.array([-1, -1, 1]), identities) == NO_FACE
    assert name_of(np.array([2, 2, 0]), identities) == UNIDENTIFIED
    assert not one_person([UNIDENTIFIED] * 2, 0, 1)
    assert best_match(np.array([[0.1, 0.5], [0.2, 0.1]])).tolist() == [1, -1]
    assert best_match(np.zeros((2, 0))).tolist() == [-1, -1]


@pytest.mark.parametrize(("fraction", "wanted"), [(0.0, 1), (0.2, 2), (0.4, 4), (1.0, 10)])
def test_wrong_pairs_are_a_fraction_of_all_pairs_of_one_person(
    fraction: float, wanted: int
) -> None:
    identity = ["ann"] * 5 + ["bob", NO_FACE, NO_FACE]
    known: I64 = np.array([[0, 1], [2, 5]])  # a mirror, and two people in one frame
    pairs = add_wrong_pairs(known, identity, fraction, np.random.default_rng(0))
    assert {(0, 1), (2, 5)} <= {(i, j) for i, j in pairs.tolist()}
    wrong = [pair for pair in pairs.tolist() if one_person(identity, *pair)]
    assert len(wrong) == wanted
    assert len(pairs) == wanted + 1


@pytest.fixture(scope="module")
def props(tmp_path_factory: pytest.TempPathFactory) -> Props:
    folder = tmp_path_factory.mktemp("props")
    found = find_props(SHORT, folder)
    again = find_props(SHORT, folder)
    for mine, its in zip(found, again, strict=True):
        np.testing.assert_array_equal(mine, its)
    return found


def test_props_are_sorted_by_score(props: Props) -> None:
    assert len(props.cells) == len(props.boxes) == len(props.landmarks) == len(props.scores)
    assert (np.diff(props.scores) <= 0).all()


def test_props_are_searched_for_when_they_are_needed(
    shared: Path, props: Props, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hard_tracks, "SearchConfig", lambda: SHORT)
    maker = Maker(shared / "data/faces", load_pack("centerface-sface"), cache=tmp_path)
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(maker.props.cells, props.cells)
    assert maker.props is maker.props
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture(scope="module")
def maker(shared: Path, props: Props) -> Callable[..., Maker]:
    """Makes makers with a short search for props."""
    pack = load_pack("centerface-sface")
    assert len(props.scores)
    props = props._replace(scores=np.full_like(props.scores, 0.6))  # as after a long search

    def make(config: HardConfig = SMALL, cache: Path | None = None) -> Maker:
        return Maker(shared / "data/faces", pack, config=config, cache=cache, props=props)

    return make


def assert_equal(left: HardTitle, right: HardTitle) -> None:
    assert (left.name, left.identity, left.there) == (right.name, right.identity, right.there)
    for name in hard_tracks.ARRAYS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in hard_tracks.TITLE_ARRAYS:
        np.testing.assert_array_equal(getattr(left.title, name), getattr(right.title, name))


def test_a_title_is_the_same_every_time(maker: Callable[..., Maker], tmp_path: Path) -> None:
    first = maker(cache=tmp_path).make(1)
    assert_equal(first, maker().make(1))
    kept = maker(cache=tmp_path)
    assert kept.has(1)
    assert_equal(first, kept.make(1))
    assert maker().make(2).identity != first.identity


def test_the_labels_of_a_title_are_true(maker: Callable[..., Maker]) -> None:
    config = dataclasses.replace(SMALL, junk=dict.fromkeys(GENRES, 2.0), props=1.0, wrong_pairs=0.3)
    made = maker(config).make(0)
    count = len(made.identity)
    assert made.title.tracks == count == len(made.seconds) == len(made.scene)
    assert NO_FACE in made.identity
    named = {name for name in made.identity if is_person(name)}
    assert named
    assert named <= made.there
    pairs = {(i, j) for i, j in made.title.cannot_link.tolist()}
    same = {p for p in pairs if one_person(made.identity, *p)}
    assert same == {(i, j) for i, j in made.wrong.tolist()}
    assert not any(
        one_person(made.identity, i, j) for i, j in right_pairs(made).title.cannot_link.tolist()
    )
    assert len(made.boxes) == len(made.detected) == len(made.tracked)
    assert not (made.tracked & ~made.detected).any()
    assert made.title.crops.shape[0] == len(made.scores)
    assert (made.scores > 0).all()


def test_without_junk_every_track_is_a_person(maker: Callable[..., Maker]) -> None:
    config = dataclasses.replace(SMALL, junk=dict.fromkeys(GENRES, 0.0))
    made = maker(config).make(0)
    assert sum(name == UNIDENTIFIED for name in made.identity) == 0


def test_nobody_is_in_both_halves(shared: Path) -> None:
    pack = load_pack("centerface-sface")
    gallery = Gallery(shared / "data/faces", pack.detector)
    first, second = (gallery.part(part) for part in PARTS)
    assert not set(first) & set(second)
    assert sorted(first + second) == gallery.names
    photos = gallery.photographs(first[0])
    assert len(photos) > 3
    assert [abs(p.turned) for p in photos] == sorted(abs(p.turned) for p in photos)


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        hard_films.main(["--faces", str(tmp_path / "none")])
    assert "not shipped" in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_writes_a_row_for_each_title(shared: Path, tmp_path: Path) -> None:
    words = ["--quick", "--faces", str(shared / "data/faces"), "--cache", str(tmp_path)]
    words += ["--titles", "2", "--set", "adapt.rounds=1", "--set", "adapt.epochs=1"]
    words += ["--results", str(tmp_path)]
    for variant in ("first", "again"):
        hard_films.main([*words, "--variant", variant])
    first, again = (
        read_result(tmp_path / f"hard_films-{variant}.md").tables[0]
        for variant in ("first", "again")
    )
    assert len(first) == 3
    timed = ("make s", "run s")
    assert [{k: v for k, v in row.items() if k not in timed} for row in first] == [
        {k: v for k, v in row.items() if k not in timed} for row in again
    ]
    assert again[0]["make s"] == again[0]["run s"] == "-"
