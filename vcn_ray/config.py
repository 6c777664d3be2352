"""All settings of a run in one record, in and out of TOML; each part is defined beside its code.

This module only composes: one section for each step, and sections for machines, storage and packs.
Bounds stand beside the fields (see `bounds`), and `steps` says which settings a step depends on.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import asdict, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import pydantic
import tomli_w
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, Natural, NonNegative, Positive, Threads
from vcn_ray.core.cluster import ClusterConfig
from vcn_ray.core.filter import FilterConfig
from vcn_ray.core.grid import GridConfig
from vcn_ray.core.quality import QualityConfig
from vcn_ray.core.shots import ShotConfig
from vcn_ray.core.track import TrackerConfig
from vcn_ray.errors import ConfigError
from vcn_ray.io.hardware import DecodeDevice
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.video import DecodeConfig
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.fetch import DownloadConfig
from vcn_ray.redact import redact
from vcn_ray.toml import TomlError, parse_toml, read_toml

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DetectSettings(DecodeConfig, GridConfig, FilterConfig):
    """Step `detect`: how a video is decoded, where the detector runs, and which faces are kept."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrackSettings(ShotConfig, TrackerConfig):
    """Step `track`: shots, tracks and the crops sampled along them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClusterSettings(ClusterConfig):
    """Step `cluster`: which tracks are good enough, and which are one person."""

    quality: QualityConfig = field(default_factory=QualityConfig)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReviewConfig:
    """What corrections of people do to later runs."""

    teach: bool = True  # merges, moves and locks are constraints of fine-tuning and clustering


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ResourceConfig:
    """What of the machine or cluster is used; results do not depend on it."""

    detect_workers_min: Count = 1  # actors that decode and detect
    detect_workers_max: Natural = 0  # 0: as many as the cluster has room for
    detect_cpus: Positive = 1.0  # CPUs reserved for each
    detect_gpus: NonNegative = 0.0  # fraction of a GPU for each
    decode_device: DecodeDevice = "auto"  # auto: a GPU where one is reserved; cpu, cuda or cuda:N
    adapt_workers: Count = 1  # actors that fine-tune, one title each at a time
    adapt_cpus: Positive = 1.0
    adapt_gpus: NonNegative = 0.0
    adapt_job_crops: Natural = 8_000  # a title with more crops, as nearly every film, gets a Ray
    # Train job of its own: its start then takes less than a tenth of the fit on a core
    adapt_job_workers: Count = 1  # processes of such a job, each with adapt_cpus and adapt_gpus
    checkpoint_seconds: NonNegative = 20.0  # minimum time of fine-tuning between two checkpoints


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PriceConfig:
    """What machines cost, in any currency; only the estimate of `vcn plan` uses it."""

    cpu_hour: NonNegative = 0.0
    gpu_hour: NonNegative = 0.0  # without the CPUs reserved beside it


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RetentionConfig:
    """For how long pictures and embeddings are kept; keys of folders do not depend on it."""

    crops_days: NonNegative | None = (
        None  # of faces, after the result; 0: not kept once it is there
    )
    embeddings_days: NonNegative | None = None  # and the adapted model; unset: kept


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """Every setting of a run; the defaults are meant for every video."""

    profile: Literal["default", "paper"] = "default"  # the entry of PROFILES the others start from
    pack: str = DEFAULT_PACK  # a name, a folder or an S3 prefix
    seed: Natural = 0
    threads: Threads = 1  # of each worker's networks; sums in another order round differently
    detect: DetectSettings = field(default_factory=DetectSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    review: ReviewConfig = field(default_factory=ReviewConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)
    prices: PriceConfig = field(default_factory=PriceConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)
    s3: S3Config = field(default_factory=S3Config)
    download: DownloadConfig = field(default_factory=DownloadConfig)


PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {  # every rule as published; docs/method.md says what the paper leaves open
        # METHOD 1.4, 2.4, 2.5
        "adapt": {"split_tracks": False, "encoder": "all", "matcher": "gaussian"},
        "cluster": {
            "rule": "paper",  # METHOD 4
            "quality": {
                "rule": "outliers",
                "min_score": -3.5,
                "max_unknown_fraction": 1.0,
            },  # METHOD 3.2, the usual limit
        },
    },
}
"""Settings that differ from the defaults, by profile; a file or an override replaces them."""

MAX_SHOWN = 200
"""Characters of a name or value that an error repeats; also bounds the search for a similar one."""

USER_SETTINGS = (
    "profile",
    "pack",
    "seed",
    "threads",
    "detect.analysis_fps",
    "detect.grid_step",
    "detect.long_side_pixels",
    "detect.segment_seconds",
    "detect.min_face_pixels",
    "detect.max_faces",
    "track.sample_seconds",
    "adapt.encoder",
    "adapt.cache_bytes",
    "cluster.rule",
    "review",
    "resources",
    "prices",
    "retention",
    "isolation.isolate",
    "isolation.memory_bytes",
    "isolation.stall_seconds",
    "s3",
    "download",
)
"""Settings and sections that `vcn config` shows; the others are constants of the method, which it
shows with `--all`."""


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
        # The file's values would replace those of the profile asked for.
        raise ConfigError(f"{path} is of profile {profile!r}, got {asked!r}: ask for that, or none")
    config = _update(profile_config(profile), given, where=str(path))
    for name, text in (overrides or {}).items():
        where = redact(f"--set {name}={text}"[:MAX_SHOWN])
        config = _update(config, _nest(name, _parse_value(text)), where)
    return config


def given_config(config: RunConfig | str | os.PathLike[str] | None) -> RunConfig:
    """All settings: as given, or from a TOML file, or the defaults."""
    if isinstance(config, RunConfig):
        return config
    return load_config(Path(config) if config else None)


def profile_config(name: str) -> RunConfig:
    """The settings of a profile.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PROFILES:
        raise ConfigError(f"profile must be one of {', '.join(PROFILES)}, got {name!r}")
    return _update(RunConfig(), PROFILES[name] | {"profile": name}, where=f"profile {name}")


def dump_config(config: RunConfig, only: tuple[str, ...] = ()) -> str:
    """The settings as TOML that `load_config` reads back.

    Args:
        config: All settings.
        only: Names of settings and sections to write, such as USER_SETTINGS; empty: all.
    """
    values = asdict(config)
    if only:
        kept: dict[str, Any] = {}
        for name in only:
            kept = _merge(kept, _nest(name, get_setting(config, name)))
        values = kept
    return tomli_w.dumps(_without_none(values))


def get_setting(config: RunConfig, name: str) -> Any:
    """A setting, or a section as plain data, by its dotted name.

    Raises:
        KeyError: There is none of that name.
    """
    value: Any = config
    for part in name.split("."):
        if not hasattr(value, part):
            raise KeyError(name)
        value = getattr(value, part)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def select(config: RunConfig, names: tuple[str, ...]) -> dict[str, Any]:
    """Some settings and sections as plain data, by dotted name."""
    return {name: get_setting(config, name) for name in names}


def part_of(record: Any, kind: type[T]) -> T:
    """The fields of one part of a section, as a record of that part.

    Args:
        record: A section that inherits from `kind` among others.
        kind: The settings class of the part.
    """
    names = (f.name for f in fields(kind))  # type: ignore[arg-type]  # a dataclass
    return kind(**{name: getattr(record, name) for name in names})


def with_settings(config: RunConfig, text: str, where: str) -> RunConfig:
    """The same settings but for those in a TOML text, as `dump_config` writes it.

    Args:
        config: All settings.
        text: TOML.
        where: What to name in an error.

    Raises:
        ConfigError: A key or value is wrong.
    """
    try:
        return _update(config, parse_toml(text), where)
    except TomlError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error


def with_pack(config: RunConfig, pack: str) -> RunConfig:
    """The same settings with another pack."""
    return replace(config, pack=pack)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except TomlError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _parse_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except TomlError:
        return text


def _nest(name: str, value: Any) -> dict[str, Any]:
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    return dict(nested)


def _merge(into: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    both = {k: _merge(into[k], v) if k in into else v for k, v in values.items()}
    return into | both


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    # TOML has no null: an absent key means the default, which is None wherever None is allowed.
    kept = {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in kept.items() if v is not None}


def _update(record: T, values: Mapping[str, Any], where: str, inside: str = "") -> T:
    """A settings record with some values replaced.

    Args:
        record: A settings class's instance.
        values: By name; those of a section are mappings.
        where: What to name in an error: a file or an option.
        inside: Dotted name of the record's section, with a dot behind it.
    """
    known = {f.name: getattr(record, f.name) for f in fields(record)}  # type: ignore[arg-type]  # a dataclass
    changes: dict[str, Any] = {}
    for name, value in values.items():
        full = f"{inside}{name}"
        if name not in known:
            hint = _hint(name[:MAX_SHOWN], list(known))
            raise ConfigError(f"{where}: unknown setting {full[:MAX_SHOWN]!r}{hint}")
        if is_dataclass(known[name]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {full!r} is a section, got one value")
            changes[name] = _update(known[name], value, where, f"{full}.")
        else:
            changes[name] = value
    try:
        return type(record)(**known | changes)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {_first_fault(error, inside)}") from error


def _first_fault(error: pydantic.ValidationError, inside: str) -> str:
    first = error.errors()[0]
    name = (inside + ".".join(str(part) for part in first["loc"])).rstrip(".")
    reason = first["msg"].removeprefix("Value error, ")
    return f"{name + ': ' if name else ''}{reason[0].lower()}{reason[1:]}"


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"
