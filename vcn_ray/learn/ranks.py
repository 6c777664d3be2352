"""Several processes that fine-tune one title together; alone, the same calls change nothing.

Every rank holds the same parameters and draws the same numbers. A batch is split among them, their
gradients are added up, and each takes the same step: what data parallel training does. It knows
nothing of networks or of who started the processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


class Ranks:
    """One process alone."""

    number = 0
    count = 1

    def part(self, items: int, number: int | None = None) -> slice:
        """Which of `items` in a row are a rank's, by default this one's; each is one rank's."""
        rank = self.number if number is None else number
        return slice(items * rank // self.count, items * (rank + 1) // self.count)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Let every rank have the sum of all ranks' gradients."""

    def join(self, rows: Tensor, items: int, each: int = 1) -> Tensor:
        """All ranks' rows, in order of rank; this one's are `each` for every item of its part."""
        return rows

    def agree(self, value: T) -> T:
        """The first rank's value, so that rounding never makes two of them decide differently."""
        return value


ALONE = Ranks()


class ProcessRanks(Ranks):
    """The processes of torch's default group, which has been started."""

    def __init__(self) -> None:
        self.number = distributed.get_rank()
        self.count = distributed.get_world_size()

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """One message for all of them."""
        for parameter in parameters:
            if parameter.grad is None:  # this rank had none of the batch
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(together)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, torch.split(together, sizes), strict=True):
            gradient.copy_(summed.view(gradient.shape))

    def join(self, rows: Tensor, items: int, each: int = 1) -> Tensor:
        """Filled up to one length on the way, because not every backend takes several."""
        parts = [range(items)[self.part(items, number)] for number in range(self.count)]
        sizes = [each * len(part) for part in parts]
        filled = rows.new_zeros((max(sizes), *rows.shape[1:]))
        filled[: len(rows)] = rows
        gathered = [torch.empty_like(filled) for _ in sizes]
        distributed.all_gather(gathered, filled)
        return torch.cat([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])

    def agree(self, value: T) -> T:
        """Sent to all."""
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]
