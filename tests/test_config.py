from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from vcn_ray.config import (
    USER_SETTINGS,
    RunConfig,
    dump_config,
    load_config,
    profile_config,
    select,
    with_pack,
)
from vcn_ray.errors import ConfigError


def test_toml_goes_round(tmp_path: Path) -> None:
    config = load_config(None, {"detect.analysis_fps": "4", "seed": "7", "pack": "/some/pack"})
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert (config.detect.analysis_fps, config.seed, config.pack) == (4.0, 7, "/some/pack")


def test_overrides_come_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("seed = 3\n[detect]\nanalysis_fps = 2.0\n")
    config = load_config(path, {"seed": "4"})
    assert (config.seed, config.detect.analysis_fps) == (4, 2.0)


def test_the_paper_profile_is_the_letter_of_every_rule() -> None:
    config = load_config(None, {"profile": "paper"})
    assert config == profile_config("paper")
    assert (config.adapt.encoder, config.adapt.matcher) == ("all", "gaussian")
    assert config.cluster.rule == "paper"
    assert profile_config("default") == RunConfig()
    changed = load_config(None, {"profile": "paper", "adapt.encoder": "tail"})
    assert (changed.adapt.encoder, changed.adapt.matcher) == ("tail", "gaussian")


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
            {"detect.analysis_fsp": "4"},
            r"unknown setting 'detect.analysis_fsp', did you mean 'anal",
        ),
        ({"detec.analysis_fps": "4"}, "unknown setting 'detec', did you mean 'detect'"),
        ({"detect.analysis_fps": "often"}, "detect.analysis_fps: .*number"),
        ({"detect.analysis_fps": "-1"}, "detect.analysis_fps: .* greater than 0"),
        ({"detect.analysis_fps": "0"}, "detect.analysis_fps: .* greater than 0"),
        ({"detect": "4"}, "'detect' is a section"),
        ({"resources.adapt_workers": "0"}, "resources.adapt_workers: .* equal to 1"),
        ({"detect.analysis_fps": "inf"}, "detect.analysis_fps: .* finite"),
        ({"cluster.quality.min_score": "nan"}, "cluster.quality.min_score: .* finite"),
        ({"track.max_crops": "0"}, "track.max_crops: .* equal to 1"),
        ({"track.sample_seconds": "0"}, "track.sample_seconds: .* greater than 0"),
        ({"track.min_overlap": "7"}, "track.min_overlap: .* equal to 1"),
        ({"adapt.augment.mirror_chance": "4"}, "adapt.augment.mirror_chance: .* equal to 1"),
        ({"seed": "-1"}, "seed: .* equal to 0"),
        ({"threads": "0"}, "^--set threads=0: threads: input should be .* equal to 1$"),
        ({"threads": "4096"}, "threads: .* equal to 1024"),
        ({"detect.decoder_threads": "1000000000"}, "decoder_threads: .* equal to 1024"),
        ({"isolation.stall_seconds": "1e300"}, "stall_seconds: .* equal to 1000000"),
        ({"isolation.cpu_seconds": "1e-9"}, "cpu_seconds: .* equal to 0.01"),
        ({"isolation.memory_bytes": "9" * 30}, "memory_bytes: .* equal to "),
        ({"adapt.rounds": "9" * 4000}, "adapt.rounds: .* (equal to|integer)"),
        ({"seed": "9" * 6000}, "seed: .* integer"),
        ({"pack": "[" * 100_000, "detect": "[" * 100_000}, "'detect' is a section"),
        ({".".join("a" * 50_000): "1"}, "unknown setting 'a'"),
        ({"a" * 300_000: "1"}, "unknown setting 'a+'"),
        ({"adapt.rounds": "0"}, r"^--set adapt.rounds=0: adapt.rounds: .* equal to 1"),
    ],
)
def test_wrong_settings_are_told_in_one_line(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, overrides)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_users_settings_are_few_and_read_back(tmp_path: Path) -> None:
    shown = dump_config(RunConfig(), USER_SETTINGS)
    assert sum("=" in line for line in shown.splitlines()) <= 40
    path = tmp_path / "config.toml"
    path.write_text(shown)
    assert load_config(path) == RunConfig()
    assert len(dump_config(RunConfig())) > len(shown)


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)
    for text in ("seed = = 3", "seed = " + "[" * 100_000, "seed = " + "9" * 5_000):
        path.write_text(text)
        with pytest.raises(ConfigError, match="not TOML") as caught:
            load_config(path)
        assert len(str(caught.value)) < 500


def test_select_gives_plain_data() -> None:
    chosen = select(RunConfig(seed=5), ("seed", "detect", "cluster.cut"))
    assert chosen["seed"] == 5
    assert chosen["detect"]["segment_seconds"] > 0
    assert chosen["cluster.cut"]["fusion"]
    assert with_pack(RunConfig(), "x").pack == "x"


def test_errors_show_no_values() -> None:
    secret = "https://user:SECRET@host"
    with pytest.raises(ValidationError) as caught:
        RunConfig(s3={"endpoint": secret})  # type: ignore[arg-type]  # as a user may write it
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConfigError) as refused:
        load_config(None, {"download": secret})
    assert "SECRET" not in str(refused.value)
