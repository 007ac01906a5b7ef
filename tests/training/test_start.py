"""The network that a training starts from."""

from __future__ import annotations

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.models.spec import Model
from deepcompress.training import run


def section(weights: str | None) -> Model:
    return Model(arch="vgg11", batch_norm=False, width=1 / 16, hidden=64, dropout=0.5, image_size=32, weights=weights)


def test_pretrained_weights_are_loaded_but_for_a_head_of_other_classes(tmp_path):
    given = run.network(section(None), 5)
    torch.save(given.state_dict(), tmp_path / "given.pth")
    found = run.network(section(str(tmp_path / "given.pth")), 3)
    assert torch.equal(found.features[0].weight, given.features[0].weight)
    assert found.classifier[6].weight.shape == (3, 4)


def test_weights_that_are_not_there_are_a_users_mistake():
    with pytest.raises(UserError, match="nowhere"):
        run.network(section("nowhere.pth"), 3)
