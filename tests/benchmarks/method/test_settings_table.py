"""The constants of the method are found, varied and set."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.method.settings_table import (
    FROM_ONE,
    GROUPS,
    NO_CONSTANTS,
    UNUSED,
    Constant,
    changed,
    find_constants,
    fixed_numbers,
    get,
)
from vcn_ray.config import RunConfig
from vcn_ray.errors import ConfigError


def numbers(values: dict, inside: str) -> set[str]:
    found = set()
    for name, value in values.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{inside}{name}.")
        elif not isinstance(value, bool | str):
            found.add(f"{inside}{name}")
    return found


def test_every_number_of_the_method_is_varied():
    config = RunConfig()
    there = numbers(asdict(config.adapt), "adapt.")
    there |= numbers(asdict(config.cluster), "cluster.")
    constants = find_constants(config)
    names = [constant.name for constant in constants]
    assert len(names) == len(set(names))
    assert set(names) | set(NO_CONSTANTS) == there
    assert {constant.group for constant in constants} == set(GROUPS.values())
    for name in (*FROM_ONE, *NO_CONSTANTS, *(other for other, _ in UNUSED.values())):
        get(config, name)
    assert any(name.endswith("EACH_WAY") for name in fixed_numbers())


def test_how_a_constant_is_varied():
    momentum = Constant("adapt.teacher_momentum", 0.996, "train", from_one=True)
    assert [value for _, value in momentum.variants()] == [0.998, 0.992]
    assert [value for _, value in Constant("n", 5, "cut", False).variants()] == [3, 10]
    assert [value for _, value in Constant("x", -2.5, "cut", False).variants()] == [-1.25, -5.0]


def test_a_changed_constant_is_in_the_settings_or_refused():
    config, refused = RunConfig(), set()
    for constant in find_constants(config):
        for _, value in constant.variants():
            try:
                assert get(changed(config, constant.name, value), constant.name) == value
            except ConfigError:
                refused.add((constant.name, value))
    assert ("adapt.teacher_temperature", 0.14) in refused
    assert len(refused) < 10
