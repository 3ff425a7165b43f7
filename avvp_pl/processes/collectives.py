"""The processes of a run: who does what, and how the parts come together. A single process pays nothing for it.

All but ``rank``, ``world_size`` and ``share`` have to be called by all processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

T = TypeVar("T")


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(parts: Sequence[T]) -> list[T]:
    """The parts of the work that are this process's."""
    return list(parts[rank() :: world_size()])


def add_up(x: Tensor) -> Tensor:
    """The sum of every process's ``x``, in place; exact where all but one of them are 0."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def largest(number: int) -> int:
    """The largest of every process's ``number``."""
    if world_size() == 1:
        return number
    found = torch.tensor(number, device=_device())
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def gather_objects(item: T) -> list[T]:
    """Every process's ``item``, in their order; of plain data, for it goes by pickle between them."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def _device() -> torch.device:
    """Where the numbers must be that processes tell each other."""
    return torch.device("cpu" if dist.get_backend() == "gloo" else torch.accelerator.current_accelerator() or "cpu")


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes, [n, ...], one process after the other; each may have its own number of them."""
    if world_size() == 1:
        return rows
    mine = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(mine) for _ in range(world_size())]
    dist.all_gather(counts, mine)
    numbers = [int(count) for count in counts]
    padded = rows.new_zeros(max(numbers), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in numbers]
    dist.all_gather(parts, padded)
    return torch.cat([part[:number] for part, number in zip(parts, numbers, strict=True)])


def gather_batch(x: Tensor) -> Tensor:
    """The equally long batches of all processes, [B, ...], joined; gradients find their way back."""
    if world_size() == 1:
        return x
    joined: Tensor = _GatherBatch.apply(x)  # type: ignore[no-untyped-call]
    return joined


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        start = rank() * ctx.rows
        return add_up(upstream.clone())[start : start + ctx.rows]
