"""Which failures of a Ray Train job are tried again, and which are final."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.train import TrainingFailedError, WorkerGroupError

from tests.helpers.plans import title
from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.distributed import trainer
from vcn_ray.distributed.session import cluster
from vcn_ray.distributed.trainer import MAX_RESTARTS, refusal_of, train_large
from vcn_ray.errors import PackError, StorageError, VcnError

CPU_SECONDS = 1234.5
REFUSED = PackError("pack x differs between this machine and the one that planned the run")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Errors of the next jobs, in order; a job without one ends well."""
    errors: list[Exception] = []

    def run(job: dict[str, Any], resources: ResourceConfig) -> float:
        if errors:
            raise errors.pop(0)
        return CPU_SECONDS

    monkeypatch.setattr(trainer, "_run_job", run)
    return errors


def died(error: Exception) -> WorkerGroupError:
    return WorkerGroupError("a worker failed", {0: RuntimeError("peer is gone"), 1: error})


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (died(REFUSED), REFUSED),
        (died(StorageError("no answer")), None),
        (died(ConnectionError("the node is gone")), None),
        (RuntimeError("without workers"), None),
    ],
)
def test_what_a_process_refused_is_found(error: Exception, refused: VcnError | None) -> None:
    assert refusal_of(error) is refused


def test_a_refusal_is_not_tried_again(jobs: list[Exception]) -> None:
    jobs += [died(REFUSED)] * 2
    with pytest.raises(PackError, match="differs between this machine"):
        train_large(title("t"), RunConfig(), "out", None)
    assert len(jobs) == 1


def test_a_process_that_died_is_tried_again(jobs: list[Exception]) -> None:
    jobs += [died(ConnectionError("gone"))] * MAX_RESTARTS
    work = train_large(title("t"), RunConfig(), "out", None)
    assert work.step == "adapt"
    assert work.cpu_seconds >= CPU_SECONDS > work.seconds
    assert not jobs


def test_tries_come_to_an_end(jobs: list[Exception]) -> None:
    jobs += [died(ConnectionError("gone"))] * (MAX_RESTARTS + 2)
    with pytest.raises(TrainingFailedError):
        train_large(title("t"), RunConfig(), "out", None)
    assert len(jobs) == 1


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own warnings
def test_a_job_with_another_pack_runs_once(
    yunet_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's key is of another pack than the one that the job's process loads."""
    runs = []
    once = trainer._run_job

    def run(job: dict[str, Any], resources: ResourceConfig) -> float:
        runs.append(job)
        return once(job, resources)

    monkeypatch.setattr(trainer, "_run_job", run)
    config = RunConfig(pack=str(yunet_pack))
    with (
        cluster(config.resources),
        pytest.raises(PackError, match="differs between this machine"),
    ):
        train_large(title("t"), config, str(tmp_path), None)
    assert len(runs) == 1
