"""2:4 sparsity: which weights go, in which layers, and that no other sparsity is taken for it."""

from __future__ import annotations

import logging

import pytest
import torch

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import masks
from deepcompress.pruning.allocations.two_of_four import kept
from deepcompress.pruning.prune import choose
from deepcompress.pruning.settings import MethodConfig, Prune
from tests.pruning.test_settings import PRUNE

WAY = {"criterion": "l1", "allocation": "two_of_four", "scope": "all"}


def test_two_of_four_by_hand():
    scores = torch.tensor([[4.0, 1, 3, 2, 5, 5, 5, 5], [0.0, 0, 9, 0, 1, 2, 3, 0]])
    assert kept(scores, 8).int().tolist() == [[1, 0, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 1, 0]]
    filters = torch.rand(3, 8, 3, 3)
    found = kept(filters, filters.numel() // 2)
    for row, column in ((0, 0), (2, 1)):
        assert torch.equal(found[:, :, row, column], kept(filters[:, :, row, column], 12))


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_every_layer_that_four_divides_loses_half_and_the_others_are_named(criterion, network, caplog):
    model, way = network(), MethodConfig(**{**WAY, "criterion": criterion, "dense": ("classifier.6",)})
    with caplog.at_level(logging.INFO):
        choice = choose(model, "unstructured", way, 0.5, seed=0)
    unfit = [name for name, layer in prunable_layers(model).items() if layer.weight.shape[1] % 4]
    assert len(unfit) > 1
    assert f"two_of_four: {', '.join(unfit)} stay dense" in caplog.text
    masks.apply_(model, choice.masks)
    for row in choice.table[:-1]:
        weight = prunable_layers(model)[row["layer"]].weight
        dense = row["layer"] in (*unfit, "classifier.6")
        assert row["achieved_sparsity"] == row["assigned_sparsity"] == (0 if dense else 0.5)
        if not dense:
            fours = weight.movedim(1, -1).unflatten(-1, (-1, 4))
            assert ((fours != 0).sum(-1) == 2).all()


def test_every_other_sparsity_is_one_line_that_names_the_key(network):
    block = {**PRUNE, "unstructured": WAY, "sweep": {"methods": ["unstructured"], "sparsities": [0.5, 0.75]}}
    with pytest.raises(
        UserError, match=r"prune\.sparsity must be 0\.5, the only one that .*two_of_four meets; got 0\.25"
    ):
        params.validate(Prune, {**block, "method": "unstructured"}, "prune")
    settings = params.validate(Prune, block, "prune")
    with pytest.raises(UserError, match=r"prune\.sweep\.sparsities must be 0\.5, .*; got 0\.75"):
        settings.require_sweep()
    settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"sparsities": (0.5,)})}).require_sweep()
    with pytest.raises(UserError, match=r"two_of_four prunes at a sparsity of 0\.5, got 0\.25"):
        choose(network(), "unstructured", MethodConfig(**WAY), 0.25, seed=0)


def test_whole_filters_have_no_such_pattern():
    block = {**PRUNE, "structured": {**PRUNE["structured"], "allocation": "two_of_four"}}
    with pytest.raises(
        UserError, match=r"structured\.allocation must be one for filters, and two_of_four is for weights"
    ):
        params.validate(Prune, block, "prune")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's semi-structured kernels need a CUDA device")
def test_the_semi_structured_kernels_of_torch_take_what_is_left():
    weight = torch.randn(128, 128, dtype=torch.float16, device="cuda")
    pruned = weight * kept(weight.abs(), weight.numel() // 2)
    inputs = torch.randn(64, 128, dtype=torch.float16, device="cuda")
    found = torch.nn.functional.linear(inputs, torch.sparse.to_sparse_semi_structured(pruned))
    torch.testing.assert_close(found, torch.nn.functional.linear(inputs, pruned), rtol=1e-2, atol=1e-1)
