"""Communication between the processes of a run. In a single process, none of these functions costs anything.

All of them except ``rank``, ``world_size`` and ``share`` must be called by all processes.
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
    """Return the number of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(parts: Sequence[T]) -> list[T]:
    """Return the parts of the work that this process does."""
    return list(parts[rank() :: world_size()])


def add_up(x: Tensor) -> Tensor:
    """Sum ``x`` over all processes, in place. The sum is exact where at most one process has a value other than 0."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def largest(number: int) -> int:
    """Return the largest ``number`` of all processes."""
    if world_size() == 1:
        return number
    found = torch.tensor(number, device=_device())
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def gather_objects(item: T) -> list[T]:
    """Return the ``item`` of every process, in order. It must be plain data, because it is sent as a pickle."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def _device() -> torch.device:
    """Return the device on which tensors must be to be sent between processes."""
    return torch.device("cpu" if dist.get_backend() == "gloo" else torch.accelerator.current_accelerator() or "cpu")


def gather(rows: Tensor) -> Tensor:
    """Join the rows of all processes, [n, ...], in order. Each process may have another number of rows."""
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
    """Join the batches of all processes, [B, ...], which must have equal lengths. Gradients are sent back."""
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
