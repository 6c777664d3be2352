from __future__ import annotations

import dlib
import numpy as np
import pytest
import torch

from tests.helpers.dlib_nets import dlib_encoder, dlib_landmarks
from tests.helpers.photographs import group, portrait
from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.dlib_resnet import DlibResNet
from vcn_ray.models.dlib_weights import MMOD_FILE, RESNET_FILE, model_file


@pytest.fixture(scope="module")
def data() -> bytes:
    return model_file(RESNET_FILE).read_bytes()


@pytest.fixture(scope="module")
def encoder(data) -> DlibResNet:
    return DlibResNet(data)


@pytest.fixture(scope="module")
def chips() -> torch.Tensor:
    """(2, 150, 150, 3) uint8: two people, cut by dlib."""
    faces = [(portrait(), (168, 69, 263, 164)), (group(), (436, 275, 572, 411))]
    cut = [
        dlib.get_face_chip(p, dlib_landmarks()(p, dlib.rectangle(*r)), size=150, padding=0.25)
        for p, r in faces
    ]
    return torch.from_numpy(np.stack(cut))


def test_descriptors_equal_dlibs_own(encoder, chips):
    wanted = [np.array(dlib_encoder().compute_face_descriptor(chip.numpy())) for chip in chips]
    with torch.inference_mode():
        ours = encoder(encoder.prepare(chips)).numpy()
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_embeddings_are_unit_vectors_that_tell_people_apart(encoder, chips):
    embeddings = encoder.embed(torch.cat([chips, chips.flip(2)]))
    assert embeddings.shape == (4, 128)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    cosines = embeddings @ embeddings.T
    assert cosines[0, 2] > 0.97  # one person and the mirror image
    assert cosines[0, 1] < 0.9
    assert encoder.embed(chips[:0]).shape == (0, 128)


def test_the_parts_join_to_the_whole(encoder, chips):
    images = encoder.prepare(chips)
    with torch.inference_mode():
        activations = encoder.trunk(images)
        features = encoder.tail(activations)
        torch.testing.assert_close(encoder.project(features), encoder(images))
    assert activations.shape == (2, 128, 8, 8)
    assert features.shape == (2, 256)


def test_both_forms_of_crops_are_prepared_alike(encoder, chips):
    images = encoder.prepare(chips)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, encoder.prepare(chips.permute(0, 3, 1, 2).float()))
    red = (chips[0, 70, 70, 0].item() - 122.782) / 256
    assert images[0, 0, 70, 70].item() == pytest.approx(red, abs=1e-6)
    with pytest.raises(ShapeError, match="150 pixels"):
        encoder.prepare(torch.zeros(1, 112, 112, 3, dtype=torch.uint8))


def test_every_weight_is_trained_and_the_tail_alone_can_be(data, chips):
    encoder = DlibResNet(data)
    images = encoder.prepare(chips)
    encoder(images).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name

    whole = [p.grad.clone() for p in encoder.tail_parameters()]
    encoder.zero_grad()
    with torch.no_grad():
        activations = encoder.trunk(images)
    encoder.project(encoder.tail(activations)).square().sum().backward()
    for parameter, grad in zip(encoder.tail_parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, grad)
    trained = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in encoder.named_parameters() if n.startswith(("late", "last"))}
    assert any(name.endswith("scale") for name in trained)


def test_a_step_changes_this_encoder_only(data, encoder, chips):
    trained = DlibResNet(data)
    images = encoder.prepare(chips)
    with torch.no_grad():
        activations = encoder.trunk(images)
        before = encoder.tail(activations)
    optimizer = torch.optim.SGD(trained.tail_parameters(), lr=0.1)
    trained.project(trained.tail(activations))[:, 0].sum().backward()
    optimizer.step()
    with torch.no_grad():
        assert (trained.tail(activations) - before).abs().max() > 1e-3
        torch.testing.assert_close(encoder.tail(activations), before)
        trained.load_state_dict(encoder.state_dict())
        torch.testing.assert_close(trained.tail(activations), before)


def test_another_networks_file_is_refused():
    with pytest.raises(PackError, match="not dlib's face-ID network"):
        DlibResNet(model_file(MMOD_FILE).read_bytes())
