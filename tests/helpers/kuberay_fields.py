"""The fields that our Kubernetes files may have: a compact list, for the CRD is 1.4 MB.

From the API references of KubeRay 1.5 (`ray.io/v1`: RayJob, RayCluster) and Kubernetes (core `v1`),
no more of each than these files could want. A field that is not here is refused as unknown, as a
strict API server would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TEXT, NUMBER, TRUTH = str, int, bool


class MapOf:
    """Keys of the user's, all values of one kind."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


STRINGS = MapOf(TEXT)
METADATA = {"name": TEXT, "namespace": TEXT, "labels": STRINGS, "annotations": STRINGS}
RESOURCES = {"requests": STRINGS, "limits": STRINGS}
SECURITY = {
    "allowPrivilegeEscalation": TRUTH,
    "capabilities": {"drop": [TEXT], "add": [TEXT]},
    "privileged": TRUTH,
    "readOnlyRootFilesystem": TRUTH,
    "runAsNonRoot": TRUTH,
    "runAsUser": NUMBER,
    "runAsGroup": NUMBER,
    "seccompProfile": {"type": TEXT},
}
POD_SECURITY = {
    "runAsNonRoot": TRUTH,
    "runAsUser": NUMBER,
    "runAsGroup": NUMBER,
    "fsGroup": NUMBER,
    "seccompProfile": {"type": TEXT},
}
ENV = {
    "name": TEXT,
    "value": TEXT,
    "valueFrom": {"secretKeyRef": {"name": TEXT, "key": TEXT}},
}
MOUNT = {"name": TEXT, "mountPath": TEXT, "readOnly": TRUTH}
CONTAINER = {
    "name": TEXT,
    "image": TEXT,
    "imagePullPolicy": TEXT,
    "command": [TEXT],
    "args": [TEXT],
    "env": [ENV],
    "resources": RESOURCES,
    "securityContext": SECURITY,
    "volumeMounts": [MOUNT],
}
VOLUME = {
    "name": TEXT,
    "emptyDir": {"medium": TEXT, "sizeLimit": TEXT},
    "secret": {"secretName": TEXT},
    "configMap": {"name": TEXT},
}
TOLERATION = {"key": TEXT, "operator": TEXT, "value": TEXT, "effect": TEXT}
POD = {
    "serviceAccountName": TEXT,
    "automountServiceAccountToken": TRUTH,
    "restartPolicy": TEXT,
    "securityContext": POD_SECURITY,
    "terminationGracePeriodSeconds": NUMBER,
    "nodeSelector": STRINGS,
    "tolerations": [TOLERATION],
    "priorityClassName": TEXT,
    "imagePullSecrets": [{"name": TEXT}],
    "containers": [CONTAINER],
    "initContainers": [CONTAINER],
    "volumes": [VOLUME],
}
TEMPLATE = {"metadata": METADATA, "spec": POD}
HEAD_GROUP = {
    "serviceType": TEXT,
    "enableIngress": TRUTH,
    "rayStartParams": STRINGS,
    "template": TEMPLATE,
}
WORKER_GROUP = {
    "groupName": TEXT,
    "replicas": NUMBER,
    "minReplicas": NUMBER,
    "maxReplicas": NUMBER,
    "numOfHosts": NUMBER,
    "idleTimeoutSeconds": NUMBER,
    "suspend": TRUTH,
    "rayStartParams": STRINGS,
    "template": TEMPLATE,
}
RAY_CLUSTER_SPEC = {
    "rayVersion": TEXT,
    "suspend": TRUTH,
    "enableInTreeAutoscaling": TRUTH,
    "authOptions": {"mode": TEXT},
    "autoscalerOptions": {
        "version": TEXT,
        "idleTimeoutSeconds": NUMBER,
        "upscalingMode": TEXT,
        "image": TEXT,
        "imagePullPolicy": TEXT,
        "securityContext": SECURITY,
        "resources": RESOURCES,
        "env": [ENV],
        "volumeMounts": [MOUNT],
    },
    "headGroupSpec": HEAD_GROUP,
    "workerGroupSpecs": [WORKER_GROUP],
}
RAY_JOB_SPEC = {
    "entrypoint": TEXT,
    "runtimeEnvYAML": TEXT,
    "jobId": TEXT,
    "metadata": STRINGS,
    "submissionMode": TEXT,
    "backoffLimit": NUMBER,
    "submitterConfig": {"backoffLimit": NUMBER},
    "submitterPodTemplate": TEMPLATE,
    "activeDeadlineSeconds": NUMBER,
    "shutdownAfterJobFinishes": TRUTH,
    "ttlSecondsAfterFinished": NUMBER,
    "suspend": TRUTH,
    "clusterSelector": STRINGS,
    "rayClusterSpec": RAY_CLUSTER_SPEC,
}
KINDS: dict[tuple[str, str], dict[str, Any]] = {
    ("ray.io/v1", "RayCluster"): {"metadata": METADATA, "spec": RAY_CLUSTER_SPEC},
    ("ray.io/v1", "RayJob"): {"metadata": METADATA, "spec": RAY_JOB_SPEC},
    ("v1", "ServiceAccount"): {"metadata": METADATA},
}


def faults_of(document: dict[str, Any]) -> list[str]:
    """What is wrong with a Kubernetes object: unknown fields, and values of another kind."""
    content = dict(document)
    kind = (content.pop("apiVersion", ""), content.pop("kind", ""))
    if kind not in KINDS:
        return [f"unknown kind {kind}"]
    return list(_faults(content, KINDS[kind], kind[1]))


def _faults(value: Any, allowed: Any, where: str) -> Iterator[str]:
    if isinstance(allowed, MapOf):
        fits: type = dict
        parts = [(f"{where}.{k}", v, allowed.kind) for k, v in _items(value)]
    elif isinstance(allowed, dict):
        fits = dict
        parts = [(f"{where}.{k}", v, allowed[k]) for k, v in _items(value) if k in allowed]
        yield from (f"{where}.{k}: unknown" for k, _ in _items(value) if k not in allowed)
    elif isinstance(allowed, list):
        fits = list
        items = value if isinstance(value, list) else []
        parts = [(f"{where}[{i}]", item, allowed[0]) for i, item in enumerate(items)]
    else:
        fits, parts = allowed, []
    if type(value) is not fits:  # in Kubernetes true is no number
        yield f"{where}: wanted {fits.__name__}, got {value!r}"
    for place, item, kind in parts:
        yield from _faults(item, kind, place)


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
