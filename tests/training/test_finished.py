"""A training that ended is taken over as it ended, not repeated."""

from __future__ import annotations

from pathlib import Path

import torch

from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import finished, resume
from deepcompress.training.history import Epoch, History

SPEC = VGGSpec("vgg11", True, (2, 3, 4, 4, 5, 5, 6, 6), (8, 7), 3, 32, 0.5)


def test_the_second_run_gets_weights_layout_frozen_layers_and_history(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second, calls = VGG(SPEC), VGG(SPEC), []

    def train() -> History:
        calls.append(1)
        first.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        first.features[0].weight.requires_grad_(False)
        return History([Epoch(1, 2.0, 0.1, 50.0, 1.5)])

    one, other = (finished.once(model, tmp_path, train) for model in (first, second))
    assert calls == [1]
    assert one.rows() == other.rows()
    assert all(torch.equal(a, second.state_dict()[name]) for name, a in first.state_dict().items())
    assert [p.requires_grad for p in first.parameters()] == [p.requires_grad for p in second.parameters()]
    assert [p.stride() for p in first.parameters()] == [p.stride() for p in second.parameters()]
    assert not second.training
    resume.clear(tmp_path)
    assert not tmp_path.exists()


def test_a_damaged_end_is_trained_again(tmp_path: Path) -> None:
    calls = []

    def train() -> History:
        calls.append(1)
        return History([Epoch(1, 2.0, 0.1, 50.0, 1.5)])

    finished.once(VGG(SPEC), tmp_path, train)
    path = tmp_path / resume.STATE_FILE
    path.write_bytes(path.read_bytes()[:-40])
    assert finished.once(VGG(SPEC), tmp_path, train).rows() == finished.once(VGG(SPEC), tmp_path, train).rows()
    assert calls == [1, 1]
