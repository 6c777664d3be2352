"""The configuration of the autoscaler."""

from __future__ import annotations


def test_the_installed_autoscaler_accepts_the_configuration():
    # Ray takes seconds to import
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    from benchmarks.system.autoscale import Machines

    config = Machines(max_nodes=3, cpus=2, idle_seconds=15).config("192.0.2.1:7")
    taken = AutoscalingConfig(config, skip_content_hash=True)
    worker = taken.get_node_type_configs()["worker"]
    assert (worker.min_worker_nodes, worker.max_worker_nodes) == (0, 3)
    assert worker.resources["CPU"] == 2
    assert taken.get_idle_timeout_s() == 15
    assert taken.get_provider_config()["gcs_address"] == "192.0.2.1:7"
