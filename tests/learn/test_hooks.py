"""Several processes that train together end where one alone does, except for rounding."""

from __future__ import annotations

import multiprocessing
import os
import socket
from dataclasses import fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import distributed

from tests.helpers.synth import NEAR, PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.learn import rounds
from vcn_ray.learn.adapt import adapt
from vcn_ray.learn.adapt_config import Trained
from vcn_ray.learn.hooks import ALONE, Hooks, ProcessRanks, Ranks, Timer
from vcn_ray.records import TrackOutputs

ODD = replace(QUICK, epochs=2, batch_pairs=9, encoder_batch_pairs=3, cache_bytes=20_000)
"""Batches that do not divide by the ranks, of which the last may be of one pair."""

TRAINED: dict[Trained, int] = {"tail": 17, "all": 40}
"""Crops that are trained on, of 40; 17 and 23 do not divide by the ranks."""


class Memory:
    """Counts what is saved; has nothing to resume from."""

    seconds = 0.0
    saves = 0

    def load(self) -> bytes | None:
        return None

    def save(self, data: bytes) -> None:
        self.saves += bool(data)


PARTS: tuple[Trained, ...] = ("tail", "all")


class Ended(NamedTuple):
    """What a rank ends with."""

    arrays: dict[str, np.ndarray]
    losses: list[float]
    saves: int


def _one_rank(number: int, count: int, port: int, answer: Connection) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    rounds.MIN_STEPS = 1  # as for the process that starts this one
    distributed.init_process_group("gloo", rank=number, world_size=count)
    for part in PARTS:
        memory = Memory()
        hooks = Hooks(checkpoints=memory, ranks=ProcessRanks())
        config = replace(ODD, encoder=part, trained_crops=TRAINED[part])
        adapted = adapt(title_of(PEOPLE, 5), TinyBackbone(), config, NEAR, seed=0, hooks=hooks)
        names = [field.name for field in fields(TrackOutputs)]
        arrays = {name: getattr(adapted.outputs, name) for name in names}
        answer.send(Ended(arrays, [epoch.loss for epoch in adapted.history], memory.saves))
    distributed.destroy_process_group()


def together(count: int) -> dict[Trained, list[Ended]]:
    """What each of so many ranks ends with, for each part of the encoder that is trained."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_one_rank, args=(number, count, port, pipes[number][1]))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    ended: dict[Trained, list[Ended]] = {}
    for part in PARTS:
        for receiver, _ in pipes:
            assert receiver.poll(120), "a rank does not answer"
            ended.setdefault(part, []).append(receiver.recv())
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    return ended


@pytest.fixture(scope="module")
def three() -> dict[Trained, list[Ended]]:
    """What three ranks end with."""
    return together(3)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("part", PARTS)
def test_ranks_end_in_the_same_bits_and_near_one_alone(
    three: dict[Trained, list[Ended]], part: Trained
) -> None:
    config = replace(ODD, encoder=part, trained_crops=TRAINED[part])
    alone = adapt(title_of(PEOPLE, 5), TinyBackbone(), config, NEAR, seed=0)
    (first, losses, saves), (other, other_losses, other_saves), _ = three[part]
    assert losses == other_losses == pytest.approx([e.loss for e in alone.history], abs=1e-3)
    for field in fields(TrackOutputs):
        assert np.array_equal(first[field.name], other[field.name]), field.name
        np.testing.assert_allclose(
            first[field.name], getattr(alone.outputs, field.name), atol=5e-3, err_msg=field.name
        )
    assert saves == len(losses)  # the first rank saves, after each epoch
    assert other_saves == 0


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 2, 9, 100])
def test_each_item_is_one_rank_s(items: int, count: int) -> None:
    ranks = Ranks()
    ranks.count = count
    owned = [number for rank in range(count) for number in range(items)[ranks.part(items, rank)]]
    assert owned == list(range(items))
    sizes = [len(range(items)[ranks.part(items, rank)]) for rank in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_one_alone_has_all_and_is_left_alone() -> None:
    rows = torch.arange(6)
    assert ALONE.all_gather(rows, 6) is rows
    assert ALONE.agree(b"state") == b"state"
    assert ALONE.part(6) == slice(0, 6)


def test_memory_is_measured_in_bytes() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux has a process's peak in a file")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    peak = Timer(None, torch.device("cpu")).peak_bytes()
    assert 0.9 < peak / (1024 * int(line.split()[1])) < 100  # a parent's peak may be counted
