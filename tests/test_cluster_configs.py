"""The files of cluster_configs: valid for Ray and KubeRay, consistent with this project, safe."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.kuberay_fields import faults_of
from vcn_ray.cli.main import build_parser
from vcn_ray.config import ResourceConfig, load_config

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "cluster_configs"
JOB_CONFIGS = PROJECT / "jobs" / "configs"
IN_IMAGE = "/opt/vcn-ray/"
POLICIES = ["iam-policy-head.json", "iam-policy-worker.json"]
KUBERAY = ["kuberay-raycluster.yaml", "kuberay-rayjob.yaml", "kuberay-accounts.yaml"]
TOLD = pytest.mark.filterwarnings("ignore")  # imports of Ray's own warn


def filled(name: str) -> str:
    """A file with the example values put in, by the command that README names."""
    script = FOLDER / "values.sed"
    words = ["sed", "-f", str(script), str(FOLDER / name)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(filled(name)))


@pytest.fixture
def aws() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(filled("aws.yaml"))
    return content


def ray_schema() -> dict[str, Any]:
    import ray.autoscaler

    schema = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    content: dict[str, Any] = json.loads(schema.read_text(encoding="utf-8"))
    return content


# --- AWS -----------------------------------------------------------------------------------------


@TOLD
def test_aws_is_what_ray_takes(aws: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    jsonschema.validate(aws, ray_schema())
    prepared = prepare_config(copy.deepcopy(aws))
    validate_config(prepared)
    assert prepared["head_setup_commands"] == aws["setup_commands"]
    assert prepared["worker_setup_commands"][:-1] == aws["setup_commands"]


@TOLD
@pytest.mark.parametrize(
    ("where", "typo"),
    [
        ((), "idle_timeout_minuts"),
        (("available_node_types", "gpu_spot"), "max_worker"),
        (("auth",), "ssh_usr"),
    ],
)
def test_a_typo_in_aws_is_refused(aws: dict[str, Any], where: tuple[str, ...], typo: str) -> None:
    inside = aws
    for name in where:
        inside = inside[name]
    inside[typo] = 1
    with pytest.raises(jsonschema.ValidationError, match=typo):
        jsonschema.validate(aws, ray_schema())


def test_the_head_of_aws_takes_no_work(aws: dict[str, Any]) -> None:
    head = aws["available_node_types"][aws["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in aws["head_start_ray_commands"][-1]


def test_nothing_of_aws_is_public(aws: dict[str, Any]) -> None:
    start = aws["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert aws["provider"]["use_internal_ips"] is True
    assert "security_group" not in aws["provider"]
    for name, node in aws["available_node_types"].items():
        config = node["node_config"]
        assert config["SecurityGroupIds"], name  # else Ray opens port 22 to everybody
        assert config["MetadataOptions"]["HttpTokens"] == "required", name
        assert "NetworkInterfaces" not in config, name
        assert "IamInstanceProfile" in config, name  # else Ray makes one with full access
        assert all(d["Ebs"]["Encrypted"] for d in config["BlockDeviceMappings"]), name


def test_every_ray_of_aws_asks_for_the_token(aws: dict[str, Any]) -> None:
    commands = aws["head_start_ray_commands"] + aws["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token " in command for command in commands)
    assert aws["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_every_command_of_aws_is_bash(aws: dict[str, Any]) -> None:
    kinds = ("initialization", "setup", "worker_setup", "head_start_ray", "worker_start_ray")
    commands = [command for kind in kinds for command in aws[f"{kind}_commands"]]
    assert len(commands) > 8
    for command in commands:
        told = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False)
        assert told.returncode == 0, (command, told.stderr)


def test_only_workers_of_aws_are_spot_and_may_be_lost(aws: dict[str, Any]) -> None:
    spot = {
        name
        for name, node in aws["available_node_types"].items()
        if "InstanceMarketOptions" in node["node_config"]
    }
    assert spot == {"gpu_spot", "cpu_spot"}
    assert (
        aws["available_node_types"]["gpu_spot"]["resources"]
        == (
            aws["available_node_types"]["gpu_on_demand"][
                "resources"
            ]  # else priority decides nothing
        )
    )


# What README says of spot, asked of the scheduler of the installed Ray.


@TOLD
def test_which_nodes_ray_starts_for_our_workers(aws: dict[str, Any]) -> None:
    gpu, cpu = (workers(load_config(JOB_CONFIGS / f"{n}.toml").resources) for n in ("gpu", "cpu"))
    assert launched(aws, gpu[:1]) == {"gpu_spot": 1}
    assert launched(aws, gpu) == {"gpu_spot": 6, "gpu_on_demand": 2}
    assert launched(aws, gpu[:24]) == {"gpu_spot": 6}
    assert set(launched(aws, cpu)) == {"cpu_spot"}
    assert launched(aws, gpu[:1], {"gpu_spot": 0.0}) == {"gpu_on_demand": 1}


@TOLD
def test_a_refused_spot_request_does_not_bring_on_demand_but_a_lost_start_does() -> None:
    from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
        CloudResourceMonitor,
    )
    from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

    said = {}
    for status in ("ALLOCATION_FAILED", "ALLOCATION_TIMEOUT"):
        monitor = CloudResourceMonitor()
        code = getattr(Instance, status)
        monitor.notify([InstanceUpdateEvent(instance_type="gpu_spot", new_instance_status=code)])
        said[status] = monitor.get_recoverable_resource_availabilities()
    assert said == {"ALLOCATION_FAILED": {}, "ALLOCATION_TIMEOUT": {"gpu_spot": 0.0}}


def workers(resources: ResourceConfig) -> list[dict[str, float]]:
    """What a run with these settings asks of the cluster at most, trainers first."""
    adapt = {"CPU": resources.adapt_cpus, "GPU": resources.adapt_gpus}
    segment = {"CPU": resources.detect_cpus, "GPU": resources.detect_gpus}
    asked = [adapt] * resources.adapt_workers + [segment] * resources.detect_workers_max
    return [{unit: number for unit, number in each.items() if number} for each in asked]


def launched(
    config: dict[str, Any], bundles: list[dict[str, float]], available: Any = None
) -> dict[str, int]:
    """Nodes that Ray's autoscaler would start in an empty cluster; all bundles must fit."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    class Quiet:
        def log_cluster_scheduling_update(self, *words: Any, **more: Any) -> None:
            pass

    settings = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True)
    asked = [ResourceRequestUtil.make(bundle) for bundle in bundles]
    reply = ResourceDemandScheduler(Quiet()).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=settings.get_node_type_configs(),
            max_num_nodes=settings.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(asked),
            recoverable_resource_availabilities=available or {},
        )
    )
    assert not reply.infeasible_resource_requests
    return dict(Counter({node.instance_type: node.count for node in reply.to_launch}))


# --- IAM -----------------------------------------------------------------------------------------


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads(filled(name))
    assert policy["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", POLICIES)
def test_policies_allow_named_actions_on_named_things(name: str) -> None:
    keys = {"Sid", "Effect", "Action", "Resource", "Condition"}
    for statement in statements(name):
        assert set(statement) <= keys
        assert statement["Effect"] == "Allow"
        actions, things = as_list(statement["Action"]), as_list(statement["Resource"])
        assert not [a for a in actions if "*" in a]
        if "*" in things:  # describing is the one thing that cannot be limited
            assert all(a.startswith("ec2:Describe") for a in actions), statement["Sid"]
        assert all(thing == "*" or thing.startswith("arn:aws:") for thing in things)


def test_the_head_may_start_and_end_nodes_of_this_cluster_alone(aws: dict[str, Any]) -> None:
    by_name = {s["Sid"]: s for s in statements("iam-policy-head.json")}
    cluster = aws["cluster_name"]
    start = by_name["StartNodesOfThisCluster"]["Condition"]["StringEquals"]
    assert start["aws:RequestTag/ray-cluster-name"] == cluster
    types = aws["available_node_types"].items()
    wanted = {n["node_config"]["InstanceType"] for t, n in types if t != aws["head_node_type"]}
    assert set(start["ec2:InstanceType"]) == wanted
    run = by_name["RunNodesOfThisCluster"]
    assert "ec2:TerminateInstances" in run["Action"]
    assert run["Condition"]["StringEquals"] == {"aws:ResourceTag/ray-cluster-name": cluster}
    role = by_name["GiveWorkersTheirRole"]["Resource"]
    profiles = {n["node_config"]["IamInstanceProfile"]["Arn"] for t, n in types if t != "head"}
    assert {p.rsplit("/", 1)[-1] for p in profiles} == {role.rsplit("/", 1)[-1]}


def test_workers_may_read_inputs_and_write_outputs_and_no_more() -> None:
    written = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
    for statement in statements("iam-policy-worker.json"):
        things = as_list(statement["Resource"])
        if written & set(as_list(statement["Action"])):
            assert things == ["arn:aws:s3:::example-results/vcn/*"]
        if statement["Action"] == "s3:ListBucket":
            # Without IfExists S3 calls what is missing forbidden: a look at a key has no prefix.
            assert statement["Condition"]["StringLikeIfExists"]["s3:prefix"]
        assert all(a.split(":")[0] in ("s3", "kms") for a in as_list(statement["Action"]))


# --- KubeRay -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KUBERAY)
def test_kubernetes_knows_every_field(name: str) -> None:
    assert [fault for document in documents(name) for fault in faults_of(document)] == []


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("workerGroupSpecs", 0, "minReplica"), 1, "minReplica: unknown"),
        (("workerGroupSpecs", 0, "maxReplicas"), "8", "maxReplicas: wanted int"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0, "num-cpus: wanted str"),
        (("autoscalerOptions", "idleTimeout"), 60, "idleTimeout: unknown"),
    ],
)
def test_a_typo_in_a_kuberay_file_is_caught(place: tuple[Any, ...], value: Any, fault: str) -> None:
    document = copy.deepcopy(documents("kuberay-raycluster.yaml")[0])
    inside = document["spec"]
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    found = faults_of(document)
    assert len(found) == 1
    assert fault in found[0]


def cluster_specs() -> list[dict[str, Any]]:
    cluster = documents("kuberay-raycluster.yaml")[0]["spec"]
    job = documents("kuberay-rayjob.yaml")[0]["spec"]
    return [cluster, job["rayClusterSpec"]]


def test_both_kuberay_files_make_the_same_cluster() -> None:
    cluster, job = cluster_specs()
    assert cluster == job


def test_kuberay_is_locked() -> None:
    spec = cluster_specs()[0]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["enableIngress"] is False
    for pod in pods(spec):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_kuberay_pods_have_what_they_need() -> None:
    spec = cluster_specs()[0]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert int(group["rayStartParams"]["object-store-memory"]) < 4 << 30  # of /dev/shm
    accounts = {d["metadata"]["name"] for d in documents("kuberay-accounts.yaml")}
    for pod in pods(spec):
        assert pod["serviceAccountName"] in accounts
        assert pod["restartPolicy"] == "Never"
        volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
        assert volumes["shared-memory"] == {"medium": "Memory", "sizeLimit": "4Gi"}
        for container in pod["containers"]:
            limits, requests = (container["resources"][k] for k in ("limits", "requests"))
            assert limits["memory"] == requests["memory"]
            mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
            assert set(mounts) == set(volumes)
            assert mounts["shared-memory"] == "/dev/shm"


@TOLD
def test_kuberay_groups_fit_our_workers() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    spec = cluster_specs()[0]
    config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"namespace": "default", "name": "vcn-ray"}, "spec": spec}
    )
    gpu, cpu = (workers(load_config(JOB_CONFIGS / f"{n}.toml").resources) for n in ("gpu", "cpu"))
    assert launched(config, gpu) == {"gpu": 8}
    assert set(launched(config, cpu)) == {"cpu"}


def test_the_ray_job_runs_what_the_image_holds() -> None:
    spec = documents("kuberay-rayjob.yaml")[0]["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[0] == "python"
    inside = [word for word in words if word.startswith(IN_IMAGE)]
    assert len(inside) == 2
    for word in inside:
        path = word.removeprefix(IN_IMAGE)
        assert (PROJECT / path).is_file()
        assert f"COPY {path.split('/')[0]} " in dockerfile()
    options = build_parser().parse_args(["index", *words[2:]])
    assert options.output == "s3://example-results/vcn"
    assert load_config(PROJECT / options.config.relative_to(IN_IMAGE)).resources.detect_gpus > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0


# --- what all share ------------------------------------------------------------------------------


def dockerfile() -> str:
    return (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_copies_files_that_there_are() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", dockerfile(), flags=re.M)
    names = [name for line in copied for name in line.split()]
    assert {"vcn_ray", "jobs", "pyproject.toml"} <= set(names)
    assert [name for name in names if not (PROJECT / name).exists()] == []
    assert re.search(r"^WORKDIR /opt/vcn-ray$", dockerfile(), flags=re.M)
    assert re.search(r"^USER 1000$", dockerfile(), flags=re.M)


def test_every_dependency_is_pinned_once_for_all_nodes() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    lines = (FOLDER / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    for each in wanted:
        assert pinned[canonicalize_name(each.name)] in each.specifier, each
    assert {spec["rayVersion"] for spec in cluster_specs()} == {pinned["ray"]}


@pytest.mark.parametrize("path", sorted(JOB_CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_settings_of_clusters_load(path: Path) -> None:
    resources = load_config(path).resources
    # An empty cluster has no room yet, and only what is asked for makes it grow.
    assert resources.detect_workers_min == resources.detect_workers_max > 1


def test_every_placeholder_has_a_value_and_is_told() -> None:
    values = (FOLDER / "values.sed").read_text(encoding="utf-8")
    known = set(re.findall(r"^s\|(REPLACE_\w+)\|", values, flags=re.M))
    files = [p for p in FOLDER.iterdir() if p.suffix in (".yaml", ".json")]
    used = {w for p in files for w in re.findall(r"REPLACE_[A-Z_]+[A-Z]", p.read_text("utf-8"))}
    assert used == known
    assert all("REPLACE_" not in re.sub(r"#.*", "", filled(p.name)) for p in files)


FOREIGN = re.compile(
    r"AKIA[0-9A-Z]{16}|aws_secret|BEGIN [A-Z ]*PRIVATE KEY|\bpassword\b"  # secrets
    r"|\b\d{12}\.dkr\.|\b(docker|ghcr|quay|gcr|public\.ecr)\.(io|aws)\b"  # registries
    r"|/home/(?!ray\b)\w+|/Users/|0\.0\.0\.0",  # people's folders, the whole world
    flags=re.I,
)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_secret_no_registry_and_nothing_of_one_person(path: Path) -> None:
    assert FOREIGN.findall(path.read_text(encoding="utf-8")) == []


def test_commands_of_the_readmes_are_ours() -> None:
    text = "\n".join(p.read_text("utf-8") for p in (FOLDER / "README.md", PROJECT / "README.md"))
    for name, value in re.findall(r"--set ([\w.]+)=(\S+?)[`\s:;,]", text):
        if value != "...":
            load_config(None, {name: value})
    for path in re.findall(r"(?<![\w/])((?:jobs|cluster_configs)/[\w./-]+\.\w+)", text):
        assert (PROJECT / path).is_file(), path
