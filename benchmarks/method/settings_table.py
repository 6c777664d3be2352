"""Every numeric constant of the method, read from the settings classes.

Listed by hand are only the constants for which halving and doubling the value would be no fair
test, and the numbers that are no constants of the method.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from benchmarks.method.cache import PACKAGE, sources
from vcn_ray.config import RunConfig, load_config

SECTIONS = ("adapt", "cluster")
"""Settings of METHOD 2 to 4. The steps before need a video, not tracks."""

GROUPS = {
    "cluster.cut.": "cut",
    "cluster.quality.": "quality",
    "adapt.augment": "augment",  # augmented_views among them
    "adapt.encoder_": "encoder",
    "adapt.": "train",
}
"""The group of a setting, by the first of these prefixes that its name has.

A group says what another value requires: "cut" and "quality" clustering again, "train" and
"encoder" training again on the same views, "augment" everything.
"""

FROM_ONE = {
    "adapt.centre_momentum",
    "adapt.teacher_momentum",
    "adapt.encoder_teacher_momentum",
    "adapt.quality_dropout",
}
"""Fractions that are varied by their distance to one: how much a step moves, how many matches may
still change, how many features are kept. All other values are varied by their distance to zero."""

NO_CONSTANTS = {
    "adapt.cache_bytes": "memory; cached activations only round a result",
    "adapt.trained_crops": "time; see film_tracks --trained-crops",
}
"""Settings of those sections that are not chosen for accuracy, and why."""

UNUSED = {
    "adapt.match.": ("adapt.matcher", "gaussian"),
    "cluster.cut.": ("cluster.rule", "adaptive"),
}
"""Settings that have an effect only where another setting has a certain value."""


@dataclass(frozen=True)
class Constant:
    """A number that was chosen, not derived."""

    name: str  # as on the command line, such as adapt.augment.shift
    value: float
    group: str
    from_one: bool

    def variants(self) -> Iterator[tuple[str, float]]:
        """The changes that are made to it, each with the value that results."""
        for word, factor in (("halved", 0.5), ("doubled", 2.0)):
            if self.from_one:
                yield f"1 - value {word}", round(1 - factor * (1 - self.value), 12)
            elif isinstance(self.value, int):
                # a half is rounded up: one half of 1 would be 0
                yield word, int(factor * self.value + 0.5)
            else:
                yield word, factor * self.value


def find_constants(config: RunConfig) -> list[Constant]:
    """All constants, in the order of the settings."""
    return [
        Constant(name, value, group_of(name), name in FROM_ONE)
        for section in SECTIONS
        for name, value in _numbers(get(config, section), f"{section}.")
        if name not in NO_CONSTANTS
    ]


def _numbers(record: Any, inside: str) -> Iterator[tuple[str, float]]:
    for field in fields(record):
        value = getattr(record, field.name)
        if is_dataclass(value):
            yield from _numbers(value, f"{inside}{field.name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{inside}{field.name}", value


def group_of(name: str) -> str:
    """The group of a setting."""
    return next(group for start, group in GROUPS.items() if name.startswith(start))


def unused_because(config: RunConfig, name: str) -> str | None:
    """Why a setting has no effect here; None where it has one."""
    for start, (other, needed) in UNUSED.items():
        if name.startswith(start) and get(config, other) != needed:
            return f"not used: {other} is {get(config, other)}"
    if group_of(name) == "encoder" and config.adapt.encoder == "frozen":
        return "not used: adapt.encoder is frozen"
    return None


def get(record: Any, name: str) -> Any:
    """A setting by its full name."""
    for part in name.split("."):
        record = getattr(record, part)
    return record


def put(record: Any, name: str, value: float) -> Any:
    """The same settings with another value.

    Raises:
        ConfigError: The settings refuse the value.
    """
    first, _, rest = name.partition(".")
    inner = put(getattr(record, first), rest, value) if rest else value
    return replace(record, **{first: inner})


def changed(config: RunConfig, name: str, value: float) -> RunConfig:
    """The same settings with another value, which passes the checks of the command line, too.

    Raises:
        ConfigError: One of both refuses the value.
    """
    load_config(None, {name: repr(value)})
    result: RunConfig = put(config, name, value)
    return result


def fixed_numbers() -> dict[str, str]:
    """Named numbers in the modules of the method that no setting can change."""
    found: dict[str, str] = {}
    for path in sources("vcn_ray.learn.adapt", "vcn_ray.core.cluster"):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Assign) and _is_number(node.value):
                name = ast.unparse(node.targets[0])
                found[f"{path.relative_to(PACKAGE)}: {name}"] = ast.unparse(node.value)
    return found


def _is_number(node: ast.expr) -> bool:
    """Whether the expression is a literal number, or arithmetic on literal numbers."""
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)
