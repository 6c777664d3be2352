"""A pretended GPU: tensors that are elsewhere, with their values on the CPU.

As on a real one, an operation on tensors of both places is an error, but for indices and numbers.
Torch has to know the place, and the only one that every build knows is "meta".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

PLACE = "meta"

aten = torch.ops.aten
INDEXING = (
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
)
"""Operations whose indices may lie on the CPU."""


MOVING = (
    aten._to_copy.default,
    aten.copy_.default,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.dtype,
)
"""Operations that may read on one side and write on the other."""


class Elsewhere(Tensor):
    """A tensor of the pretended GPU."""

    held: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's own way

    @staticmethod
    def __new__(cls, values: Tensor) -> Elsewhere:
        """Wrap values of the CPU."""
        made: Any = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            dtype=values.dtype,
            device=torch.device(PLACE),
        )
        made.held = values
        return cast(Elsewhere, made)

    def __getitem__(self, index: Any) -> Tensor:
        """Torch would make a tensor of a list in the place itself, where numbers get lost."""
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own declaration lacks the operation
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Pretend(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[str]:
    """Within it, tensors can be moved to the place that is given and back."""
    # It knows no such place, and in full precision values stay as they are.
    autocast = mock.patch.object(torch, "autocast", return_value=nullcontext())
    with autocast, _Pretend():  # type: ignore[no-untyped-call]  # torch has no types here
        yield PLACE


def _is_place(device: object) -> bool:
    return device is not None and torch.device(str(device)).type == PLACE


def _plain(value: object) -> object:
    if isinstance(value, Elsewhere):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, Elsewhere)]
    wanted = kwargs.get("device")
    moves = func in MOVING
    if (there or _is_place(wanted)) and not moves:
        _check_places(func, args, kwargs, tensors)
    output = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
    if not (_is_place(wanted) if wanted is not None else _stays_there(func, args, there)):
        return output
    known = {id(each.held): each for each in there}  # what is changed in place stays the same

    def wrap(value: object) -> object:
        return known.get(id(value), Elsewhere(value)) if isinstance(value, Tensor) else value

    return tree_map(wrap, output)


def _stays_there(func: Any, args: tuple[Any, ...], there: list[Elsewhere]) -> bool:
    return isinstance(args[0], Elsewhere) if func is aten.copy_.default else bool(there)


def _check_places(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]
) -> None:
    if func in INDEXING:
        values = [args[2]] if len(args) > 2 else []
        tensors = [args[0], *values]
    here = [each for each in tensors if not isinstance(each, Elsewhere) and each.dim() > 0]
    generator = kwargs.get("generator")
    if here or isinstance(generator, torch.Generator):
        raise RuntimeError(f"{func} has operands on the CPU and on the GPU")
