"""The peer is pruned to the MACs that it is compared at."""

from __future__ import annotations

import pytest
import torch

from benchmarks.pruned_peer import PEERS, macs, peer
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_has_no_more_macs_than_asked_and_not_many_fewer(name: str) -> None:
    torch.manual_seed(0)
    spec = VGGSpec("vgg11", True, (16,) * 8, (16, 16), 4, 32, 0.0)
    dense = VGG(spec)
    for layer in dense.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    before = macs(dense)
    small = peer(dense, name, before // 2, 4)
    assert 0.2 * before < macs(small) <= before // 2
    assert macs(dense) == before
    assert small(torch.randn(2, 3, 32, 32)).shape == (2, 4)
