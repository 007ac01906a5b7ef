"""A contract over every allocation, and each one's own numbers."""

import dataclasses
import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.models.build import outline
from deepcompress.models.spec import BLOCKS, VGGSpec
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.allocation import Layer, Problem, allocate, counts, meet, table
from deepcompress.pruning.allocations import by_sensitivity, lamp
from deepcompress.pruning.allocations.two_of_four import kept
from deepcompress.pruning.settings import Prune
from tests.nets import vgg
from tests.pruning.conftest import GRID, PRUNE, pruned

ALL = params.plugins("pruning.allocations")
NAMES = [name for name in ALL if not hasattr(params.plugin("pruning.allocations", name), "SPARSITY")]
TARGETS = [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97]
SHAPES = {"a": (6, 3, 3, 3), "b": (10, 6, 3, 3), "c": (40, 90), "d": (4, 40)}
CURVES = {
    "a": (GRID, (80.0, 79, 80, 70, 60, 50, 40, 30, 20, 10)),
    "b": (GRID, (80.0, 80, 81, 80, 79, 79, 78, 60, 30, 12)),
    "c": (GRID, (80.0, 80, 80, 80, 80, 80, 80, 80, 79, 70)),
    "d": (GRID, (80.0, 60, 61, 55, 50, 40, 30, 20, 10, 10)),
}
TWO_OF_FOUR = {"criterion": "l1", "allocation": "two_of_four", "scope": "all"}


def problem(sparsity, granularity="weight", dense=(), shapes=SHAPES, curves=CURVES):
    random = torch.Generator().manual_seed(0)
    layers, scores = [], {}
    for name, shape in shapes.items():
        units = math.prod(shape) if granularity == "weight" else shape[0]
        layers.append(Layer(name, shape, units, math.prod(shape) // units, name in dense))
        if units < 10**5:
            scores[name] = torch.rand(units, generator=random)
    return Problem(tuple(layers), sparsity, curves, scores)


@pytest.mark.parametrize(("granularity", "dense"), [("weight", ()), ("weight", ("c",)), ("channel", ())])
@pytest.mark.parametrize("sparsity", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_the_target_is_met_to_within_half_a_unit_and_no_layer_is_emptied(name, sparsity, granularity, dense):
    asked = problem(sparsity, granularity, dense)
    if sum(layer.most * layer.weights_per_unit for layer in asked.layers) < sparsity * asked.weights:
        with pytest.raises(UserError, match="out of reach"):
            allocate(name, asked)
        return
    shares, pruned = allocate(name, asked)
    gone = sum(pruned[layer.name] * layer.weights_per_unit for layer in asked.layers)
    largest = max(layer.weights_per_unit for layer in asked.layers)
    assert abs(gone - sparsity * asked.weights) <= largest / 2 + (granularity == "channel")
    for layer in asked.layers:
        assert 0 <= pruned[layer.name] <= layer.most
        assert abs(pruned[layer.name] - shares[layer.name] * layer.units) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_target_takes_at_least_as_much_from_every_layer(name):
    shares = [allocate(name, problem(sparsity))[0] for sparsity in TARGETS]
    for layer in SHAPES:
        rising = [share[layer] for share in shares]
        assert (np.diff(rising) >= -1e-9).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_target_out_of_reach_says_how_much_can_go(name):
    with pytest.raises(UserError, match=r"at most 0\.975 of the 40 weights in scope can go") as raised:
        allocate(name, problem(0.99, shapes={"c": (1, 40)}))
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"at most 0\.\d+ of .* and c stays dense"):
        allocate(name, problem(0.9, dense=("c",)))


def test_uniform_is_uniform_and_others_give_what_a_layer_cannot():
    assert list(allocate("uniform", problem(0.25))[0].values()) == pytest.approx([0.25] * 4)
    shares, _ = allocate("uniform", problem(0.5, "channel", shapes={"a": (2, 10), "b": (4, 10), "c": (1, 20)}))
    assert shares == {"a": 0.5, "b": 0.75, "c": 0.0}


@pytest.mark.parametrize(
    ("sparsity", "image_size", "expected"),
    [
        (0.25, 32, [0, 0, 0, 0, 0.025, 0.351, 0.351, 0.351, 0, 0.275, 0]),
        (0.75, 224, [0, 0, 0.002, 0.337, 0.505, 0.671, 0.671, 0.671, 0.786, 0.632, 0]),
    ],
)
def test_erk_gives_the_known_shares_of_vgg11(sparsity, image_size, expected):
    spec = VGGSpec("vgg11", False, sum(BLOCKS["vgg11"], ()), (4096, 4096), 100, image_size, dropout=0.5)
    shapes = {name: tuple(layer.weight.shape) for name, layer in prunable_layers(outline(spec)).items()}
    shares, _ = allocate("erk", problem(sparsity, shapes=shapes))
    assert list(shares.values()) == pytest.approx(expected, abs=1e-3)


def test_lamp_scores_by_hand():
    found = lamp.lamp_scores(torch.tensor([[2.0, 1.0], [0.0, 3.0]]))
    assert found.tolist() == pytest.approx([0, 1 / 14, 4 / 13, 1])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_lamp_copes_with_scores_that_are_all_alike(value):
    asked = problem(0.5)
    alike = Problem(asked.layers, 0.5, {}, {name: torch.full_like(s, value) for name, s in asked.scores.items()})
    assert sum(allocate("lamp", alike)[1].values()) == round(0.5 * asked.weights)


def test_isotonic_equals_scikit_learn():
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.normal(size=random.integers(1, 15)) + np.linspace(0, 1, 1)
        oracle = IsotonicRegression().fit_transform(np.arange(len(values)), values)
        assert by_sensitivity.isotonic(values) == pytest.approx(oracle)


def test_by_sensitivity_equalises_the_fitted_loss():
    shares = allocate("by_sensitivity", problem(0.75))[0]
    losses = []
    for name, (sparsities, top1) in CURVES.items():
        fitted = np.maximum(by_sensitivity.isotonic(top1[0] - np.array(top1)), 0)
        losses.append(np.interp(shares[name], [*sparsities, 1.0], [*fitted, 80.0]))
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-6)


@pytest.mark.parametrize("curve", [((), ()), ((0.1, 0.2), (1.0, 1.0)), ((0.0, 0.0), (1.0, 1.0)), ((0.0,), (1.0, 2.0))])
def test_a_curve_that_is_missing_or_does_not_rise_from_zero_is_refused(curve):
    with pytest.raises(UserError, match="curve of a must rise"):
        allocate("by_sensitivity", problem(0.5, curves=CURVES | {"a": curve}))
    with pytest.raises(UserError, match="no curve for b; run the sensitivity stage again"):
        allocate("by_sensitivity", problem(0.5, curves={"a": CURVES["a"]}))


def test_meet_crosses_a_step_by_a_straight_line():
    asked = problem(0.3, shapes={"a": (10, 10), "b": (10, 10)})
    found = meet(asked, lambda x: [0.2, 0.2] if x < 0.5 else [0.2, 0.8], 0.0, 1.0)
    assert found == {"a": pytest.approx(0.2), "b": pytest.approx(0.4)}


def test_counts_of_a_hundred_million_weights_are_exact():
    layers = (Layer("a", (4096, 25088), 4096 * 25088, 1), Layer("b", (7, 9), 63, 1))
    asked = Problem(layers, 1 / 3)
    assert counts(asked, {"a": 1 / 3, "b": 1 / 3}) == {"a": 34253483, "b": 21}


def test_counts_are_whole_steps_whose_sum_is_nearest_to_the_target():
    layers = (
        Layer("a", (16, 9), 16, 9, step=4),
        Layer("b", (32, 9), 32, 9, step=8),
        Layer("c", (3, 9), 3, 9, dense=True),
    )
    asked = Problem(layers, 0.5)
    assert counts(asked, {"a": 0.55, "b": 0.55, "c": 0.0}) == {"a": 8, "b": 16, "c": 0}
    assert counts(Problem(layers, 0.25), {"a": 0.2, "b": 0.3, "c": 0.0}) == {"a": 4, "b": 8, "c": 0}


@given(st.lists(st.tuples(st.floats(0, 0.9), st.integers(2, 40), st.integers(1, 500)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_layer_loses_more_than_its_share_and_one_step(layers):
    drawn = {
        f"layer{n}": (share, Layer(f"layer{n}", (4 * u, w), 4 * u, w, step=4)) for n, (share, u, w) in enumerate(layers)
    }
    problem = Problem(tuple(layer for _, layer in drawn.values()), 0.0)
    gone = sum(share * layer.weights for share, layer in drawn.values())
    found = counts(dataclasses.replace(problem, sparsity=gone / problem.weights), {n: s for n, (s, _) in drawn.items()})
    for name, (share, layer) in drawn.items():
        assert abs(found[name] - share * layer.units) < layer.step + 1e-3
        assert found[name] == 0 or share * layer.units >= layer.step / 2


def test_the_table_names_every_layer_and_the_whole():
    asked = problem(0.25, "channel")
    shares, pruned = allocate("uniform", asked)
    rows = table(asked, shares, pruned)
    assert [row["layer"] for row in rows] == [*SHAPES, "Overall"]
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert rows[2] == {
        "layer": "c",
        "weights": 3600,
        "units": 40,
        "assigned_sparsity": pytest.approx(0.25),
        "achieved_sparsity": 0.25,
        "pruned_units": 10,
        "pruned_weights": 900,
    }
    assert rows[-1]["weights"] == asked.weights
    assert rows[-1]["achieved_sparsity"] == sum(row["pruned_weights"] for row in rows[:-1]) / asked.weights


def test_two_of_four_by_hand():
    scores = torch.tensor([[4.0, 1, 3, 2, 5, 5, 5, 5], [0.0, 0, 9, 0, 1, 2, 3, 0]])
    assert kept(scores, 8).int().tolist() == [[1, 0, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 1, 0]]
    filters = torch.rand(3, 8, 3, 3)
    found = kept(filters, filters.numel() // 2)
    for row, column in ((0, 0), (2, 1)):
        assert torch.equal(found[:, :, row, column], kept(filters[:, :, row, column], 12))


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_every_layer_that_four_divides_loses_half_and_the_others_are_named(criterion, caplog):
    with caplog.at_level(logging.INFO):
        made = pruned(vgg(), "unstructured", 0.5, **TWO_OF_FOUR | {"criterion": criterion, "dense": ("classifier.6",)})
    layers = prunable_layers(made.masked)
    unfit = [name for name, layer in layers.items() if layer.weight.shape[1] % 4]
    assert len(unfit) > 1
    assert f"two_of_four: {', '.join(unfit)} stay dense" in caplog.text
    for row in made.table[:-1]:
        weight = layers[row["layer"]].weight
        dense = row["layer"] in (*unfit, "classifier.6")
        assert row["achieved_sparsity"] == row["assigned_sparsity"] == (0 if dense else 0.5)
        if not dense:
            fours = weight.movedim(1, -1).unflatten(-1, (-1, 4))
            assert ((fours != 0).sum(-1) == 2).all()


def test_every_other_sparsity_is_one_line_that_names_the_key():
    block = {**PRUNE, "unstructured": TWO_OF_FOUR, "sweep": {"methods": ["unstructured"], "sparsities": [0.5, 0.75]}}
    with pytest.raises(
        UserError, match=r"prune\.sparsity must be 0\.5, the only one that .*two_of_four meets; got 0\.25"
    ):
        params.validate(Prune, {**block, "method": "unstructured"}, "prune")
    settings = params.validate(Prune, block, "prune")
    with pytest.raises(UserError, match=r"prune\.sweep\.sparsities must be 0\.5, .*; got 0\.75"):
        settings.require_sweep()
    settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"sparsities": (0.5,)})}).require_sweep()
    with pytest.raises(UserError, match=r"two_of_four prunes at a sparsity of 0\.5, got 0\.25"):
        allocate("two_of_four", problem(0.25))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's semi-structured kernels need a CUDA device")
def test_the_semi_structured_kernels_of_torch_take_what_is_left():
    weight = torch.randn(128, 128, dtype=torch.float16, device="cuda")
    pruned = weight * kept(weight.abs(), weight.numel() // 2)
    inputs = torch.randn(64, 128, dtype=torch.float16, device="cuda")
    found = torch.nn.functional.linear(inputs, torch.sparse.to_sparse_semi_structured(pruned))
    torch.testing.assert_close(found, torch.nn.functional.linear(inputs, pruned), rtol=1e-2, atol=1e-1)
