"""Priors of packs in folders: written, read, measured, shown, and what depends on them."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vcn_ray
from tests.helpers.films import QUICK, SMALL, vcn
from tests.helpers.pack_files import rewrite, with_manifest
from tests.helpers.photographs import actor, group, portrait
from vcn_ray.config import RunConfig
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import PackError, UsageError
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.add import PackOptions, add_pack, add_prior
from vcn_ray.packs.calibrate import _rounded, measure_prior
from vcn_ray.packs.describe import PriorTable, read_pack_file
from vcn_ray.packs.embedded import BUILT_IN_NAMES, load_built_in
from vcn_ray.packs.face_pack import Detector
from vcn_ray.packs.inspect import read_pack
from vcn_ray.packs.load import describe_pack, load_pack
from vcn_ray.packs.prior_pictures import labelled_pictures, shipped_pictures
from vcn_ray.records import U8, Detections
from vcn_ray.run.plan import adapt_folder

PRIOR: dict[str, Any] = {
    "stranger_cosine": 0.1,
    "stranger_sd": 0.1,
    "min_score": 0.6,
    "intercept": -10.0,
    "per_score": 1.0,
    "per_length": 0.25,
    "per_stability": 12.0,
}
FACES = ((30, 250, 200, 420), (230, 120, 400, 300), (440, 250, 600, 440), (860, 30, 1050, 250))
"""x0 y0 x1 y1 around the faces of four of the six people in `group`."""


def with_prior(folder: Path, **changes: Any) -> Path:
    rewrite(folder, lambda content: content.update(prior=PRIOR | changes))
    return folder


def save_people(folder: Path, pictures: list[U8], each: int = 1) -> Path:
    """A labelled folder with copies of the picture of each person."""
    for person, picture in enumerate(pictures):
        (folder / f"p{person:03d}").mkdir(parents=True)
        for number in range(each):
            Image.fromarray(picture).save(folder / f"p{person:03d}" / f"{number}.png")
    return folder


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """A labelled folder: four people, two pictures of each."""
    cut = [np.ascontiguousarray(group()[y0:y1, x0:x1]) for x0, y0, x1, y1 in FACES]
    return save_people(tmp_path / "four", cut, each=2)


def test_the_table_has_the_fields_of_a_prior() -> None:
    assert list(PriorTable.model_fields) == [field.name for field in fields(FacePrior)]


def test_a_prior_is_read_and_changes_the_encoders_hash(folder: Path) -> None:
    before = load_pack(str(folder))
    assert before.prior is None
    assert describe_pack(str(folder)).prior is None
    with_prior(folder)
    pack, info = load_pack(str(folder)), describe_pack(str(folder))
    assert pack.prior == info.prior == FacePrior(**PRIOR)
    assert pack.detector_hash == info.detector_hash == before.detector_hash
    assert pack.encoder_hash == info.encoder_hash != before.encoder_hash
    with_prior(folder, min_score=0.61)
    assert describe_pack(str(folder)).encoder_hash not in (pack.encoder_hash, before.encoder_hash)
    rewrite(folder, lambda content: content.pop("prior"))
    assert describe_pack(str(folder)).encoder_hash == before.encoder_hash


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stranger_cos": 0.1}, "unknown key prior.stranger_cos: did you mean 'stranger_cosine'?"),
        ({"zzz": 0.1}, "unknown key prior.zzz: known are stranger_cosine, stranger_sd, min_score"),
        ({"stranger_sd": 0.0}, "prior.stranger_sd = 0.0 is not valid"),
        ({"stranger_cosine": 1.0}, "prior.stranger_cosine = 1.0 is not valid"),
        ({"min_score": "0.6"}, "prior.min_score = '0.6' is not valid"),
        ({"intercept": float("nan")}, "prior.intercept = nan is not valid"),
        ({"per_length": -0.1}, "prior.per_length = -0.1 is not valid"),
    ],
)
def test_wrong_keys_are_named(folder: Path, changes: dict[str, Any], said: str) -> None:
    with_prior(folder, **changes)
    with pytest.raises(PackError) as raised:
        load_pack(str(folder))
    assert said in str(raised.value)


def test_missing_keys_are_named(folder: Path) -> None:
    with_prior(folder)
    rewrite(folder, lambda content: content["prior"].pop("intercept"))
    with pytest.raises(PackError, match=r"the key prior\.intercept is missing: add it"):
        describe_pack(str(folder))


def test_add_measures_the_pictures_that_ship(folder: Path) -> None:
    (folder / "pack.toml").unlink()
    ran = vcn("packs", "add", folder, "--licence", "MIT")
    assert ran.code == 0
    assert "measuring the prior" in ran.err
    prior = read_pack_file(folder).face_prior
    assert prior is not None
    shown = ran.out.splitlines()
    at = shown.index("prior: measured on 3 pictures that come with the dependencies")
    assert shown[at + 1] == (
        f"tracks of one person: cosine distance up to {prior.cut:.4f}, pretrained encoder"
    )
    assert shown[at + 2] == (
        f"faces that can be recognised: nearly all score {prior.min_score:.2f} or more"
    )
    assert 0.4 < prior.cut < 0.7  # of MobileFaceNet, 0.5754 on 130 people
    assert 0.5 < prior.min_score < 0.8
    assert prior == measure_prior(load_pack(str(folder)), shipped_pictures())
    assert (
        "\n".join(shown[at : at + 3]).replace(" on 3 pictures that come with the dependencies", "")
        in vcn("packs", "show", folder).out
    )


def test_add_measures_a_folder_of_faces(folder: Path, four: Path) -> None:
    spec = read_pack_file(folder)
    ran = vcn("packs", "add", folder, "--keep", "--faces", four)
    assert ran.code == 0
    assert "prior: measured on 8 pictures of 4 people\n" in ran.out
    written = read_pack_file(folder)
    assert written.with_prior(None) == spec  # the description is kept
    chosen = labelled_pictures(four)
    assert written.face_prior == measure_prior(load_pack(str(folder)), chosen, chosen.person)


def test_a_pack_with_too_few_faces_is_added_without_a_prior(folder: Path, tmp_path: Path) -> None:
    (folder / "pack.toml").unlink()
    two = save_people(tmp_path / "two", [portrait()[:280, 80:360], actor()])
    ran = vcn("packs", "add", folder, "--faces", two)
    assert ran.code == 0
    assert "prior: none\n" in ran.out
    (said,) = [line for line in ran.out.splitlines() if line.startswith("without a prior")]
    assert "in 2 pictures of 2 people, 2 faces of at least 40 pixels were found" in said
    assert said.endswith(f"run vcn packs add {folder} --keep --faces FOLDER")
    assert read_pack_file(folder).prior is None
    kept = (folder / "pack.toml").read_bytes()
    with pytest.raises(UsageError, match=r"no prior of .* was measured: in 2 pictures of 2 people"):
        add_prior(folder, two)
    assert (folder / "pack.toml").read_bytes() == kept


def test_a_pack_with_problems_gets_no_prior(folder: Path) -> None:
    rewrite(folder, lambda content: content["detector"].update(min_score=0.999))
    with pytest.raises(UsageError, match="in 3 pictures that come with the dependencies, 0 faces"):
        add_prior(folder)
    added = add_pack(folder, PackOptions(min_score=0.999), overwrite=True)
    assert added.check.problems
    assert added.measured.prior is None
    assert added.spec.prior is None
    rewrite(folder, lambda content: content["detector"].update(min_score=0.92))
    ran = vcn("packs", "add", folder, "--keep")  # the user keeps to this description
    assert ran.code == 1
    assert re.search(r"problem: found \d of 6 faces", ran.out)
    assert "prior: measured on 3 pictures" in ran.out
    assert read_pack_file(folder).prior


def test_a_folder_without_faces_fails_before_the_check(
    folder: Path, four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcn_ray.packs.add.check_loaded", lambda _: pytest.fail("it was checked"))
    for words in (["--force"], ["--keep"]):
        ran = vcn("packs", "add", folder, "--faces", four / "p000", *words)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert "has pictures of 0 people, needed are two" in ran.err


def test_keep_changes_nothing_else(folder: Path) -> None:
    ran = vcn("packs", "add", folder, "--keep", "--name", "other")
    assert ran.code == 2
    assert "--keep takes no other option than --faces" in ran.err
    assert vcn("packs", "add", folder, "--keep", "--force").code == 2
    assert "or measure its prior with --keep" in vcn("packs", "add", folder).err


def test_show_says_what_a_missing_prior_means(folder: Path, buffalo: Path, shared: Path) -> None:
    cheetah = with_manifest(folder.parent / "cheetah_s", shared)
    for place, more in ((folder, " --keep"), (buffalo, ""), (cheetah, " --keep")):
        assert (
            "prior: none, so a title's own tracks alone decide who is alike and which faces can be "
            f"recognised: vcn packs add {place}{more} measures one\n"
        ) in vcn("packs", "show", place).out
    ran = vcn("packs", "show", "dlib")
    assert "prior: measured\n" in ran.out
    assert "none, so" not in ran.out


def test_a_pack_with_a_manifest_gets_a_prior(folder: Path, shared: Path, four: Path) -> None:
    """Its description is that of the manifest, which says more than the graphs alone."""
    cheetah = with_manifest(folder.parent / "cheetah_s", shared)
    before, spec = describe_pack(str(cheetah)), read_pack(cheetah)
    added = add_prior(cheetah, four)
    assert read_pack_file(cheetah).with_prior(None) == spec
    after = describe_pack(str(cheetah))
    assert replace(after, prior=None, encoder_hash="") == replace(before, encoder_hash="")
    assert after.prior == added.measured.prior is not None


def test_a_choice_of_pictures_is_bounded_and_always_the_same(tmp_path: Path) -> None:
    dots = [np.full((8, 8, 3), shade, np.uint8) for shade in range(12)]
    folder = save_people(tmp_path / "many", dots, each=5)
    (folder / "p000" / "broken.png").touch()
    first, second = (labelled_pictures(folder, max_people=7, max_pictures=3) for _ in range(2))
    assert first == second
    assert (len(first), first.people) == (21, 7)
    assert list(first.person) == sorted(first.person)
    assert {first.person.count(who) for who in first.person} == {3}
    assert [int(picture[0, 0, 0]) for picture in first] == list(first.person)
    everything = labelled_pictures(folder)
    assert (len(everything), everything.people) == (4 * 12, 12)


def test_an_unreadable_picture_shows_nobody(four: Path) -> None:
    (four / "p000" / "0.png").write_bytes(b"no picture")
    pictures = labelled_pictures(four)
    assert len(pictures) == 8
    assert not pictures[0].any()
    assert pictures[1].any()
    assert [picture.shape for picture in pictures[2:4]] == [(180, 170, 3)] * 2


def test_one_picture_of_each_person_is_enough(four: Path, folder: Path) -> None:
    for person in four.iterdir():
        (person / "1.png").unlink()
    chosen = labelled_pictures(four)
    fractions: list[float] = []
    pack = load_pack(str(folder))
    prior = measure_prior(pack, chosen, chosen.person, fractions.append)
    assert 0 < prior.cut < 1
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@dataclass
class NeedsMargin:
    """A detector that misses faces in pictures without a black border."""

    detector: Detector

    def detect(self, frames: U8) -> list[Detections]:
        found = self.detector.detect(frames)
        return [
            faces[[]] if frame[0].any() else faces
            for frame, faces in zip(frames, found, strict=True)
        ]


def test_a_face_that_fills_its_picture_counts(folder: Path, four: Path) -> None:
    """As in `vcn packs check --faces`: the picture is searched again within a border."""
    pack = load_pack(str(folder))
    blind = replace(pack, detector=NeedsMargin(pack.detector))
    pictures = labelled_pictures(four)
    with pytest.raises(UsageError, match="0 faces"):
        measure_prior(blind, pictures)
    prior = measure_prior(blind, pictures, pictures.person)
    assert abs(prior.cut - measure_prior(pack, pictures, pictures.person).cut) < 0.1


def test_an_encoder_that_tells_nobody_apart_has_no_prior(folder: Path) -> None:
    pack = load_pack(str(folder))

    def constant() -> Backbone:
        encoder = pack.load_encoder()
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.zero_()
        encoder.project = lambda features: torch.ones(len(features), 8)  # type: ignore[method-assign]
        return encoder

    with pytest.raises(UsageError, match="gives all faces the same embedding"):
        measure_prior(replace(pack, make_encoder=constant), [group()])
    with pytest.raises(UsageError, match="0 faces of at least 40 pixels were found, needed are 4"):
        measure_prior(pack, [np.zeros((90, 90, 3), np.uint8)])


@pytest.mark.parametrize(
    ("weight", "rounded"),
    [(-30.71424, -30.7142), (0.30734, 0.3073), (0.00123456, 0.001235), (0, 0)],
)
def test_small_weights_keep_their_digits(weight: float, rounded: float) -> None:
    """The length of some embeddings is in the thousands."""
    assert _rounded(weight) == rounded


FROZEN = RunConfig(
    adapt=AdaptConfig(encoder="frozen", rounds=1, epochs=1, augmented_views=2, quality_passes=4)
)
UNREADABLE = {"min_score": 0.99, "intercept": -100.0}
"""A prior that takes every track for no face."""


@pytest.fixture(scope="module")
def tracks(yunet_pack: Path) -> tuple[U8, list[int]]:
    """Crops of twelve tracks of six people, three each."""
    pack = load_pack(str(yunet_pack))
    crops = pack.aligner.align(group(), pack.detector.detect(group()[None])[0])
    darker = [np.clip(crops * light, 0, 255) for light in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)]
    by_track = np.stack(darker).reshape(2, 3, *crops.shape).swapaxes(1, 2)
    return by_track.reshape(-1, *crops.shape[1:]).astype(np.uint8), [t // 3 for t in range(36)]


def test_a_title_in_memory_uses_the_prior(folder: Path, tracks: tuple[U8, list[int]]) -> None:
    def people(**changes: Any) -> int:
        with_prior(folder, **changes)
        scores = [0.8] * len(tracks[1])
        found = vcn_ray.run_title(*tracks, score=scores, pack=str(folder), config=FROZEN)
        return len(found)

    assert people(intercept=100.0) == 6
    assert people(**UNREADABLE) == 0


def test_keys_of_a_title_follow_the_prior(folder: Path) -> None:
    without = describe_pack(str(folder)).encoder_hash
    changed = describe_pack(str(with_prior(folder))).encoder_hash
    keys = {adapt_folder("film", (), RunConfig(), each) for each in (without, changed)}
    assert len(keys) == 2


@pytest.mark.slow
def test_a_run_uses_the_prior_and_keeps_the_faces(
    film: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    pack = Path(shutil.copytree(yunet_pack, tmp_path / "pack"))
    output = tmp_path / "out"
    words = ["--local", *SMALL, *QUICK]
    counts = []
    for unreadable in (False, True):
        if unreadable:
            with_prior(pack, **UNREADABLE)
        ran = vcn("index", film, "--output", output, "--pack", pack, *words)
        assert ran.code == 0, ran.err
        counts.append(vcn_ray.open_results(output)[0].summary["counts"])
        assert len(list((output / "videos").glob("*/detect-*"))) == 1
    assert len(list((output / "titles").glob("*/adapt-*"))) == 2
    assert counts[0]["people"] > 0 == counts[1]["people"]
    assert counts[1]["no_face"] == counts[1]["tracks"] == counts[0]["tracks"]


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_a_built_in_prior_is_near_that_of_the_shipped_pictures(name: str) -> None:
    """Eight people say nearly what the 130 say of whom the constants were measured."""
    pack = load_built_in(name)
    assert pack.prior is not None
    prior = measure_prior(pack, shipped_pictures())
    strangers = pack.prior.stranger_sd
    assert abs(prior.stranger_cosine - pack.prior.stranger_cosine) < strangers
    assert 0.5 < prior.cut / pack.prior.cut < 2
    assert abs(prior.min_score - pack.prior.min_score) < 0.1
    assert asdict(pack.prior).keys() == asdict(prior).keys()
