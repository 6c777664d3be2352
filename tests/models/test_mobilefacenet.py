"""MobileFaceNet against the published graph of the same weights, on real aligned crops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import U8

IDENTITIES = 4
PHOTOGRAPHS = 4


@pytest.fixture(scope="module")
def pack(yunet_pack: Path) -> FacePack:
    return load_pack(str(yunet_pack))


@pytest.fixture(scope="module")
def crops(shared: Path, pack: FacePack) -> U8:
    """(16, 112, 112, 3): four photographs of each of four people, one person after another."""
    aligned = []
    for folder in sorted((shared / "data" / "faces").iterdir())[:IDENTITIES]:
        for path in sorted(folder.iterdir())[:PHOTOGRAPHS]:
            frame = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            found = pack.detector.detect(frame[None])[0]
            middle = np.abs((found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - 125).sum(axis=1)
            aligned.append(pack.aligner.align(frame, found)[middle.argmin()])
    return np.stack(aligned)


@pytest.fixture
def net(pack: FacePack) -> MobileFaceNet:
    encoder = pack.load_encoder()
    assert isinstance(encoder, MobileFaceNet)
    return encoder


def test_embeddings_equal_the_published_graph(net: MobileFaceNet, crops: U8, shared: Path) -> None:
    graph = shared / "models" / "mobilefacenet" / "mobilefacenet_arcface.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options)
    images = (crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    expected = session.run(None, {"input.1": images})[0]
    with torch.inference_mode():
        activations = net.trunk(net.prepare(torch.from_numpy(crops)))
        features = net.tail(activations)
        embeddings = net.project(features)
    assert activations.shape[1:] == (128, 14, 14)
    assert features.shape[1:] == (512,)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(embeddings.numpy(), expected, atol=1e-4)


def test_embed_gives_unit_rows_that_tell_people_apart(net: MobileFaceNet, crops: U8) -> None:
    embeddings = net.embed(torch.from_numpy(crops), batch=7)
    assert embeddings.shape == (len(crops), net.dim)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(crops)))
    cosines = (embeddings @ embeddings.T).numpy()
    person = np.arange(len(crops)) // PHOTOGRAPHS
    same = person[:, None] == person
    np.fill_diagonal(cosines, np.nan)
    assert np.nanmin(cosines[same]) > np.nanmax(cosines[~same])


def test_no_crops_give_no_embeddings(net: MobileFaceNet) -> None:
    assert net.embed(torch.zeros(0, 112, 112, 3, dtype=torch.uint8)).shape == (0, 128)


def test_prepare_takes_bytes_and_floats_alike(net: MobileFaceNet, crops: U8) -> None:
    images = torch.from_numpy(crops[:2])
    floats = images.permute(0, 3, 1, 2).float()
    torch.testing.assert_close(net.prepare(images), net.prepare(floats))


def test_gradients_reach_every_tail_parameter(net: MobileFaceNet, crops: U8) -> None:
    net.train()
    with torch.no_grad():
        activations = net.trunk(net.prepare(torch.from_numpy(crops[:4])))
    torch.autograd.backward(net.project(net.tail(activations)).square().sum())
    tail = {id(parameter) for parameter in net.tail_parameters()}
    for name, parameter in net.named_parameters():
        if id(parameter) in tail:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name
    starts = ("features.12", "features.13", "features.14", "conv2", "gdconv", "conv3", "bn.")
    assert len(tail) == sum(name.startswith(starts) for name, _ in net.named_parameters())


def test_training_leaves_batch_norm_statistics(net: MobileFaceNet, crops: U8) -> None:
    before = {name: value.clone() for name, value in net.named_buffers()}
    images = net.prepare(torch.from_numpy(crops[:4]))
    net.eval()
    expected = net(images).detach()
    net.train()
    assert net.training
    torch.testing.assert_close(net(images).detach(), expected)
    for name, value in net.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)


def test_published_names_load_strictly(shared: Path) -> None:
    path = shared / "models" / "mobilefacenet" / "mobilefacenet.pt"
    published = torch.load(path, map_location="cpu", weights_only=True)
    net = MobileFaceNet()
    assert len(published) == 307
    assert set(net.state_dict()) == set(published)
    net.load_state_dict(published, strict=True)
    del published["conv3.bias"]
    with pytest.raises(RuntimeError, match=r"conv3\.bias"):
        net.load_state_dict(published, strict=True)


def test_the_frozen_trunk_equals_the_trunk_and_stays_as_it_was(
    net: MobileFaceNet, crops: U8
) -> None:
    images = net.prepare(torch.from_numpy(crops))
    frozen = net.frozen_trunk()
    with torch.inference_mode():
        expected = net.trunk(images)
        assert expected.abs().max() > 1
        torch.testing.assert_close(frozen(images), expected, rtol=1e-4, atol=1e-4)
        net.get_parameter("conv1.0.weight").mul_(2)
        torch.testing.assert_close(frozen(images), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(net.trunk(images), expected, atol=0.1)
