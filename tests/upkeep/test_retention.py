"""Pictures and embeddings go when they are due; what is left is sound and says so."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.helpers.catalogs import build_local
from tests.helpers.films import vcn
from tests.helpers.upkeep import (
    LOCAL,
    Indexed,
    Killed,
    arrays_in,
    pictures_in,
    states_before_changes,
)
from vcn_ray.config import RetentionConfig
from vcn_ray.io.committed import FILES
from vcn_ray.io.storage import Storage
from vcn_ray.registry.stored import POINTER, read_registry
from vcn_ray.run.listed_pages import PAGES
from vcn_ray.run.stored import stored_titles
from vcn_ray.upkeep.doors import prune_output

pytestmark = pytest.mark.slow

NO_CROPS = ["--set", "retention.crops_days=0"]
NO_EMBEDDINGS = ["--set", "retention.embeddings_days=0"]
OTHER = ["--set", "cluster.quality.min_recognisability=0.06"]  # clusters again


def rows_in(storage: Storage) -> dict[str, list[dict[str, object]]]:
    """All rows of all results and their tracks, without pictures."""
    return {
        f"{title.title_id} {name}": getattr(title, name)
        .drop_columns([n for n in ("image", "face") if n in getattr(title, name).column_names])
        .to_pylist()
        for title in stored_titles(storage)
        for name in ("people", "tracks", "appearances", "merges", "crops", "shots")
    }


def test_a_run_that_keeps_no_pictures(indexed: Indexed, original: Indexed, tmp_path: Path) -> None:
    made = original.at(tmp_path / "new")
    ran = made.index(*NO_CROPS, *NO_EMBEDDINGS)
    assert ran.code == 0, ran.err
    new, old = (Storage.open(str(each.output)) for each in (made, original))
    assert pictures_in(old) > 0
    assert arrays_in(old)
    assert (pictures_in(new), arrays_in(new)) == (0, [])
    segments = len(list(made.output.glob("videos/*/detect-*/seg-*.parquet")))
    assert ran.record["work"]["detect"]["steps"] == segments  # the shared film's only once
    assert rows_in(new) == rows_in(old)  # keys too: they do not depend on retention
    assert sorted(new.names("videos")) == sorted(old.names("videos"))
    assert vcn("verify", made.output).code == 0
    assert "nothing to do" in made.index().out
    ran = vcn("report", made.output)
    assert ran.code == 0, ran.err
    (page,) = made.output.glob("titles/film-*/report.html")
    assert "Pictures of faces were removed" in page.read_text()


def test_a_run_that_removes_pictures_takes_them_out_of_the_pages(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    pages = [indexed.output / path for path in storage.read_json(PAGES)[FILES]]
    assert len(pages) == 3
    assert any(b"data:image/jpeg" in page.read_bytes() for page in pages)
    assert indexed.index(*NO_CROPS).code == 0
    assert not any(b"data:image/jpeg" in page.read_bytes() for page in pages)
    assert vcn("verify", indexed.output).code == 0


def test_pages_that_a_killed_run_left_are_written_by_the_next(
    indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(storage: Storage) -> None:
        raise Killed

    page = indexed.output / "index.html"
    with monkeypatch.context() as patch:
        patch.setattr("vcn_ray.api.renew_pages", die)
        with pytest.raises(Killed):
            indexed.index(*NO_CROPS)
    assert b"data:image/jpeg" in page.read_bytes()
    assert "nothing to do" in indexed.index(*NO_CROPS).out
    assert b"data:image/jpeg" not in page.read_bytes()
    kept = page.stat().st_mtime_ns
    assert indexed.index(*NO_CROPS).code == 0
    assert page.stat().st_mtime_ns == kept  # pages are written again only where they have to be


def test_prune_removes_what_is_due_and_not_more(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    before = rows_in(storage)
    had = pictures_in(storage)
    limits = RetentionConfig(crops_days=30, embeddings_days=10)
    assert prune_output(storage, dry_run=False, retention=limits).expired == {}
    later = time.time() + 11 * 24 * 3600
    told = prune_output(storage, dry_run=True, retention=limits, now=later)
    assert (told.expired, pictures_in(storage)) == ({"embeddings": 2}, had)
    assert arrays_in(storage)
    assert prune_output(storage, False, limits, later).expired == {"embeddings": 2}
    assert (pictures_in(storage), arrays_in(storage)) == (had, [])
    later += 20 * 24 * 3600
    done = prune_output(storage, False, limits, later)
    assert done.expired == {"pictures": 2}
    assert any("no faces" in line for line in done.remarks)
    assert pictures_in(storage) == 0
    assert b"data:image/jpeg" not in (indexed.output / "index.html").read_bytes()
    assert rows_in(storage) == before
    assert vcn("verify", indexed.output).code == 0
    assert "nothing to do" in indexed.index().out
    assert prune_output(storage, False, limits, later).expired == {}


def test_scores_need_no_pictures(indexed: Indexed, tmp_path: Path) -> None:
    (title,) = [
        t for t in stored_titles(Storage.open(str(indexed.output))) if t.title_id[:5] == "film-"
    ]
    lines = ["video,frame,x0,y0,x1,y1,identity"]
    for row in title.crops.to_pylist():
        box = ",".join(str(row[f"{side}_pixels"]) for side in ("x0", "y0", "x1", "y1"))
        lines.append(f"{title.summary['videos'][0]['uri']},{row['frame']},{box},somebody")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines))
    before = vcn("evaluate", indexed.output, "--labels", labels)
    assert before.code == 0, before.err
    assert vcn("prune", indexed.output, *NO_CROPS, *NO_EMBEDDINGS).code == 0
    after = vcn("evaluate", indexed.output, "--labels", labels)
    assert after.code == 0, after.err
    assert after.record == before.record


@pytest.mark.parametrize("kept", [NO_CROPS, NO_EMBEDDINGS, [*NO_CROPS, *NO_EMBEDDINGS]])
def test_other_settings_make_again_what_they_need(
    indexed: Indexed, kept: list[str], tmp_path: Path
) -> None:
    other = indexed.at(Path(shutil.copytree(indexed.output, tmp_path / "other")))
    assert other.index(*OTHER).code == 0
    assert vcn("prune", indexed.output, *kept).code == 0
    to = ("--output", indexed.output, "--pack", indexed.pack)
    assert "by retention" in vcn("plan", indexed.catalog, *to, *LOCAL, *OTHER).out
    ran = indexed.index(*OTHER)
    assert ran.code == 0, ran.err
    assert "by retention; it is done again" in ran.err
    works = {"detect", "track"} if kept == NO_CROPS else {"adapt"}
    assert works <= set(ran.record["work"])
    assert "cluster" in ran.record["work"]
    assert rows_in(Storage.open(str(indexed.output))) == rows_in(Storage.open(str(other.output)))
    assert vcn("verify", indexed.output).code == 0


def test_a_kill_while_pictures_are_removed(indexed: Indexed, tmp_path: Path) -> None:
    limits = RetentionConfig(crops_days=0, embeddings_days=0)
    wanted = Storage.open(str(shutil.copytree(indexed.output, tmp_path / "wanted")))
    prune_output(wanted, False, limits)
    goal = rows_in(wanted)

    def change(storage: Storage) -> None:
        prune_output(storage, False, limits)

    states = states_before_changes(indexed.output, tmp_path / "killed", change)
    assert len(states) > 30
    for place in states:
        storage = Storage.open(str(place))
        prune_output(storage, False, limits)
        assert (pictures_in(storage), arrays_in(storage)) == (0, [])
        assert rows_in(storage) == goal
    assert vcn("verify", indexed.output).code == 0


def nulls_in_registry(storage: Storage) -> tuple[float, float]:
    """Fractions of the registry's rows without an embedding, and without a face."""
    registry = read_registry(storage)
    columns = registry.faces["codes"], registry.people["face"]
    one, other = (column.null_count / len(column) for column in columns)
    return one, other


def test_the_registry_goes_with_what_it_repeats(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    build_local(storage)
    assert nulls_in_registry(storage) == (0, 0)
    ran = vcn("prune", indexed.output, *NO_EMBEDDINGS, "--dry-run")
    assert "registry of people would be removed" in ran.out
    assert storage.exists(POINTER)
    ran = vcn("prune", indexed.output, *NO_EMBEDDINGS)
    assert "registry of people is removed" in ran.out
    assert storage.names("registry") == []
    assert vcn("verify", indexed.output).code == 0
    build_local(storage)
    assert nulls_in_registry(storage) == (1, 0)
    assert vcn("prune", indexed.output, *NO_EMBEDDINGS).record["remarks"] == []
    assert "registry of people is removed" in vcn("prune", indexed.output, *NO_CROPS).out
    build_local(storage)
    assert nulls_in_registry(storage) == (1, 1)
    assert vcn("prune", indexed.output, *NO_CROPS, *NO_EMBEDDINGS).record["remarks"] == []


def test_a_run_that_keeps_no_pictures_removes_an_older_registry(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    build_local(storage)
    assert indexed.index(*OTHER).code == 0
    assert storage.exists(POINTER)
    ran = indexed.index(*NO_CROPS, "--set", "cluster.quality.min_recognisability=0.07")
    assert ran.code == 0, ran.err
    assert "registry of people is removed" in ran.err
    assert pictures_in(storage) == 0
    assert not storage.exists(POINTER)
