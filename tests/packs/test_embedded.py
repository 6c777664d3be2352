"""The three built-in packs: their detectors, encoders and aligners, and what results depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dlib
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.helpers.dlib_nets import dlib_landmarks
from tests.helpers.photographs import portrait, two_faces
from vcn_ray.cli.main import build_parser
from vcn_ray.config import RunConfig
from vcn_ray.errors import PackError
from vcn_ray.models.align import CHIP_LANDMARKS, ArcFaceAligner, ChipAligner, fit_similarities
from vcn_ray.models.dlib_detector import DlibDetector
from vcn_ray.models.onnx_encoder import OnnxEncoder
from vcn_ray.models.onnx_graph import graph_inputs, read_graph
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs import embedded
from vcn_ray.packs.check import check_pack
from vcn_ray.packs.embedded import BUILT_IN_NAMES, DEFAULT, SFACE, describe_built_in, load_built_in
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import F32

Loader = Callable[[str], FacePack]


@pytest.fixture(scope="module")
def load() -> Loader:
    """Each pack is loaded once."""
    loaded: dict[str, FacePack] = {}
    return lambda name: loaded.setdefault(name, load_built_in(name))


@pytest.fixture(scope="module")
def sface(load: Loader) -> OnnxEncoder:
    encoder = load("centerface-sface").load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    return encoder


each_pack = pytest.mark.parametrize("name", BUILT_IN_NAMES)


def pictures(count: int) -> F32:
    """Crops (count, 3, 112, 112) float32, grey levels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 3, 112, 112)).astype(np.float32)


def by_onnxruntime(model: onnx.ModelProto, crops: F32) -> F32:
    """Embeddings of crops one by one, because the published file takes one picture."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    return np.concatenate([session.run(None, {given.name: crop[None]})[0] for crop in crops])


def test_the_default_is_built_in() -> None:
    assert BUILT_IN_NAMES == ("centerface-sface", "centerface-dlib", "dlib")
    assert DEFAULT == RunConfig().pack == "centerface-sface"


def test_the_help_names_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["index", "--help"])
    assert f"(default: {DEFAULT})" in " ".join(capsys.readouterr().out.split())


@each_pack
def test_each_pack_passes_its_check(name: str) -> None:
    check = check_pack(name)
    assert (check.found, check.extra, check.problems) == (6, 0, [])


@each_pack
def test_a_pack_is_described_as_it_loads(load: Loader, name: str) -> None:
    pack, info = load(name), describe_built_in(name)
    for field in ("name", "licence", "source", "commercial_use", "encoder"):
        assert getattr(pack, field) == getattr(info, field)
    assert (info.detector_hash, info.encoder_hash) == (pack.detector_hash, pack.encoder_hash)
    assert pack.commercial_use
    assert "pip" not in pack.licence
    assert info.place == "built in"


@each_pack
def test_crops_fit_the_encoder(load: Loader, name: str) -> None:
    pack = load(name)
    assert pack.load_encoder() is not pack.load_encoder()
    assert pack.aligner.input_pixels == pack.load_encoder().input_pixels


@each_pack
def test_boxes_and_landmarks_are_rows_of_one_face(load: Loader, name: str) -> None:
    pack = load(name)
    (faces,) = pack.detector.detect(two_faces()[None])
    assert len(faces) == 2
    middles = faces.landmarks.mean(axis=1)
    assert ((faces.boxes[:, :2] < middles) & (middles < faces.boxes[:, 2:])).all()
    assert all(a.dtype == np.float32 for a in (faces.boxes, faces.scores, faces.landmarks))
    (none,) = pack.detector.detect(np.zeros((1, 200, 200, 3), np.uint8))
    assert none.landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("name", "other"), [("centerface-sface", 0.4), ("centerface-dlib", 0.9), ("dlib", 0.9)]
)
def test_a_person_is_closer_to_a_darkened_picture_than_to_another_person(
    load: Loader, name: str, other: float
) -> None:
    pack = load(name)
    pictures = [portrait()[:280, 80:360], (portrait()[:280, 80:360] * 0.6).astype(np.uint8)]
    crops = [pack.aligner.align(p, pack.detector.detect(p[None])[0]) for p in pictures]
    others = two_faces()
    crops.append(pack.aligner.align(others, pack.detector.detect(others[None])[0]))
    joined = np.concatenate(crops)
    side = pack.aligner.input_pixels
    assert joined.shape == (4, side, side, 3)
    cosines = (e := pack.load_encoder().embed(torch.from_numpy(joined))) @ e.T
    assert cosines[0, 1] > 0.95
    assert cosines[:2, 2:].max() < other


def test_hashes_say_which_parts_packs_share() -> None:
    infos = {name: describe_built_in(name) for name in BUILT_IN_NAMES}
    detectors = {info.detector_hash for info in infos.values()}
    assert len(detectors) == 3  # two aligners behind CenterFace give two kinds of crops
    encoders = {info.encoder_hash for info in infos.values()}
    assert len(encoders) == 3  # two packs share dlib's encoder, but each has a prior of its own
    for name, info in infos.items():
        assert info.prior == load_built_in(name).prior is not None


@pytest.mark.parametrize("setting", ["CENTERFACE_SCORE", "CENTERFACE_PIXELS"])
def test_hashes_follow_the_settings_of_the_detector(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    before = embedded._centerface(ArcFaceAligner, "arcface").settings
    monkeypatch.setattr(embedded, setting, 0.123)
    assert embedded._centerface(ArcFaceAligner, "arcface").settings != before


def test_chips_of_centerface_are_those_of_dlib(load: Loader) -> None:
    """The same person, cut by either aligner, is nearly the same to dlib's encoder."""
    picture = portrait()[:280, 80:360]
    crops = []
    for name in ("centerface-dlib", "dlib"):
        pack = load(name)
        crops.append(pack.aligner.align(picture, pack.detector.detect(picture[None])[0])[0])
    cosines = (e := load("dlib").load_encoder().embed(torch.from_numpy(np.stack(crops)))) @ e.T
    assert cosines[0, 1] > 0.97
    assert isinstance(load("centerface-dlib").aligner, ChipAligner)


def test_landmarks_at_the_template_are_cut_as_they_are() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    faces = replace(
        load_built_in("dlib").detector.detect(np.zeros((1, 90, 90, 3), np.uint8))[0],
        boxes=np.zeros((1, 4), np.float32),
        scores=np.ones(1, np.float32),
        landmarks=CHIP_LANDMARKS[None].astype(np.float32),
    )
    moved = fit_similarities(faces.landmarks, CHIP_LANDMARKS)[0]
    np.testing.assert_allclose(moved, [[1, 0, 0], [0, 1, 0]], atol=1e-4)
    crop = ChipAligner().align(frame, faces)[0]
    assert np.abs(crop[1:-1, 1:-1].astype(int) - frame[1:-1, 1:-1]).max() <= 1
    left, right = CHIP_LANDMARKS[[0, 3]], CHIP_LANDMARKS[[1, 4]]
    np.testing.assert_allclose(left[:, 0] + right[:, 0], 150)  # the template is symmetric
    np.testing.assert_array_equal(left[:, 1], right[:, 1])


def test_sface_is_equal_to_onnxruntime(sface: OnnxEncoder) -> None:
    crops = pictures(3)
    with torch.no_grad():
        found = sface(torch.from_numpy(crops)).numpy()
    assert found.shape == (3, 128)
    wanted = by_onnxruntime(read_graph(find_shipped(SFACE)), crops)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_sface_is_equal_to_its_published_file(sface: OnnxEncoder) -> None:
    """The file keeps weights as small integers, and lists what they become among its inputs."""
    model = onnx.load(find_shipped(SFACE))
    (picture,) = [value for value in graph_inputs(model) if value.name == "data"]
    del model.graph.input[:]
    model.graph.input.append(picture)
    crops = pictures(2)
    with torch.no_grad():
        found = sface(torch.from_numpy(crops)).numpy()
    wanted = by_onnxruntime(model, crops)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_sface_is_read_as_opencv_reads_it(sface: OnnxEncoder, load: Loader) -> None:
    """OpenCV gives its runner grey levels from 0 to 255 and swaps BGR to RGB (`FaceRecognizerSF`).

    The graph scales its input itself, and the other order of colours is worse.
    """
    assert (sface.scale.mean, sface.scale.std, sface.scale.bgr) == ((0.0,) * 3, (1.0,) * 3, False)
    assert [node.op for node in sface.graph.nodes[:2]] == ["Sub", "Mul"]
    trained = set(sface.graph.weight_names)
    assert {name for node in sface.graph.nodes[:2] for name in node.inputs}.isdisjoint(trained)


def test_the_tail_of_sface_is_its_last_stage(sface: OnnxEncoder) -> None:
    crops = torch.from_numpy(pictures(2))
    assert sface._cut == "conv_12_relu"
    with torch.no_grad():
        activations = sface.trunk(crops)
        assert activations.shape == (2, 512, 14, 14)
        features = sface.tail(activations)
        assert features.shape == (2, 50176)
        assert torch.equal(sface.project(features), sface(crops))
        assert torch.allclose(sface.frozen_trunk()(crops), activations, atol=1e-4)
    names = {ours: name for name, ours in sface.graph.weight_names.items()}
    tail = {id(parameter) for parameter in sface.tail_parameters()}
    trained = {names[n] for n, p in sface.graph.weights.items() if id(p) in tail}
    layers = {"_".join(name.split("_")[:2]) for name in trained}
    norms = {"bn1_beta", "bn1_gamma", "fc1_beta", "fc1_gamma"}
    assert layers == {"conv_13", "conv_14", "pre_fc1", *norms}


def test_a_trained_sface_is_written_as_a_graph(load: Loader, tmp_path: Path) -> None:
    pack, file = load("centerface-sface"), tmp_path / "film.onnx"
    encoder, untrained = pack.load_encoder(), pack.load_encoder()
    with torch.no_grad():
        for parameter in encoder.tail_parameters():
            parameter.mul_(1.1)
    assert pack.write_onnx is not None
    pack.write_onnx(encoder, file)
    written = onnx.load(file)
    onnx.checker.check_model(written)
    assert [value.name for value in written.graph.input] == ["data"]
    crops = pictures(2)
    with torch.no_grad():
        wanted = encoder(torch.from_numpy(crops)).numpy()
        before = untrained(torch.from_numpy(crops)).numpy()
    found, scale = by_onnxruntime(written, crops), np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 1e-4 * scale
    assert np.abs(found - before).max() > 1e-2 * scale


def test_a_face_gets_dlibs_landmarks(load: Loader) -> None:
    picture = portrait()[:280, 80:360]
    (faces,) = load("dlib").detector.detect(picture[None])
    assert len(faces) == 1
    left, top, right, bottom = (int(v) for v in faces.boxes[0])
    rectangle = dlib.rectangle(left, top, right - 1, bottom - 1)
    shape = dlib_landmarks()(np.ascontiguousarray(picture), rectangle)
    assert faces.landmarks[0].tolist() == [[p.x, p.y] for p in shape.parts()]


def test_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        load_built_in("dlib", threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(PackError, match="cannot be used"):
        DlibDetector(device="nonsense")
    with pytest.raises(PackError, match="device 'nonsense' is unknown"):
        load_built_in("centerface-sface", device="nonsense")


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = SFACE._replace(package="no_such_package")
    parts = embedded._PACKS["centerface-sface"]
    encoder = replace(parts.encoder, file=gone)
    monkeypatch.setitem(embedded._PACKS, "centerface-sface", replace(parts, encoder=encoder))
    for open_pack in (load_built_in, describe_built_in):
        with pytest.raises(PackError, match=r"pip install no_such_package$"):
            open_pack("centerface-sface")
