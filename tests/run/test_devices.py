"""Where a detector runs that cannot use the GPU that was asked for."""

from __future__ import annotations

import onnxruntime
import pytest
import torch

from vcn_ray.config import load_config
from vcn_ray.errors import DeviceError, UsageError
from vcn_ray.packs.find import open_pack
from vcn_ray.run.devices import open_detecting_pack

ON_GPU = load_config(None, {"resources.detect_gpus": "0.5", "pack": "centerface-sface"})
NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


@pytest.mark.skipif(not NO_CUDA, reason="this onnxruntime was built for GPUs")
def test_a_detector_without_a_gpu_runs_on_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a machine whose torch has CUDA and whose onnxruntime has not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(DeviceError):
        open_pack(ON_GPU, "cuda")
    said: list[str] = []
    assert open_detecting_pack(ON_GPU, said.append).name == "centerface-sface"
    (line,) = said
    assert line.startswith("the detector runs on the CPU: ")
    assert "install onnxruntime-gpu" in line
    assert "\n" not in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_torch_does_not_see_is_an_error() -> None:
    with pytest.raises(UsageError, match="torch sees none here"):
        open_detecting_pack(ON_GPU, pytest.fail)


def test_without_a_reserved_gpu_nothing_is_said() -> None:
    config = load_config(None, {"pack": "centerface-sface"})
    assert open_detecting_pack(config, pytest.fail).name == "centerface-sface"
