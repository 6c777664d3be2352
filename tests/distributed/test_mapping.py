"""The registry on a real Ray cluster equals that of this process."""

from __future__ import annotations

from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.catalogs import build_local, registry_tables, write_catalog
from vcn_ray.config import ResourceConfig
from vcn_ray.distributed.mapping import map_on_ray
from vcn_ray.distributed.session import cluster
from vcn_ray.errors import StorageError
from vcn_ray.io.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


def product(factor: int, number: int) -> int:
    return factor * number


def refuse(shared: None, number: int) -> int:
    raise StorageError(f"no place for {number}")


def test_ray_gives_the_registry_of_this_process(tmp_path: Path) -> None:
    storages = [Storage.open(str(tmp_path / name)) for name in ("local", "ray")]
    for storage in storages:
        write_catalog(storage)
    build_local(storages[0])
    with cluster(ResourceConfig()):
        vcn_ray.build_registry(storages[1].uri)
        assert list(map_on_ray(product, 3, range(500))) == [3 * n for n in range(500)]
        assert list(map_on_ray(product, 3, [])) == []
        with pytest.raises(StorageError, match="no place for 7"):
            list(map_on_ray(refuse, None, [7]))
    for name, table in registry_tables(storages[0]).items():
        assert table.equals(registry_tables(storages[1])[name]), name
