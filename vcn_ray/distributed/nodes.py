"""Checks every node of a cluster, each by a task on that node, and compares them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vcn_ray.config import RunConfig
from vcn_ray.distributed.session import cluster
from vcn_ray.errors import PackError
from vcn_ray.health.finding import Finding, fault, ok, warning
from vcn_ray.health.machine import machine_findings
from vcn_ray.health.places import input_findings, output_findings
from vcn_ray.packs.find import find_pack
from vcn_ray.redact import one_line

ADDRESS = "RAY_ADDRESS"
NODE_SECONDS = 180.0  # a worker's first imports take long on a slow disk
MUST_AGREE = ("Python", "ray", "vcn-ray", "detector", "encoder")
SHOULD_AGREE = ("torch", "av", "onnxruntime", "opencv-python", "numpy")


@dataclass(frozen=True)
class NodeReport:
    """What one node found."""

    findings: list[Finding]
    facts: dict[str, str] = field(default_factory=dict)  # versions and hashes, to be compared


def cluster_findings(
    config: RunConfig, inputs: Sequence[str], output: str | None, address: str
) -> Iterator[Finding]:
    """Check all nodes of a cluster.

    Args:
        config: Settings of a run.
        inputs: Places that every node must read.
        output: The place that every node must write; None: none is tried.
        address: As in RAY_ADDRESS.

    Raises:
        UsageError: The cluster cannot be joined.
    """
    with _address(address), cluster(config.resources):
        nodes = [node for node in ray.nodes() if node["Alive"]]
        yield ok("cluster", f"{len(nodes)} nodes")
        check = ray.remote(num_cpus=0, max_retries=0)(check_node)
        calls = {}
        for node in nodes:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = str(node["NodeManagerAddress"])
            if name in calls:  # several nodes of one machine
                name = f"{name} {node['NodeID'][:6]}"
            call = check.options(scheduling_strategy=here)
            calls[name] = call.remote(config, list(inputs), output)
        ray.wait(list(calls.values()), num_returns=len(calls), timeout=NODE_SECONDS)
        facts = {}
        for name, call in calls.items():
            report = _result(call)
            facts[name] = report.facts
            yield from (replace(finding, node=name) for finding in report.findings)
        yield from compare(facts)


@contextmanager
def _address(address: str) -> Iterator[None]:
    """Name the cluster to join for a while."""
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[ADDRESS]
        else:
            os.environ[ADDRESS] = before


def check_node(config: RunConfig, inputs: list[str], output: str | None) -> NodeReport:
    """Check the machine that this runs on."""
    findings = list(machine_findings(config, in_cluster=True))
    for place in inputs:
        findings += input_findings(place, config.s3)
    if output is not None:
        findings += output_findings(output, config.s3)
    return NodeReport(findings, node_facts(config))


def node_facts(config: RunConfig) -> dict[str, str]:
    """What should be equal on all nodes."""
    facts = {"Python": platform.python_version()}
    for name in (*MUST_AGREE, *SHOULD_AGREE):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    try:
        pack = find_pack(config)
    except PackError:  # a finding says so already
        return facts
    return facts | {"detector": pack.detector_hash, "encoder": pack.encoder_hash}


def compare(facts: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """Compare the nodes.

    Args:
        facts: Of each node, by its name; a node that did not answer has none.
    """
    answered = {name: known for name, known in facts.items() if known}
    differing = []
    for what in (*MUST_AGREE, *SHOULD_AGREE):
        values = {name: known.get(what, "none") for name, known in answered.items()}
        if len(set(values.values())) < 2:
            continue
        differing.append(what)
        text = f"{what} differs: " + ", ".join(f"{n} {v[:20]}" for n, v in values.items())
        if what in MUST_AGREE:
            yield fault("cluster", text, "install the same on all nodes, such as one image")
        else:
            yield warning("cluster", text, "results may differ a little: install the same")
    if not differing and answered:
        yield ok("cluster", "all nodes have the same versions and the same pack")


def _result(call: ray.ObjectRef) -> NodeReport:
    try:
        report: NodeReport = ray.get(call, timeout=0)
        return report
    except Exception as error:  # Ray's and the task's errors share no base class
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        text = f"it does not answer within {NODE_SECONDS:.0f} s or cannot run the checks ({reason})"
        advice = "check that vcn-ray is installed there, and the node's logs"
        return NodeReport([fault("node", text, advice)])
