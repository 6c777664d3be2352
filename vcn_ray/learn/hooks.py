"""What runs beside an adaptation: progress, checkpoints, processes that share the work, a timer.

The result depends on none of it, except that several processes sum in another order and so round
differently. It knows nothing of networks, nor of how processes are started.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")

Progress = Callable[[str, float], None]
"""Takes the name of a phase, such as "head", and its progress, 0..1."""

Tick = Callable[[float], None]
"""Takes the progress of one phase, 0..1."""


class Checkpoints(Protocol):
    """Stores the last state of one adaptation, so that it can be resumed after a kill."""

    @property
    def seconds(self) -> float:
        """Minimum training time between two states worth storing."""

    def load(self) -> bytes | None:
        """Return the state saved last, or None if there is none."""

    def save(self, data: bytes) -> None:
        """Replace the stored state atomically."""


class Ranks:
    """One process alone.

    Where several processes adapt to one title, every rank holds the same parameters and draws the
    same numbers. The ranks split each batch, sum their gradients and take the same step, as in any
    data-parallel training. Alone, the same calls change nothing.
    """

    number = 0
    count = 1

    def part(self, items: int, number: int | None = None) -> slice:
        """Return the slice of `items` consecutive items that a rank owns, by default this one.

        Each item belongs to exactly one rank.
        """
        rank = self.number if number is None else number
        return slice(items * rank // self.count, items * (rank + 1) // self.count)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every rank's gradients by their sum over the ranks."""

    def all_gather(self, rows: Tensor, items: int, each: int = 1) -> Tensor:
        """Concatenate the rows of all ranks, in order of rank.

        Args:
            rows: This rank's rows: `each` for every item of its part.
            items: Number of items of all ranks.
            each: Rows per item.
        """
        return rows

    def agree(self, value: T) -> T:
        """Return the first rank's value, so that rounding never makes two ranks decide differently.

        Every rank must call this.
        """
        return value


ALONE = Ranks()


class ProcessRanks(Ranks):
    """The processes of torch's default process group, which must be initialised."""

    def __init__(self) -> None:
        self.number = distributed.get_rank()
        self.count = distributed.get_world_size()

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum all gradients in one message."""
        for parameter in parameters:
            if parameter.grad is None:  # this rank has no pair of the batch
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(together)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, torch.split(together, sizes), strict=True):
            gradient.copy_(summed.view(gradient.shape))

    def all_gather(self, rows: Tensor, items: int, each: int = 1) -> Tensor:
        """Pad to one length on the way, because not every backend takes several."""
        parts = [range(items)[self.part(items, number)] for number in range(self.count)]
        sizes = [each * len(part) for part in parts]
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(gathered, padded)
        return torch.cat([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])

    def agree(self, value: T) -> T:
        """Broadcast the first rank's value."""
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]


class Hooks(NamedTuple):
    """What runs beside an adaptation."""

    progress: Progress | None = None  # called after each batch
    checkpoints: Checkpoints | None = None
    ranks: Ranks = ALONE  # the processes that train together; each calls `adapt`

    def ranks_for(self, crops: int) -> Ranks:
        """Return the ranks, or ALONE where there are fewer crops than ranks."""
        return self.ranks if crops >= self.ranks.count else ALONE


NO_HOOKS = Hooks()


class Timer:
    """Measures the seconds of each phase and the peak memory, and reports progress.

    Args:
        progress: Called with a phase and its progress; None: nobody listens.
        device: Where peak memory is measured, on a GPU from now on.

    Attributes:
        seconds: Seconds spent in each phase so far.
    """

    def __init__(self, progress: Progress | None, device: torch.device) -> None:
        self._progress = progress
        self._device = device
        self.seconds: dict[str, float] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def report(self, phase: str, progress: float) -> None:
        """Report the progress of a phase, 0..1."""
        if self._progress is not None:
            self._progress(phase, progress)

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds that a phase took elsewhere."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a phase, after a GPU has finished its work."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.add(name, time.perf_counter() - start)

    def peak_bytes(self) -> int:
        """Return the peak memory: of tensors on a GPU, else of this process since it started."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
