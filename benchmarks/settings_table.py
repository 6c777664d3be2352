"""Every numeric constant of the method, found by looking through the settings; none is listed.

What is listed is how a constant is varied where halving and doubling its value would be no fair
test, and what are no constants of the method.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from cache import PACKAGE, sources

from vcn_ray.config import RunConfig, load_config

SECTIONS = ("finetune", "cluster.cut", "quality")
"""Settings of METHOD 2 to 4. What comes before needs a video, not tracks."""

GROUPS = {
    "cluster.cut.": "cut",
    "quality.": "quality",
    "finetune.augment": "augment",  # augmented_views among them
    "finetune.encoder_": "encoder",
    "finetune.": "train",
}
"""The first that a name begins with: what has to be done anew for another value.

"cut" and "quality" nothing but the clustering, "train" and "encoder" a training on the same views,
"augment" everything.
"""

FROM_ONE = {
    "finetune.centre_momentum",
    "finetune.teacher_momentum",
    "finetune.encoder_teacher_momentum",
    "finetune.quality_dropout",
}
"""Parts of one that are varied by their distance to it: how much a step moves, how many matches may
still change, how many features are kept. All other values are varied by their distance to zero."""

NO_CONSTANTS = {"finetune.cache_bytes": "memory; kept activations round a result"}
"""Settings of those sections that are not chosen for the result, and why."""

UNUSED = {
    "finetune.match.": ("finetune.matcher", "gaussian"),
    "cluster.cut.": ("cluster.rule", "adaptive"),
}
"""Settings that count only where another one has a certain value."""


@dataclass(frozen=True)
class Constant:
    """A number that somebody chose."""

    name: str  # as the command line knows it, such as finetune.augment.shift
    value: float
    group: str
    from_one: bool

    def variants(self) -> Iterator[tuple[str, float]]:
        """What is done to it, and the value that gives."""
        for word, factor in (("halved", 0.5), ("doubled", 2.0)):
            if self.from_one:
                yield f"1 - value {word}", round(1 - factor * (1 - self.value), 12)
            elif isinstance(self.value, int):
                # rounded up at a half: one half of 1 would be nothing
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
    """Why a setting makes no difference here; None: it does."""
    for start, (other, needed) in UNUSED.items():
        if name.startswith(start) and get(config, other) != needed:
            return f"not used: {other} is {get(config, other)}"
    if group_of(name) == "encoder" and config.finetune.encoder == "frozen":
        return "not used: finetune.encoder is frozen"
    return None


def get(record: Any, name: str) -> Any:
    """A setting by its full name."""
    for part in name.split("."):
        record = getattr(record, part)
    return record


def put(record: Any, name: str, value: float) -> Any:
    """The same settings with another value.

    Raises:
        ConfigError: They refuse it.
    """
    first, _, rest = name.partition(".")
    inner = put(getattr(record, first), rest, value) if rest else value
    return replace(record, **{first: inner})


def changed(config: RunConfig, name: str, value: float) -> RunConfig:
    """The same, with the checks of the command line too.

    Raises:
        ConfigError: Either refuses it.
    """
    load_config(None, {name: repr(value)})
    result: RunConfig = put(config, name, value)
    return result


def fixed_numbers() -> dict[str, str]:
    """Numbers under a name in the modules of the method that no setting can change."""
    found: dict[str, str] = {}
    for path in sources("vcn_ray.learn.adapt", "vcn_ray.core.cluster"):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Assign) and _is_number(node.value):
                name = ast.unparse(node.targets[0])
                found[f"{path.relative_to(PACKAGE)}: {name}"] = ast.unparse(node.value)
    return found


def _is_number(node: ast.expr) -> bool:
    """Whether it is a number written out, or arithmetic on such."""
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)
