"""All settings of a run in one record, in and out of TOML; each part is defined beside its code.

This module only composes: it checks names and types, and says which settings a stage depends on.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pydantic
import tomli_w

from vcn_ray.core.cluster import ClusterConfig
from vcn_ray.core.filter import FilterConfig
from vcn_ray.core.quality import QualityConfig
from vcn_ray.core.shots import ShotConfig
from vcn_ray.core.track import TrackerConfig
from vcn_ray.errors import ConfigError
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.video import DecodeConfig
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.packs.download import DownloadConfig
from vcn_ray.redact import redact


@dataclass(frozen=True, kw_only=True)
class ResourceConfig:
    """What of the machine or cluster is used; results do not depend on it."""

    segment_workers_min: int = 1  # actors that decode and detect, at least
    segment_workers_max: int = 0  # and at most; 0: as many as the cluster has room for
    segment_cpus: float = 1.0  # CPUs set aside for each
    segment_gpus: float = 0.0  # share of a GPU of each
    adapt_workers: int = 1  # actors that fine-tune, one title each at a time
    adapt_cpus: float = 1.0
    adapt_gpus: float = 0.0
    trainer_crops: int = 20_000  # titles with more crops get a Ray Train job of their own
    train_workers: int = 1  # processes of such a job, of adapt_cpus and adapt_gpus each
    checkpoint_seconds: float = 20.0  # of fine-tuning, at least, from one checkpoint to the next


@dataclass(frozen=True, kw_only=True)
class PriceConfig:
    """What machines cost, in any currency, for the estimate of `vcn plan`; nothing else uses it."""

    cpu_hour: float = 0.0
    gpu_hour: float = 0.0  # beside the CPUs set aside with it


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Every setting of a run; the defaults are meant for every video."""

    profile: Literal["default", "paper"] = "default"  # which of PROFILES the others start from
    pack: str = "dlib"  # a name, a folder or an S3 prefix
    seed: int = 0
    threads: int = 1  # of each worker's networks; sums in another order round differently
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    shots: ShotConfig = field(default_factory=ShotConfig)
    tracks: TrackerConfig = field(default_factory=TrackerConfig)
    finetune: AdaptConfig = field(default_factory=AdaptConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)
    prices: PriceConfig = field(default_factory=PriceConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)
    s3: S3Config = field(default_factory=S3Config)
    download: DownloadConfig = field(default_factory=DownloadConfig)


PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {  # every rule as published; docs/method.md says what the paper leaves open
        "finetune": {"encoder": "all", "matcher": "gaussian"},  # METHOD 2.4, 2.5
        "quality": {"min_score": -3.5, "max_unknown_fraction": 1.0},  # METHOD 3.2, textbook's limit
        "cluster": {"rule": "paper"},  # METHOD 4
    },
}
"""Settings that differ from the defaults, by profile; a file or an override goes before them."""

SIGNED = frozenset(["quality.min_score"])
AT_LEAST_ONE = frozenset(
    [
        "threads",
        "decode.threads",
        "filter.max_faces",
        "tracks.min_faces",
        "tracks.max_crops",
        "finetune.outputs",
        "finetune.batch_pairs",
        "finetune.encoder_batch_pairs",
        "finetune.encoder_crops",
        "finetune.quality_passes",
        "finetune.match.dimensions",
        "resources.segment_workers_min",
        "resources.adapt_workers",
        "resources.train_workers",
    ]
)
ABOVE_ZERO = frozenset(
    [
        "tracks.sample_seconds",
        "finetune.learning_rate",
        "finetune.encoder_learning_rate",
        "finetune.encoder_head_learning_rate",
        "resources.segment_cpus",
        "resources.adapt_cpus",
    ]
)
SHARES = ("_share", "_chance", "_momentum", "_overlap", "_dropout")
"""Endings of settings that are parts of one."""

FACES_SECTIONS = ("threads", "decode", "filter")
TRACKS_SECTIONS = ("shots", "tracks")
ADAPT_SECTIONS = ("seed", "threads", "finetune", "cluster.cut")
RESULT_SECTIONS = ("quality", "cluster")


def load_config(path: Path | None = None, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Settings of a TOML file, then of `section.key` overrides, over those of a profile.

    Args:
        path: TOML with the sections of RunConfig, or None.
        overrides: `section.key` (or `pack`, `seed`, `profile`) to a value as in TOML; bare words
            are text.

    Raises:
        ConfigError: A file, section, key or value is wrong; the message says which and what fits.
    """
    given = {} if path is None else _read_toml(path)
    asked = _parse_value((overrides or {}).get("profile", "''"))
    profile = str(given.get("profile", asked or "default"))
    if asked not in ("", profile):
        # its values would go before those of the profile asked for
        raise ConfigError(f"{path} is of profile {profile!r}, got {asked!r}: ask for that, or none")
    config: RunConfig = _update(profile_config(profile), given, where=str(path))
    for name, text in (overrides or {}).items():
        config = _update(
            config, _nest(name, _parse_value(text)), where=redact(f"--set {name}={text}")
        )
    return config


def profile_config(name: str) -> RunConfig:
    """The settings of a profile.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PROFILES:
        raise ConfigError(f"profile must be one of {', '.join(PROFILES)}, got {name!r}")
    config: RunConfig = _update(
        RunConfig(), PROFILES[name] | {"profile": name}, where=f"profile {name}"
    )
    return config


def dump_config(config: RunConfig) -> str:
    """The settings as TOML that `load_config` reads back to an equal record."""
    return tomli_w.dumps(_without_none(asdict(config)))


def select(config: RunConfig, sections: tuple[str, ...]) -> dict[str, Any]:
    """Return some sections, such as "cluster" or "cluster.cut", as plain data, for keys."""

    def at(values: Any, path: list[str]) -> Any:
        return at(values[path[0]], path[1:]) if path else values

    everything = asdict(config)
    return {name: at(everything, name.split(".")) for name in sections}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nest(name: str, value: Any) -> dict[str, Any]:
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    return dict(nested)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    # TOML has no null: an absent key means the default, which is None wherever None is allowed.
    kept = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in kept.items() if v is not None}


def _update(record: Any, values: Mapping[str, Any], where: str, inside: str = "") -> Any:
    known = {f.name: getattr(record, f.name) for f in fields(record)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        full = f"{inside}{name}"
        if name not in known:
            raise ConfigError(f"{where}: unknown setting {full!r}{_hint(name, list(known))}")
        if is_dataclass(known[name]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {full!r} is a section, got {value!r}")
            changes[name] = _update(known[name], value, where, f"{full}.")
        else:
            changes[name] = value
            _check_range(full, value, where)
    return _checked(record, changes, where, inside)


def _check_range(name: str, value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {name} must be finite")
    if value < 0 and name not in SIGNED:
        raise ConfigError(f"{where}: {name} must not be under 0")
    if name in AT_LEAST_ONE and value < 1:
        raise ConfigError(f"{where}: {name} must be at least 1")
    if name in ABOVE_ZERO and value == 0:
        raise ConfigError(f"{where}: {name} must be over 0")
    if name.endswith(SHARES) and value > 1:
        raise ConfigError(f"{where}: {name} is a part of one: it must be from 0 to 1")


def _checked(record: Any, changes: dict[str, Any], where: str, inside: str) -> Any:
    merged = {f.name: getattr(record, f.name) for f in fields(record)} | changes
    try:
        return pydantic.TypeAdapter(type(record)).validate_python(merged)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = (inside + ".".join(str(part) for part in first["loc"])).rstrip(".")
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {name + ': ' if name else ''}{reason}") from error


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"


def with_pack(config: RunConfig, pack: str) -> RunConfig:
    """The same settings with another pack."""
    return replace(config, pack=pack)
