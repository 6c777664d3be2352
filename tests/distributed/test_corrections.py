"""A run on Ray writes the tables after corrections, as one without does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.films import QUICK, Ran, vcn

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


def test_corrections_outlive_a_run_on_ray(film: Path, yunet_pack: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def index(*more: str) -> Ran:
        ran = vcn("index", film, "--output", output, "--pack", yunet_pack, *QUICK, *more)
        assert ran.code == 0, ran.err
        return ran

    index("--local")
    assert vcn("edits", "name", output, "p001", "Ann", "--who", "me").code == 0
    (title,) = index("--set", "seed=1").record["titles"]
    assert (title["corrections"], title["misfits"], title["reused"]) == (1, 0, False)
    assert len(list(output.glob("titles/*/reviewed-*/manifest.json"))) == 1
