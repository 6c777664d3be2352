"""Takes the adapted encoder of a title out of storage, for whoever serves it elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.io.weights import load_arrays
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.packs import FacePack

PREFIX = "encoder."  # of the encoder's tensors in model.safetensors
MOST_NAMED = 5  # titles in an error


class FinishedTitle(NamedTuple):
    """A title that has a result."""

    folder: str  # of the newest result, below the output
    summary: dict[str, Any]  # result.json


def find_title(storage: Storage, wanted: str | None) -> FinishedTitle:
    """The title of a name or id; the only one there is where none is named.

    Raises:
        UsageError: There is no such title, or more than one.
    """
    ids = storage.names("titles")
    latest = {i: f"titles/{i}/latest.json" for i in ([wanted] if wanted in ids else ids) if i}
    told = {i: found for i, path in latest.items() if (found := storage.find_json(path))}
    fits = [i for i, each in told.items() if wanted in (None, i, each["title"])]
    if len(fits) != 1:
        some = ", ".join([each["title"] for each in told.values()][:MOST_NAMED])
        what = "so name one by --title" if wanted is None else f"{len(fits)} called {wanted!r}"
        there = f" ({some}{', ...' if len(told) > MOST_NAMED else ''})" if told else ""
        raise UsageError(f"{storage.uri} holds {len(told)} titles{there}, {what}")
    folder = f"titles/{fits[0]}/{told[fits[0]]['result']}"
    return FinishedTitle(folder, storage.read_json(f"{folder}/result.json"))


def adapted_encoder(title: FinishedTitle, pack: FacePack, storage: Storage) -> Backbone:
    """The encoder of a pack as a title has taught it, on the CPU in eval mode.

    Args:
        title: What it was adapted to.
        pack: The one that was adapted.
        storage: Where the title lies.

    Raises:
        UsageError: That title was made with another pack, or its adaptation left the encoder as it
            was.
        StorageError: The model cannot be read.
    """
    name = title.summary["title"]
    if title.summary["pack"].get("encoder_hash") != pack.encoder_hash:
        raise UsageError(
            f"{name} was made with pack {title.summary['pack']['name']}, and that is another one "
            f"than the pack {pack.name} here: name the one that it was made with by --pack"
        )
    tensors = load_arrays(storage.read_bytes(f"{title.folder}/model.safetensors"))
    learned = {
        key.removeprefix(PREFIX): torch.from_numpy(value)
        for key, value in tensors.items()
        if key.startswith(PREFIX)
    }
    if not learned:
        raise UsageError(
            f"{name} was adapted by its head alone, so its encoder is the pack's own: set "
            'finetune.encoder to "tail" or "all" and index it again'
        )
    encoder = pack.load_encoder()
    encoder.load_state_dict(learned, strict=False)
    return encoder
