from __future__ import annotations

from pathlib import Path

import pytest

from vcn_ray.config import RunConfig, dump_config, load_config, select, with_pack
from vcn_ray.errors import ConfigError


def test_toml_goes_round(tmp_path: Path) -> None:
    config = load_config(None, {"decode.analysis_fps": "4", "seed": "7", "pack": "/some/pack"})
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert (config.decode.analysis_fps, config.seed, config.pack) == (4.0, 7, "/some/pack")


def test_overrides_come_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("seed = 3\n[decode]\nanalysis_fps = 2.0\n")
    config = load_config(path, {"seed": "4"})
    assert (config.seed, config.decode.analysis_fps) == (4, 2.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"decode.analysis_fsp": "4"},
            r"unknown setting 'decode.analysis_fsp', did you mean 'anal",
        ),
        ({"decod.analysis_fps": "4"}, "unknown setting 'decod', did you mean 'decode'"),
        ({"decode.analysis_fps": "often"}, "decode.analysis_fps: .*number"),
        ({"decode.analysis_fps": "-1"}, "analysis_fps must be over 0"),
        ({"decode": "4"}, "'decode' is a section"),
        ({"resources.adapt_workers": "0"}, "adapt_workers must be over 0"),
    ],
)
def test_wrong_settings_are_told_in_one_line(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, overrides)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)
    path.write_text("seed = = 3")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)


def test_select_gives_plain_data() -> None:
    chosen = select(RunConfig(seed=5), ("seed", "decode"))
    assert chosen["seed"] == 5
    assert chosen["decode"]["segment_seconds"] > 0
    assert with_pack(RunConfig(), "x").pack == "x"
