from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vcn_ray.cli.outlook import speed_lines
from vcn_ray.config import RunConfig, dump_config, load_config
from vcn_ray.io.storage import Storage
from vcn_ray.run.estimate import last_speed
from vcn_ray.run.ledger import Ledger, Work
from vcn_ray.run.speed import speed_of

PRICED = load_config(None, {"prices.cpu_hour": "0.5", "prices.gpu_hour": "2"})


def ledger_of(*works: Work) -> Ledger:
    ledger = Ledger()
    for work in works:
        ledger.add(work)
    return ledger


def work(step: Any, cpu: float, video: float, gpu: float = 0.0, limit: float = 0.0) -> Work:
    return Work(step, "a", cpu, gpu, cpu_seconds=cpu, limit_seconds=limit, video_seconds=video)


def test_an_hour_of_video_by_hand() -> None:
    halves = [work("detect", 300.0, 1800.0, gpu=90.0, limit=210.0) for _ in range(2)]
    done = ledger_of(*halves, work("adapt", 120.0, 3600.0)).by_step()
    speed = speed_of(done, PRICED)
    assert speed["core_hours"] == pytest.approx({"detect": 1 / 6, "adapt": 1 / 30}, rel=1e-3)
    assert speed["gpu_hours"] == pytest.approx({"detect": 0.05, "adapt": 0.0})
    assert speed["video_hours_per_core_hour"] == pytest.approx(5.0, rel=1e-3)
    assert speed["video_hours_per_gpu_day"] == pytest.approx(24 / 0.05)
    assert speed["limit_fraction"] == pytest.approx(420 / 720, rel=1e-3)
    assert speed["cost"] == pytest.approx({"detect": 0.5 / 6 + 0.1, "adapt": 0.5 / 30}, rel=1e-3)


def test_a_resumed_run_has_the_figures_of_a_whole_one() -> None:
    whole = ledger_of(work("detect", 600.0, 3600.0), work("track", 36.0, 3600.0))
    rest = ledger_of(work("detect", 100.0, 600.0), work("track", 36.0, 3600.0))
    assert speed_of(rest.by_step(), PRICED) == speed_of(whole.by_step(), PRICED)


def test_nothing_is_said_of_a_run_that_did_nothing() -> None:
    speed = speed_of({}, RunConfig())
    assert speed["video_hours_per_core_hour"] is None
    assert speed["limit_fraction"] is None
    assert speed_lines(speed) == []
    assert speed_lines(None) == []


def test_lines_name_the_steps_in_their_order() -> None:
    done = ledger_of(
        work("adapt", 60.0, 3600.0, gpu=30.0), work("detect", 540.0, 3600.0, limit=300.0)
    )
    assert speed_lines(speed_of(done.by_step(), PRICED)) == [
        "speed: 6.00 hours of video a core-hour (detect 90%, adapt 10%)",
        "       50% of it is decoding and detection alone",
        "       2880 hours of video a GPU-day",
        "cost:  0.1000 an hour of video (detect 0.0750, adapt 0.0250)",
    ]


def test_the_last_whole_run_of_the_same_pack_tells_the_speed(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    assert last_speed(RunConfig(), storage) is None
    steps: tuple[Any, ...] = ("detect", "track", "adapt", "cluster")

    def record(name: str, steps: tuple[Any, ...], cpu: float, pack: str = RunConfig().pack) -> None:
        done = ledger_of(*(work(step, cpu, 3600.0) for step in steps)).by_step()
        config = load_config(None, {"pack": pack})
        content = {"speed": speed_of(done, config), "config": dump_config(config), "run_id": name}
        storage.write_json(f"runs/{name}/run.json", json.loads(json.dumps(content)))

    record("1", steps, 600.0)
    record("2", steps, 300.0)
    record("3", steps[2:], 10.0)
    record("4", steps, 5.0, pack="dlib")
    storage.write_json("runs/0/run.json", {"run_id": "0"})  # of a version without speeds
    found = last_speed(RunConfig(), storage)
    assert found is not None
    assert found["run_id"] == "2"
    assert found["video_hours_per_core_hour"] == pytest.approx(3.0, rel=1e-3)
