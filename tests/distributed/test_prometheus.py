"""Ray's metrics port serves what a run counts, and the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vcn_ray.distributed.prometheus import COUNTERS, GAUGES

DASHBOARD = Path(__file__).resolve().parents[2] / "cluster_configs" / "grafana-dashboard.json"

COUNT_SOMETHING = """
import socket, sys, time, urllib.request
import ray
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
ray.init(address="local", num_cpus=1, include_dashboard=False, _metrics_export_port=port)
from vcn_ray.distributed.prometheus import RunMetrics
from vcn_ray.run.events import Failed, TitleDone, WorkDone
from vcn_ray.run.failures import Failure
from vcn_ray.run.status import TitleStatus
from vcn_ray.run.ledger import Work
count = RunMetrics("r1")
count(WorkDone(Work("detect", "v", 1.5, 0.5, frames=10, faces=3, bytes_read=7, bytes_written=9)))
count(WorkDone(Work("detect", "v", 1.0, 0.5, frames=10, faces=3, bytes_read=7, bytes_written=9)))
count(Failed(Failure("u", "detect", 1, "crash", "died")))
count(TitleDone(TitleStatus("T", "t", "titles/t/result-1", 2, 9, 1, 0, 3.0, (), False)))
for name in ("vcn_videos_planned", "vcn_videos_open", "vcn_segments_open"):
    count.set(name, 4)
for _ in range(60):
    time.sleep(1)
    text = ""
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).read().decode()
    except OSError:
        continue
    if "vcn_titles" in text and "vcn_segments_open" in text:
        break
sys.stdout.write(text)
ray.shutdown()
"""


@pytest.mark.ray
@pytest.mark.network
def test_the_port_serves_what_was_counted() -> None:
    words = [sys.executable, "-c", COUNT_SOMETHING]
    served = subprocess.run(words, capture_output=True, text=True, timeout=180, check=True).stdout
    found = re.findall(r'^ray_(vcn_\w+)\{(.*)run="r1"(.*)\} (\S+)$', served, re.MULTILINE)
    values = {name: float(value) for name, _, _, value in found}
    assert set(values) == {*COUNTERS, *GAUGES}
    assert values["vcn_seconds_total"] == 2.5
    assert values["vcn_frames_total"] == 20
    assert values["vcn_bytes_written_total"] == 18
    assert values["vcn_segments_open"] == 4
    failure = next(before + after for name, before, after, _ in found if "failures" in name)
    assert 'reason="crash"' in failure
    assert 'step="detect"' in failure


def test_the_dashboard_asks_for_what_is_counted() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked.append(dashboard["templating"]["list"][1]["query"]["query"])
    labels = {name: set(about[1]) for name, about in (COUNTERS | GAUGES).items()}
    seen = set()
    for expression in asked:
        name = re.search(r"ray_(vcn_\w+)", expression)
        assert name, expression
        seen.add(name[1])
        by = re.search(r" by \(([\w, ]+)\)", expression)
        assert set(by[1].split(", ") if by else []) <= labels[name[1]], expression
    assert seen == set(labels)  # every metric is on the dashboard
    # Every panel has a place, and no two overlap.
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
