"""The tables of a finished title after all its corrections: a run writes them with each result."""

from __future__ import annotations

from dataclasses import replace

from vcn_ray.edits.store import edit_names
from vcn_ray.io.storage import Storage
from vcn_ray.run.damage import uncommitting
from vcn_ray.run.plan import TitlePlan
from vcn_ray.run.reviewed import commit_reviewed, find_reviewed, read_reviewed
from vcn_ray.run.status import TitleStatus
from vcn_ray.run.stored import read_title


def correct(status: TitleStatus, title: TitlePlan, storage: Storage) -> TitleStatus:
    """Replay the corrections of a title on its newest result, unless that was done.

    A title that had none when it was planned costs no request.

    Args:
        status: How the title went.
        title: Its plan; its result is committed.
        storage: The output.

    Returns:
        The same with numbers of corrections.

    Raises:
        DamagedError: A file of the result, or of its tracks, is damaged; it is uncommitted.
        StorageError: Storage cannot be read or written.
    """
    if not title.edits:
        return status
    names = edit_names(storage, title.title_id)
    manifest = find_reviewed(title.title_id, title.cluster_folder, names, storage)
    if manifest is None:
        with uncommitting(storage):
            reviewed = read_reviewed(read_title(title.title_id, storage), storage)
            manifest = storage.read_manifest(commit_reviewed(reviewed, storage))
    return replace(status, corrections=manifest["corrections"], misfits=manifest["misfits"])
