"""What the encoders said of a title's tracks, read back where retention has kept it."""

from __future__ import annotations

import numpy as np

from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import load_outputs
from vcn_ray.records import F32, TrackOutputs
from vcn_ray.run.commit import OUTPUTS
from vcn_ray.run.stored import LatestResult, StoredTitle


def kept_outputs(title: LatestResult | StoredTitle, storage: Storage) -> CommittedFolder | None:
    """The folder with the outputs of a title's tracks; None where they are not kept.

    Raises:
        DamagedError: It is damaged.
    """
    adapted = CommittedFolder.find(storage, title.summary["keys"]["adapt"])
    return adapted if adapted is not None and OUTPUTS in adapted.files else None


def read_outputs(
    title: LatestResult | StoredTitle, tracks: int, storage: Storage
) -> TrackOutputs | None:
    """The outputs of a title's tracks, in their order.

    Args:
        title: The title.
        tracks: How many tracks its result has.
        storage: The output.

    Returns:
        None where they are not kept, or belong to other tracks.

    Raises:
        DamagedError: They are damaged.
    """
    kept = kept_outputs(title, storage)
    if kept is None:
        return None
    outputs = load_outputs(kept.read_bytes(OUTPUTS))
    return outputs if len(outputs) == tracks else None


def track_embeddings(title: StoredTitle, storage: Storage) -> F32 | None:
    """Unit embeddings (k, d) of a title's tracks, by the pretrained encoder; None without.

    Damaged ones count as none: whoever compares faces can do without.
    """
    try:
        outputs = read_outputs(title, title.tracks.num_rows, storage)
    except DamagedError:
        return None
    return None if outputs is None else unit_rows(outputs.pretrained).astype(np.float32)
