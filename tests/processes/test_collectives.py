"""What two processes put together, each of them found out by a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from avvp_pl.processes.collectives import add_up, gather, gather_batch, rank, share, world_size


def work(number: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + 10 * number
    x.requires_grad_()
    joined = gather_batch(x)
    weights = torch.arange(8.0).reshape(4, 2) * (1 + number)  # each process has a loss of its own
    (gradient,) = torch.autograd.grad((weights * joined).sum(), x)
    found: dict[str, Any] = {
        "rank": (rank(), world_size()),
        "share": share(["a", "b", "c", "d", "e"]),
        "sum": add_up(torch.tensor([number, 5])),
        "rows": gather(torch.arange(3 * number)[:, None] + 100 * number),
        "batch": joined.detach(),
        "mask": gather_batch(torch.tensor([number == 0])),
        "gradient": gradient,
    }
    torch.save(found, folder / f"{number}.pt")
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.start_processes(work, args=(tmp_path,), nprocs=2, start_method="fork")  # type: ignore[attr-defined,no-untyped-call]
    one, other = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    assert (one["rank"], other["rank"]) == ((0, 2), (1, 2))
    assert (one["share"], other["share"]) == (["a", "c", "e"], ["b", "d"])
    for found in (one, other):
        assert found["sum"].tolist() == [1, 10]
        assert found["rows"].tolist() == [[100], [101], [102]]  # the first process has none
        assert found["batch"].tolist() == [[1, 2], [3, 4], [11, 12], [13, 14]]
        assert found["mask"].tolist() == [True, False]
    # the sum of both losses: weights of 1 and 2 times the number
    assert one["gradient"].tolist() == [[0, 3], [6, 9]]
    assert other["gradient"].tolist() == [[12, 15], [18, 21]]


def test_one_process_has_everything() -> None:
    x = torch.ones(2, 3)
    assert (rank(), world_size()) == (0, 1)
    assert share([1, 2, 3]) == [1, 2, 3]
    assert add_up(x) is gather(x) is gather_batch(x) is x
