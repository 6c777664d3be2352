"""Takes the adapted encoder of a title out of storage, for whoever serves it elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_arrays
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.face_pack import FacePack

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
    latest = {i: f"titles/{i}/latest.json" for i in ([wanted] if wanted in ids else ids)}
    told = {i: found for i, path in latest.items() if (found := storage.find_json(path))}
    if not told:
        raise UsageError(f"{storage.uri} holds no results: run vcn index --output {storage.uri}")
    fits = [i for i, each in told.items() if wanted in (None, i, each["title"])]
    if len(fits) != 1:
        shown = {i: told[i]["title"] for i in fits or told}
        some = ", ".join([f"{title} ({i})" for i, title in shown.items()][:MOST_NAMED])
        more = ", ..." if len(shown) > MOST_NAMED else ""
        what = "" if wanted is None else f" and {len(fits)} called {wanted!r}"
        raise UsageError(
            f"{storage.uri} holds {len(told)} titles{what}: name one by --title, of {some}{more}"
        )
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
    known = title.summary["pack"].get("encoder_hash")
    if known is None:
        raise UsageError(
            f"the result of {name} does not say which encoder it was made with, as those of older "
            f"versions: remove {storage.locate(title.folder)} and index it again"
        )
    if known != pack.encoder_hash:
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
        raise UsageError(f"the encoder of {name} is the pack's own: {_why_untaught(title.summary)}")
    encoder = pack.load_encoder()
    encoder.load_state_dict(learned, strict=False)
    return encoder


def _why_untaught(summary: dict[str, Any]) -> str:
    """Why an adaptation left the encoder as it was, and what to do."""
    codes = {warning["code"] for warning in summary["warnings"]}
    if summary["config"]["finetune"]["encoder"] == "frozen":
        return 'finetune.encoder was "frozen"; set it to "tail" or "all" and index the title again'
    if codes & {"collapsed", "encoder_collapsed"}:
        return "its training collapsed, as the title's page says, so it was left as it was"
    return "too little was found in the title to train it with"
