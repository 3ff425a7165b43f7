"""The contract of the parts: terms and their total, the share of a process, and reports."""

from __future__ import annotations

import itertools
import time

import pytest
import torch

from avvp_pl.parts import Part, Report, Team, Term, total
from tests.stand_ins import some_videos


class TestTerms:
    def test_the_total_by_hand(self) -> None:
        """2 + 0.5 * 3 + 0 * 7."""
        terms = {
            "mil": Term(torch.tensor(2.0)),
            "pseudo_label": Term(torch.tensor(3.0), 0.5),
            "unused": Term(torch.tensor(7.0), 0.0),
        }
        assert total(terms).item() == 3.5

    def test_one_term_is_the_total_of_itself(self) -> None:
        assert total({"only": Term(torch.tensor(2.0), 0.25)}).item() == 0.5

    def test_a_weight_scales_the_gradient(self) -> None:
        x = torch.tensor([1.0, 3.0], requires_grad=True)
        torch.autograd.backward(total({"square": Term((x**2).sum(), 0.5), "linear": Term(x[0], 2.0)}))
        torch.testing.assert_close(x.grad, torch.tensor([1.0 + 2.0, 3.0]))

    def test_a_term_of_weight_zero_keeps_its_weights_in_the_graph(self) -> None:
        """With several processes every trainable weight must have a gradient, if only of zeros."""
        x = torch.tensor(3.0, requires_grad=True)
        torch.autograd.backward(total({"one": Term(torch.tensor(1.0)), "unused": Term(x**2, 0.0)}))
        assert x.grad == 0


class TestTeam:
    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    @pytest.mark.parametrize("pieces", [0, 1, 5, 12])
    def test_every_piece_is_of_one_process(self, size: int, pieces: int) -> None:
        shares = [Team(rank, size).share(range(pieces)) for rank in range(size)]
        assert sorted(itertools.chain(*shares)) == list(range(pieces))
        assert all(share == sorted(share) for share in shares)
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1

    def test_shares_by_hand(self) -> None:
        assert [Team(rank, 2).share("abcde") for rank in range(2)] == [["a", "c", "e"], ["b", "d"]]

    def test_one_process_alone_has_everything(self) -> None:
        team, x = Team(), torch.ones(2)
        assert (team.rank, team.size) == (0, 1)
        assert team.share([1, 2, 3]) == [1, 2, 3]
        assert team.add_up(x) is team.gather(x) is team.gather_batch(x) is x


def test_laps_of_a_stage_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 13.0, 16.0, 20.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    report = Report(torch.device("cpu"), started=time.perf_counter())
    for stage in ("encode", "label", "encode", "cluster"):
        report.lap(stage)
    assert report.seconds == {"encode": 1 + 3, "label": 2, "cluster": 4}


def test_a_part_may_leave_every_clock_as_it_is() -> None:
    part, videos = Part(), some_videos([2, 1], [[1.0], [0.0]])
    part.start(videos)
    part.before_step(torch.nn.Linear(1, 1), 0)  # type: ignore[arg-type]
    part.after_step(torch.nn.Linear(1, 1), 0)  # type: ignore[arg-type]
    part.keep_best()
    part.resume(part.progress())
    assert part.refresh(videos, 0, Team()) is None
    assert part.progress() == {}
    assert part.notes(torch.device("cpu")) == []
    assert part.state_dict() == {}
    assert part.digest() is None
    assert not part.needs_best
