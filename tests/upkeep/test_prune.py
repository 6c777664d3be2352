"""What no newest result needs goes, all else stays, and a kill at any moment does no harm."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.films import vcn
from tests.helpers.s3_server import S3Server
from tests.helpers.upkeep import Indexed, Killed, content, dying, upload
from vcn_ray.errors import UsageError
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.storage import Storage
from vcn_ray.upkeep.doors import prune_output
from vcn_ray.upkeep.files import DAY_SECONDS

pytestmark = pytest.mark.slow

OTHER = ["--set", "track.sample_seconds=0.3"]  # other tracks, models and results


@pytest.fixture(scope="module")
def twice(original: Indexed, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    """The output, indexed with other settings after the first ones."""
    made = original.at(tmp_path_factory.mktemp("twice") / "out")
    shutil.copytree(original.output, made.output)
    assert made.index(*OTHER).code == 0
    assert vcn("report", made.output).code == 0
    return made


@pytest.fixture
def used(twice: Indexed, tmp_path: Path) -> Indexed:
    """A copy of it."""
    return twice.at(Path(shutil.copytree(twice.output, tmp_path / "out")))


def folders(output: Path, kind: str) -> list[str]:
    return sorted(str(p.relative_to(output)) for p in output.glob(f"*/*/{kind}-*"))


def test_older_results_go_and_the_newest_stay_whole(used: Indexed, original: Indexed) -> None:
    before = content(Storage.open(str(used.output)))
    told = vcn("prune", used.output, "--dry-run")
    assert content(Storage.open(str(used.output))) == before
    ran = vcn("prune", used.output)
    assert (ran.code, ran.record["removed"]) == (0, told.record["removed"])
    assert set(ran.record["removed"]) == {"cluster", "adapt", "track"}
    left = content(Storage.open(str(used.output)))
    assert left.items() < before.items()
    sums = ran.record["removed"].values()
    assert sum(each["files"] for each in sums) == len(before) - len(left)
    gone = sum(len(data) for path, data in before.items() if path not in left)
    assert sum(each["bytes"] for each in sums) == ran.record["bytes"] == gone
    for kind in ("cluster", "adapt", "track"):
        assert len(folders(used.output, kind)) == 2
        assert not set(folders(used.output, kind)) & set(folders(original.output, kind))
    assert folders(used.output, "detect") == folders(original.output, "detect")
    assert vcn("verify", used.output).code == 0
    assert "nothing to do" in used.index(*OTHER).out
    assert vcn("report", used.output).code == 0
    assert vcn("prune", used.output).record["files"] == 0
    ran = used.index()  # the first settings: made again, and the newest then
    assert (ran.code, set(ran.record["work"])) == (0, {"track", "adapt", "cluster"})


def test_a_folder_stays_while_one_newest_result_needs_it(
    indexed: Indexed, film: Path, yunet_pack: Path
) -> None:
    alone = Indexed(indexed.output, film, yunet_pack)
    assert alone.index(*OTHER).code == 0
    shared = [f for f in folders(indexed.output, "track") if "/film-" in f]
    ran = vcn("prune", indexed.output)
    assert set(ran.record["removed"]) == {"cluster", "adapt"}
    assert [f for f in folders(indexed.output, "track") if "/film-" in f] == shared
    assert vcn("verify", indexed.output).code == 0


@pytest.mark.parametrize("what", ["latest.json", "cluster"])
def test_what_a_damaged_title_may_need_stays(used: Indexed, what: str) -> None:
    (title,) = used.output.glob("titles/season-*")
    if what == "latest.json":
        (title / what).write_text("{}")
    else:
        newest = Storage.open(str(used.output)).read_json(f"titles/{title.name}/latest.json")
        for name in ("manifest.json", "result.json"):
            (title / newest["result"] / name).write_text("{}")
    ran = vcn("prune", used.output)
    assert ran.code == 0
    assert [f"titles/{title.name}" in line for line in ran.record["remarks"]] == [True]
    assert len(list(title.glob("cluster-*"))) == 2
    assert len(list(used.output.glob("videos/second-*/track-*"))) == 2
    assert len(list(used.output.glob("titles/film-*/cluster-*"))) == 1
    assert used.index(*OTHER).code == 0
    assert vcn("verify", used.output).code == 0


def test_work_in_flight_stays_until_it_is_a_day_old(indexed: Indexed) -> None:
    storage = Storage.open(str(indexed.output))
    (video,) = [n for n in storage.names("videos") if n.startswith("second-")]
    storage.write_bytes(f"videos/{video}/detect-0123456789ab/seg-00000.parquet", b"begun")
    storage.write_bytes("titles/new-0123456789ab/adapt-0123456789ab/checkpoint.safetensors", b"x")
    (indexed.output / "videos" / video / ".manifest.json-0a.tmp").write_bytes(b"half")
    storage.write_bytes(f"videos/{video}/plan-0123456789ab.json", b"no plan")
    before = content(storage)
    first = prune_output(storage, dry_run=False)
    assert set(first.removed) == {"plan"}
    later = prune_output(storage, dry_run=False, now=time.time() + DAY_SECONDS + 60)
    assert {kind: each["files"] for kind, each in later.removed.items()} == {
        "unfinished": 2,
        "temporary": 1,
    }
    left = content(storage)
    assert len(before) - len(left) == 4
    assert not os.path.exists(indexed.output / "titles/new-0123456789ab")
    assert vcn("verify", indexed.output).code == 0


def test_corrections_of_older_results_go(used: Indexed) -> None:
    storage = Storage.open(str(used.output))
    (title,) = [name for name in storage.names("titles") if name.startswith("season-")]
    newest = storage.read_json(f"titles/{title}/latest.json")["result"]
    for name, result in (("1", newest), ("2", "cluster-0123456789ab")):
        path = f"titles/{title}/reviewed-{name}/manifest.json"
        storage.write_json(path, {"result": result, "files": {}})
    assert prune_output(storage, dry_run=False).removed["reviewed"]["files"] == 1
    assert storage.names(f"titles/{title}/reviewed-1") == ["manifest.json"]
    assert storage.names(f"titles/{title}/reviewed-2") == []


def test_a_kill_at_any_removal_leaves_a_sound_output(used: Indexed, tmp_path: Path) -> None:
    wanted = Path(shutil.copytree(used.output, tmp_path / "wanted"))
    removed = vcn_ray.prune(wanted).files
    goal, place = content(Storage.open(str(wanted))), tmp_path / "killed"
    for changes in range(removed + 2):  # with the note on what is being removed, twice
        shutil.rmtree(place, ignore_errors=True)
        storage = Storage.open(str(shutil.copytree(used.output, place)))
        with pytest.raises(Killed):
            prune_output(dying(storage, changes), dry_run=False)
        if changes % 5 == 0:
            assert vcn("verify", place).code == 0
        prune_output(storage, dry_run=False)
        assert content(storage) == goal


def test_an_empty_output_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        vcn_ray.prune(tmp_path)


@pytest.mark.network
def test_the_same_in_a_bucket(used: Indexed, s3_server: S3Server, tmp_path: Path) -> None:
    s3_server.client.create_bucket(Bucket="pruned")
    storage = Storage.open("s3://pruned/out", S3Config(endpoint=s3_server.url, region="us-east-1"))
    upload(used.output, storage)
    ran = vcn("prune", "s3://pruned/out", *s3_server.settings)
    assert ran.code == 0, ran.err
    vcn_ray.prune(used.output)
    assert content(storage) == content(Storage.open(str(used.output)))
    assert vcn("verify", "s3://pruned/out", *s3_server.settings).code == 0
