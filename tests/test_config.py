from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from vcn_ray.config import (
    ABOVE_ZERO,
    AT_LEAST_ONE,
    SIGNED,
    RunConfig,
    dump_config,
    load_config,
    profile_config,
    select,
    with_pack,
)
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


def test_the_paper_profile_is_the_letter_of_every_rule() -> None:
    config = load_config(None, {"profile": "paper"})
    assert config == profile_config("paper")
    assert (config.finetune.encoder, config.finetune.matcher) == ("all", "gaussian")
    assert config.cluster.rule == "paper"
    assert profile_config("default") == RunConfig()
    changed = load_config(None, {"profile": "paper", "finetune.encoder": "tail"})
    assert (changed.finetune.encoder, changed.finetune.matcher) == ("tail", "gaussian")


def test_a_file_keeps_its_profile(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(dump_config(profile_config("paper")))
    assert load_config(path) == load_config(path, {"profile": "paper"}) == profile_config("paper")
    with pytest.raises(ConfigError, match="is of profile 'paper', got 'default'"):
        load_config(path, {"profile": "default"})
    path.write_text('profile = "best"\n')
    with pytest.raises(ConfigError, match="profile must be one of default, paper, got 'best'"):
        load_config(path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"decode.analysis_fsp": "4"},
            r"unknown setting 'decode.analysis_fsp', did you mean 'anal",
        ),
        ({"decod.analysis_fps": "4"}, "unknown setting 'decod', did you mean 'decode'"),
        ({"decode.analysis_fps": "often"}, "decode.analysis_fps: .*number"),
        ({"decode.analysis_fps": "-1"}, "analysis_fps must not be under 0"),
        ({"decode.analysis_fps": "0"}, "decode: analysis_fps must be over 0"),
        ({"decode": "4"}, "'decode' is a section"),
        ({"resources.adapt_workers": "0"}, "adapt_workers must be at least 1"),
        ({"decode.analysis_fps": "inf"}, "analysis_fps must be finite"),
        ({"quality.min_score": "nan"}, "min_score must be finite"),
        ({"tracks.max_crops": "0"}, "max_crops must be at least 1"),
        ({"tracks.sample_seconds": "0"}, "sample_seconds must be over 0"),
        ({"tracks.min_overlap": "7"}, "min_overlap is a part of one"),
        ({"finetune.augment.mirror_chance": "4"}, "mirror_chance is a part of one"),
        ({"seed": "-1"}, "seed must not be under 0"),
        ({"threads": "0"}, "^--set threads=0: threads must be at least 1$"),
        ({"finetune.rounds": "0"}, r"^--set finetune.rounds=0: finetune: fine-tuning needs"),
    ],
)
def test_wrong_settings_are_told_in_one_line(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, overrides)
    assert "\n" not in str(caught.value)


def test_every_range_names_a_setting() -> None:
    known = set()

    def walk(values: dict[str, object], inside: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{inside}{name}.")
            else:
                known.add(f"{inside}{name}")

    walk(asdict(RunConfig()), "")
    assert known >= AT_LEAST_ONE | ABOVE_ZERO | SIGNED
    assert load_config(None, {"quality.min_score": "-3.5"}).quality.min_score == -3.5


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
