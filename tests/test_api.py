"""The Python door: what it takes and gives, in memory and on storage."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tomli_w
from safetensors.torch import load_file, save

import vcn_ray
from tests.helpers.films import SMALL, vcn
from tests.helpers.synth import PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.config import ClusterSettings, RunConfig, load_config
from vcn_ray.core.cut import CutConfig
from vcn_ray.errors import PackError, ShapeError, UsageError
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.results import Appearance, Person, Results, Track
from vcn_ray.run.events import Event, StepProgress, TitleDone

CONFIG = RunConfig(adapt=QUICK, cluster=ClusterSettings(cut=CutConfig(view_factor=0.4)))
PACK = cast(FacePack, SimpleNamespace(load_encoder=TinyBackbone, prior=None))


def test_the_door_is_light() -> None:
    """Help and other modules need not wait for torch."""
    words = "import sys, vcn_ray; assert 'torch' not in sys.modules; vcn_ray.index"
    subprocess.run([sys.executable, "-c", words], check=True)
    assert set(vcn_ray.__all__) <= set(dir(vcn_ray))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        vcn_ray.nothing  # noqa: B018


def test_crops_in_memory_with_any_track_numbers() -> None:
    title = title_of(PEOPLE, crops_per_track=6)
    people = vcn_ray.run_title(title.crops, 10 * title.track - 5, pack=PACK, config=CONFIG)
    assert people.track.tolist() == [10 * t - 5 for t in range(8)]
    expected = {tuple(10 * np.flatnonzero(who == PEOPLE) - 5) for who in np.unique(PEOPLE)}
    assert {tuple(tracks) for tracks in people} == expected


def test_frame_numbers_become_pairs_of_tracks() -> None:
    """Tracks 0 and 1 look alike and share frames: one face seen twice, which the result says."""
    title = title_of(np.array([0, 0, 1]), crops_per_track=6)
    frame = np.tile(np.arange(6), 3) + np.repeat([0, 0, 100], 6)
    plain = vcn_ray.run_title(title.crops, title.track, pack=PACK, config=CONFIG)
    assert plain.clustering.warnings == ()
    timed = vcn_ray.run_title(title.crops, title.track, frame, pack=PACK, config=CONFIG)
    assert [words.partition(":")[0] for words in timed.clustering.warnings] == ["seen_twice"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.zeros((2, 3), np.uint8), [0, 1]), "crops need"),
        ((np.zeros((2, 16, 16, 3), np.uint8), [0]), "track needs 2 integers"),
        ((np.zeros((2, 16, 16, 3), np.uint8), [0, 1], [1]), "frame needs 2 integers"),
        ((np.zeros((2, 16, 16, 3), np.uint8), [0, 1], [1, 1, 3]), "frame needs 2 integers"),
        ((np.zeros((2, 16, 16, 3), np.uint8), [0, 1], [0.04, 0.08]), "frame needs 2 integers"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    arrays: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        vcn_ray.run_title(*arrays, pack=PACK, config=CONFIG)


def copied(pack: Path, folder: Path, table: str, content: bytes) -> Path:
    """A copy of a pack folder whose detector or encoder is another file, with its checksum."""
    shutil.copytree(pack, folder)
    described = tomllib.loads((folder / "pack.toml").read_text())
    (folder / described[table]["file"]).write_bytes(content)
    described[table]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "pack.toml").write_text(tomli_w.dumps(described))
    return folder


@pytest.mark.parametrize("local", [True, False], ids=["local", "ray"])
@pytest.mark.parametrize(
    ("table", "said"),
    [("detector", "is no ONNX graph"), ("encoder", "does not hold the weights of mobilefacenet")],
)
def test_a_pack_that_does_not_load_starts_nothing(
    film: Path, yunet_pack: Path, tmp_path: Path, local: bool, table: str, said: str
) -> None:
    pack = copied(yunet_pack, tmp_path / "pack", table, b"garbage")
    with pytest.raises(PackError, match=said):
        vcn_ray.index(film, tmp_path / "out", pack=str(pack), local=local)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_an_encoder_without_numbers_ends_the_run_in_one_line(
    film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    weights = load_file(yunet_pack / "mobilefacenet.safetensors")
    weights["bn.weight"].fill_(float("nan"))
    pack = copied(yunet_pack, tmp_path / "pack", "encoder", save(weights))
    ran = vcn("index", film, "--local", "--output", tmp_path / "out", "--pack", pack)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.endswith("its weights are damaged, so fetch the pack again")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_an_output_without_results(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        vcn_ray.open_results(tmp_path)


@pytest.fixture(scope="module")
def results(
    film: Path, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Results, list[Event]]:
    output = tmp_path_factory.mktemp("output")
    events: list[Event] = []
    settings = dict(word.split("=", 1) for word in SMALL if "=" in word)
    config = load_config(None, settings)
    done = vcn_ray.index(
        film, output, pack=str(yunet_pack), local=True, config=config, progress=events.append
    )
    assert repr(done) == f"IndexedCatalog({str(output)!r}, titles=1, failures=0)"
    assert done.titles[0].people == 2
    assert done.record["local"]
    return done.results(), events


@pytest.mark.slow
def test_results_are_records(results: tuple[Results, list[Event]]) -> None:
    found, events = results
    assert {type(event) for event in events} >= {StepProgress, TitleDone}
    assert len(found) == 1
    title = found[0]
    assert found.title("film").title_id == found.title(title.title_id).title_id == title.title_id
    assert [person.person_id for person in title.people] == ["p001", "p002"]
    assert isinstance(title.people[-1], Person)
    assert isinstance(title.tracks[0], Track)
    seen = title.appearances_of("p001")
    assert all(isinstance(each, Appearance) and each.person_id == "p001" for each in seen)
    assert 0 < len(seen) < len(title.appearances) == len(title.appearances[:100])
    assert title.people.to_pandas()["tracks"].sum() <= len(title.tracks)
    assert title.people.to_arrow().num_rows == 2
    assert (
        repr(title) == f"Title('film', people=2, tracks={len(title.tracks)}, unknown=0, no_face=0)"
    )
    assert repr(title.people[:1]).startswith("Person(person_id='p001', tracks=")
    assert title.summary["title"] == "film"
    assert [Path(uri).name for uri in title.videos.values()] == ["film.mp4"]


@pytest.mark.slow
def test_unknown_names_are_refused(results: tuple[Results, list[Event]]) -> None:
    found, _ = results
    with pytest.raises(UsageError, match="no person 'p009', only p001, p002"):
        found[0].appearances_of("p009")
    with pytest.raises(UsageError, match="1 titles and 0 called 'other': name one of film"):
        found.title("other")
