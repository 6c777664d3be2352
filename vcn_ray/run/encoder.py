"""Reads the adapted encoder of a title from storage, to serve it elsewhere."""

from __future__ import annotations

from typing import Any

import torch

from vcn_ray.errors import UsageError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_arrays
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.run.stored import LatestResult

PREFIX = "encoder."  # of the encoder's tensors in model.safetensors


def adapted_encoder(title: LatestResult, pack: FacePack, storage: Storage) -> Backbone:
    """The encoder of a pack as adapted to a title, on the CPU in eval mode.

    Args:
        title: The title's result.
        pack: The pack that the title was made with.
        storage: The output that holds the title.

    Raises:
        UsageError: The title was made with another pack, or its encoder was not trained.
        StorageError: The model cannot be read.
    """
    name = title.summary["title"]
    if title.summary["pack"]["encoder_hash"] != pack.encoder_hash:
        raise UsageError(
            f"{name} was made with pack {title.summary['pack']['name']}, and the encoder of pack "
            f"{pack.name} on this machine is a different one: name the right pack by --pack"
        )
    result = CommittedFolder.open(storage, title.folder)
    if "model.safetensors" not in result.files:
        raise UsageError(
            f"the adapted model of {name} was removed, by an erasure or by retention: index the "
            "title again with another adapt.* setting or seed"
        )
    tensors = load_arrays(result.read_bytes("model.safetensors"))
    learned = {
        key.removeprefix(PREFIX): torch.from_numpy(value)
        for key, value in tensors.items()
        if key.startswith(PREFIX)
    }
    if not learned:
        raise UsageError(
            f"the encoder of {name} is the pretrained one: {_why_untrained(title.summary)}"
        )
    encoder = pack.load_encoder()
    encoder.load_state_dict(learned, strict=False)
    return encoder


def _why_untrained(summary: dict[str, Any]) -> str:
    """Why the encoder was not trained, and what to do."""
    codes = {warning["code"] for warning in summary["warnings"]}
    if summary["config"]["adapt"]["encoder"] == "frozen":
        return 'adapt.encoder was "frozen"; set it to "tail" or "all" and index the title again'
    if codes & {"collapsed", "encoder_collapsed"}:
        return "its training collapsed, as the title's page says, and was discarded"
    return "too little was found in the title to train it with"
