"""How long the rest of a catalog takes, by what was done of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcn_ray.cli.outlook import Outlook, show_outlook
from vcn_ray.config import PriceConfig, RunConfig, load_config, select
from vcn_ray.io.storage import Storage
from vcn_ray.records import F64
from vcn_ray.run.estimate import (
    _candidates,
    estimate,
    last_records,
    measured_paces,
    parallel_steps,
)
from vcn_ray.schema import SCHEMA_VERSION
from vcn_ray.steps import RESULT_SETTINGS

HOUR = 3600.0


def finish(storage: Storage, number: int, length: float, detect: float, adapt: float) -> None:
    """Leave what a finished title leaves: its length, and seconds that its steps took."""
    settings = json.loads(json.dumps(select(RunConfig(), tuple(RESULT_SETTINGS))))
    seconds = {"detect": detect, "track": 0.0, "adapt": adapt, "cluster": 0.0}
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "videos": [{"video_id": "v", "uri": "v.mp4", "duration_seconds": length}],
        "seconds": seconds,
        "config": settings,
    }
    storage.write_json(f"titles/film-{number}/result-1/result.json", summary)
    storage.write_json(f"titles/film-{number}/latest.json", {"result": "result-1", "uris": {}})


def everything(*lengths: float) -> F64:
    return np.repeat(np.array(lengths)[:, None], 4, axis=1)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path))


def test_nothing_is_known_before_a_title_is_finished(storage: Storage) -> None:
    storage.write_bytes("runs/killed/videos.parquet", b"")
    storage.write_json("titles/half/latest.json", {"result": "result-1"})
    assert estimate(everything(60.0), RunConfig(), storage, True) is None


def test_one_title_tells_a_pace_and_no_band(storage: Storage) -> None:
    finish(storage, 1, length=100.0, detect=150.0, adapt=50.0)
    rest = estimate(everything(HOUR, HOUR), RunConfig(), storage, True)
    assert rest is not None
    assert rest.seconds.likely == pytest.approx(4 * HOUR)
    assert rest.seconds[1:] == (None, None)
    assert (rest.titles, rest.same_settings) == (1, True)


def test_only_open_steps_count(storage: Storage) -> None:
    finish(storage, 1, length=100.0, detect=150.0, adapt=50.0)
    left = np.array([[0.0, 0.0, 100.0, 100.0]])
    rest = estimate(left, RunConfig(), storage, True)
    assert rest is not None
    assert rest.seconds.likely == pytest.approx(50.0)
    nothing = estimate(np.zeros((0, 4)), RunConfig(), storage, True)
    assert nothing is not None
    assert nothing.seconds == (0.0, 0.0, 0.0)


def test_equal_paces_leave_no_doubt_and_different_ones_do(storage: Storage) -> None:
    for number in range(5):
        finish(storage, number, length=100.0, detect=100.0, adapt=0.0)
    rest = estimate(everything(*[HOUR] * 50), RunConfig(), storage, True)
    assert rest is not None
    assert rest.seconds == pytest.approx((50 * HOUR,) * 3)
    finish(storage, 5, length=100.0, detect=400.0, adapt=0.0)
    few = estimate(everything(*[HOUR] * 2), RunConfig(), storage, True)
    many = estimate(everything(*[HOUR] * 200), RunConfig(), storage, True)
    assert few is not None
    assert many is not None
    for rest, hours in ((few, 2), (many, 200)):
        assert rest.seconds.likely == pytest.approx(1.5 * hours * HOUR)
        low, high = rest.seconds.low or 0.0, rest.seconds.high or 0.0
        assert low < rest.seconds.likely < high
    assert (many.seconds.high or 0) / 200 < (few.seconds.high or 0) / 2  # differences even out


@pytest.mark.parametrize("known", [3, 30])
def test_the_band_holds_what_comes_nine_times_in_ten(tmp_path: Path, known: int) -> None:
    rng = np.random.default_rng(known)
    inside, wide = 0, 0.0
    for trial in range(25):
        storage = Storage.open(str(tmp_path / str(trial)))
        for number in range(known):
            finish(storage, number, 100.0, detect=100.0 * rng.gamma(4.0), adapt=0.0)
        rest = estimate(everything(*[100.0] * 40), RunConfig(), storage, True)
        assert rest is not None
        came = 100.0 * rng.gamma(4.0, size=40).sum()
        low, high = rest.seconds.low or 0.0, rest.seconds.high or 0.0
        inside += low <= came <= high
        wide += (high - low) / came / 25
    assert inside / 25 >= 0.76  # a tenth outside, and luck
    assert wide < (2.5 if known == 3 else 0.8)  # all that there is would hold it always


def test_titles_of_the_last_runs_are_asked_first(storage: Storage) -> None:
    for number in range(40):
        finish(storage, number, length=100.0, detect=100.0, adapt=0.0)
    made = [{"title_id": f"film-{number}", "reused": number > 1} for number in range(4)]
    storage.write_json("runs/last/run.json", {"titles": made})
    storage.write_bytes("runs/damaged/run.json", b"{")
    asked = list(_candidates(storage, last_records(storage)))
    assert asked[:2] == ["film-0", "film-1"]
    assert sorted(asked) == sorted(storage.names("titles"))


def test_a_long_title_tells_more_than_a_short_one(storage: Storage) -> None:
    finish(storage, 1, length=1.0, detect=20.0, adapt=0.0)  # mostly start and end
    finish(storage, 2, length=999.0, detect=980.0, adapt=0.0)
    rest = estimate(everything(1000.0), RunConfig(), storage, True)
    assert rest is not None
    assert rest.seconds.likely == pytest.approx(1000.0)


def test_other_settings_tell_only_where_there_are_no_equal_ones(storage: Storage) -> None:
    finish(storage, 1, length=100.0, detect=100.0, adapt=0.0)
    other = load_config(None, {"detect.analysis_fps": "4"})
    measured = measured_paces(other, storage, [])
    assert (len(measured.lengths), measured.same_settings) == (1, False)
    assert len(measured_paces(load_config(None, {"pack": "another"}), storage, []).lengths) == 0


def test_time_is_shared_by_what_runs_side_by_side(storage: Storage) -> None:
    finish(storage, 1, length=100.0, detect=100.0, adapt=0.0)
    work = {"detect": {"seconds": 90.0}, "adapt": {"seconds": 10.0}}
    record = {"work_span_seconds": 25.0, "work": work, "local": True, "titles": []}
    storage.write_json("runs/whole/run.json", record)
    storage.write_json("runs/ray/run.json", record | {"local": False, "work_span_seconds": 10.0})
    storage.write_json("runs/empty/run.json", {"work_span_seconds": 0.0, "titles": []})
    storage.write_bytes("runs/killed/videos.parquet", b"")
    assert parallel_steps(last_records(storage), local=True) == pytest.approx(4.0)
    assert parallel_steps(last_records(storage), local=False) == pytest.approx(10.0)
    assert parallel_steps([], local=True) == 1.0
    rest = estimate(everything(HOUR), RunConfig(), storage, True)
    assert rest is not None
    assert rest.seconds.likely == pytest.approx(HOUR / 4)
    assert rest.cpu_seconds.likely == pytest.approx(HOUR)  # however many share it


def test_what_is_set_aside_has_a_price(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"resources.detect_cpus": "2", "resources.detect_gpus": "0.5"}
    config = load_config(None, settings)
    for number in range(2):
        finish(storage, number, length=100.0, detect=100.0, adapt=300.0)
    rest = estimate(everything(HOUR), config, storage, True)
    assert rest is not None
    assert rest.cpu_seconds.likely == pytest.approx((2 + 3) * HOUR)
    assert rest.gpu_seconds.likely == pytest.approx(0.5 * HOUR)
    prices = PriceConfig(cpu_hour=0.1, gpu_hour=2.0)
    assert rest.cost(prices).likely == pytest.approx(0.5 + 1.0)
    outlook = Outlook()
    outlook.actions["everything"] = 1
    show_outlook(outlook, rest, None, prices)
    told = capsys.readouterr().out
    assert "cost: about 1.50 (1.50 to 1.50)" in told
    assert "0.50 h (0.50 h to 0.50 h) of GPUs" in told
