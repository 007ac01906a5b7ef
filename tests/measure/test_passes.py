"""Several models at a time: in order, each on as many threads as it would have alone."""

from threading import Barrier

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.measure import passes

CPU = torch.device("cpu")


def test_results_come_in_the_order_of_the_items_whoever_ends_first(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2 * torch.get_num_threads())
    both = Barrier(2, timeout=60)  # neither gets past it alone

    def run(item):
        both.wait()
        return item, torch.get_num_threads()

    assert list(passes.each(run, ["first", "second"], CPU)) == [
        (item, torch.get_num_threads()) for item in ("first", "second")
    ]


def test_a_gpu_runs_one_after_the_other():
    alive: list[int] = []

    def run(item):
        alive.append(item)
        return len(alive)

    assert list(passes.each(run, range(5), torch.device("cuda"))) == [1, 2, 3, 4, 5]


def test_a_mistake_is_told_as_it_is():
    def run(item):
        if item:
            raise UserError("damaged")
        return item

    results = passes.each(run, [0, 1, 2], CPU)
    assert next(results) == 0
    with pytest.raises(UserError, match="damaged"):
        next(results)
