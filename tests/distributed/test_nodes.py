"""Every node of a cluster is checked, and nodes are compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

import vcn_ray
from vcn_ray.config import RunConfig
from vcn_ray.distributed.nodes import compare, node_facts

FACTS = {"Python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "detector": "a" * 64}


def test_equal_nodes_are_fine() -> None:
    (finding,) = compare({"a": FACTS, "b": dict(FACTS), "silent": {}})
    assert finding.state == "ok"


@pytest.mark.parametrize(
    ("what", "value", "state"),
    [
        ("Python", "3.12.1", "fault"),
        ("ray", "2.61.0", "fault"),
        ("detector", "b" * 64, "fault"),
        ("torch", "2.14.0", "warning"),
        ("torch", None, "warning"),
    ],
)
def test_differing_nodes_are_named(what: str, value: str | None, state: str) -> None:
    other = {n: v for n, v in (FACTS | {what: value}).items() if v is not None}
    (finding,) = compare({"10.0.0.1": FACTS, "10.0.0.2": other})
    assert finding.state == state
    assert finding.text.startswith(f"{what} differs: 10.0.0.1 {FACTS[what][:20]}, 10.0.0.2 ")


def test_facts_have_versions_and_hashes(yunet_pack: Path) -> None:
    facts = node_facts(RunConfig(pack=str(yunet_pack)))
    assert {"Python", "ray", "vcn-ray", "torch", "detector", "encoder"} <= set(facts)
    assert "detector" not in node_facts(RunConfig(pack="no-such-pack"))


@pytest.fixture
def nodes() -> Iterator[str]:
    """The address of a cluster of two nodes on this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own warnings
def test_each_node_of_a_cluster_is_checked(nodes: str, yunet_pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    findings = vcn_ray.doctor(output=out, pack=str(yunet_pack), config=RunConfig(), address=nodes)
    names = {finding.node for finding in findings} - {""}
    assert len(names) == 2
    for name in names:
        own = {f.subject: f.state for f in findings if f.node == name}
        assert {"python", "ray", "ffmpeg", "pack in use", "token", "memory"} <= set(own)
        written = [f.text for f in findings if f.node == name and f.subject == f"output {out}"]
        assert f"{tmp_path} can be written and read; it is new" in written
        assert own["pack in use"] == "ok"
    assert findings[-1].text == "all nodes have the same versions and the same pack"
    assert list(tmp_path.iterdir()) == []
