"""What models cost: operations, bytes, histograms and training, worked by hand and against other counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepcompress import files
from deepcompress.errors import UserError
from deepcompress.measure import cost
from deepcompress.measure.cost import OWN, TOTAL, layer_macs, macs, parameters, payload_bytes, weights_mib
from deepcompress.models.spec import BLOCKS, VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.plan_table import Plan, PlannedModel
from tests import plans
from tests.nets import network

SPEC = VGGSpec("vgg11", True, (2, 3, 4, 4, 5, 5, 6, 6), (8, 7), 3, image_size=64, dropout=0.5)
FULL = VGGSpec("vgg11", False, sum(BLOCKS["vgg11"], ()), (4096, 4096), 100, image_size=224, dropout=0.5)
TINY = VGGSpec("vgg11", True, (1,) * 8, (2, 2), 2, image_size=32, dropout=0.5)
MIB = 2**20
IMAGES, EPOCHS = 1000, 12
MACS = {
    "baseline": 10_000_000, "masked/a": 5_000_000, "pruned/a": 5_000_000, "quantized/ptq": 10_000_000,
    "quantized/qat": 10_000_000, "shipped/pruned": 6_000_000, "shipped/quantized": 6_000_000,
    "teachers/big": 40_000_000, "students/alone": 3_000_000, "students/dkd": 3_000_000, "combined/pd": 6_000_000,
}  # fmt: skip
PLAN = plans.plan(
    MACS,
    step={"combined/pd": "distill"},
    builds_on={"shipped/quantized": "shipped/pruned", "combined/pd": "masked/a"},
    teacher={"students/dkd": "teachers/big", "combined/pd": "baseline"},
)
UNTRAINED = ("masked/a", "quantized/ptq", "shipped/quantized")
HEAD = "epoch,train_loss,learning_rate,validation_top1_pct,validation_loss\n"


@pytest.fixture
def model() -> VGG:
    torch.manual_seed(0)
    return VGG(SPEC)


def test_macs_are_half_of_torchs_own_flops(model: VGG) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64))
    assert 2 * sum(layer_macs(model).values()) == 2 * macs(model) == counter.get_total_flops()


def test_macs_are_also_of_what_no_layer_computes() -> None:
    model, tokens, width = network("tests.odd_nets:Heads"), 16, 12
    projections, products = 4 * tokens * width**2, 2 * tokens**2 * width
    assert layer_macs(model) == {"patch": tokens * width * 3 * 8 * 8, "head": width * model.spec.classes}
    assert macs(model) == sum(layer_macs(model).values()) + projections + products
    assert torch.backends.mha.get_fastpath_enabled()


def test_macs_of_an_lstm_are_those_of_its_matrices() -> None:
    """On CPUs it is one operation, and so are all recurrent layers on GPUs."""
    memory, products = nn.LSTM(16, 4, 2, bidirectional=True), cost._Products()
    with products, torch.no_grad():
        memory(torch.zeros(8, 1, 16))
    assert products.macs == 8 * sum(weight.numel() for weight in memory.parameters() if weight.dim() > 1)


def test_parameters_worked_by_hand(model: VGG) -> None:
    convolutions = 9 * (3 * 2 + 2 * 3 + 3 * 4 + 4 * 4 + 4 * 5 + 5 * 5 + 5 * 6 + 6 * 6)
    weights = convolutions + 24 * 8 + 8 * 7 + 7 * 3
    channels = sum(SPEC.features)
    total = weights + channels + 18 + 2 * channels  # biases, and the batch norms' two vectors
    with torch.no_grad():
        model.classifier[6].weight[0, :2] = 0
    assert parameters(model) == {"total": total, "weights": weights, "nonzero": weights - 2}


def test_the_source_report_s_baseline_has_its_size() -> None:
    with torch.device("meta"):
        layers = prunable_layers(VGG(FULL))
    total = sum(layer.weight.numel() * 4 for layer in layers.values())
    assert total / MIB == pytest.approx(492.725342, abs=5e-7)  # figure 8


def test_bytes_of_every_form_are_those_worked_by_hand() -> None:
    model = VGG(TINY)
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.fill_(1)
        model.classifier[0].weight[0] = 0  # one of 2
        model.features[0].weight[0, 0] = 0  # 9 of 27
    weights, nonzero, rows = 27 + 7 * 9 + 2 + 4 + 4, 27 + 7 * 9 + 2 + 4 + 4 - 10, 8 + 2 + 2 + 2
    mib = {"nonzero_mib": 4 * nonzero / MIB, "zero_mib": 40 / MIB, "total_mib": 4 * weights / MIB}
    assert weights_mib(model) == mib  # biases not at all
    others = sum(tensor.nbytes for tensor in model.state_dict().values()) - 4 * weights
    mask = 4 + 7 * 2 + 3 * 1  # bytes that hold 27, 9 and at most 4 bits
    found = payload_bytes(model)
    assert found["dense_bytes"] == 4 * weights + others
    assert found["bitmask_bytes"] == mask + 4 * nonzero + others
    assert found["csr_bytes"] == 8 * nonzero + 4 * (rows + 11) + others


def test_zstd_shrinks_what_repeats_and_gives_the_same_size_twice() -> None:
    model = VGG(VGGSpec("vgg11", True, (8,) * 8, (16, 16), 2, image_size=32, dropout=0.5))
    noisy = payload_bytes(model)
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.zero_()
    zeros = payload_bytes(model)
    assert zeros["zstd_bytes"] < 0.5 * noisy["zstd_bytes"]
    assert zeros == payload_bytes(model)


@pytest.fixture
def layers() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        made[2].weight.view(-1)[:10] = 0
        made[0].weight.view(-1)[0] = 100.0
    return made


def test_an_outlier_does_not_widen_the_bins_and_is_counted_in_the_last(layers: nn.Module) -> None:
    border = cost.edges(layers)["0"]
    assert border[-1] < 1
    assert border[0] == -border[-1]
    rows = [row for row in cost.histograms(layers, {**cost.edges(layers), "0": border}) if row["layer"] == "0"]
    values = layers[0].weight.detach().flatten()
    assert rows[-1]["count"] == int((values >= border[-2]).sum())


def test_a_layer_of_zeros_has_bins_all_the_same() -> None:
    layer = nn.Sequential(nn.Linear(4, 4))
    nn.init.zeros_(layer[0].weight)
    rows = cost.histograms(layer, cost.edges(layer))
    assert sum(row["count"] for row in rows) == 0
    assert rows[0]["zeros"] == 16


def recipe(*, trainable: str = "all", flip: bool = False, epochs: int = EPOCHS) -> dict[str, Any]:
    return {"trainable": trainable, "epochs": epochs, "augment": {"flip": flip, "crop_padding": 0, "jitter": None}}


def spent(**sections: Any) -> dict[str, tuple[float, float]]:
    """Model -> (own, total), in images times MACs."""
    epochs = {model: 0 if model in UNTRAINED else EPOCHS for model in MACS}
    rows = [{"model": model, "macs": macs} for model, macs in MACS.items()]
    rows = cost.with_training_cost(rows, PLAN, sections, IMAGES, epochs)
    return {row["model"]: (row[OWN] * 1e12, row[TOTAL] * 1e12) for row in rows}


def own(model: str, **sections: Any) -> float:
    return spent(**sections)[model][0]


def test_the_columns_come_behind_the_others_and_hold_every_mac() -> None:
    rows, plan = [{"model": "baseline", "macs": 987_654_321, "n": 5}], Plan(list(PLAN)[:1])
    assert cost.with_training_cost(rows, plan, {}, 4321, {"baseline": 7}) == [
        {"model": "baseline", "macs": 987_654_321, "n": 5, OWN: 29.873580247287, TOTAL: 29.873580247287}
    ]


@pytest.mark.parametrize("model", UNTRAINED)
def test_what_was_not_trained_costs_what_it_builds_on(model: str) -> None:
    baseline = EPOCHS * IMAGES * MACS["baseline"]
    below = baseline + EPOCHS * IMAGES * MACS["shipped/pruned"] * (model == "shipped/quantized")
    assert spent()[model] == (0, pytest.approx(below))


@pytest.mark.parametrize(("flip", "answers"), [(False, 1), (True, EPOCHS)])
def test_a_student_costs_its_teacher_s_training_and_answers(flip: bool, answers: int) -> None:
    found = spent(distill={"student": {"recipe": recipe(flip=flip)}})
    here, total = found["students/dkd"]
    assert here == pytest.approx(IMAGES * (EPOCHS * MACS["students/dkd"] + answers * MACS["teachers/big"]))
    assert total == pytest.approx(here + found["teachers/big"][0])
    assert found["students/alone"] == (EPOCHS * IMAGES * MACS["students/alone"],) * 2


@pytest.mark.parametrize("changed", [{"trainable": "all"}, {"trainable": "head", "flip": True}])
def test_whole_networks_and_changed_images_cost_every_epoch(changed: dict[str, Any]) -> None:
    assert own("baseline", finetune=recipe(**changed)) == EPOCHS * IMAGES * MACS["baseline"]


@pytest.mark.parametrize(
    ("model", "sections"),
    [
        ("teachers/big", {"teachers": {"big": {"recipe": recipe(trainable="head")}}}),
        ("pruned/a", {"prune": {"finetune": recipe(trainable="head")}}),
        ("shipped/pruned", {"prune": {"finetune": recipe(trainable="head")}}),
        ("quantized/qat", {"quant": {"qat": recipe(trainable="head")}}),
    ],
)
def test_every_family_follows_its_own_recipe(model: str, sections: dict[str, Any]) -> None:
    assert own(model, **sections) == IMAGES * MACS[model]
    assert spent(**sections)["baseline"] == (EPOCHS * IMAGES * MACS["baseline"],) * 2


def test_students_run_whole_even_where_only_the_head_learns() -> None:
    assert spent(distill={"student": {"recipe": recipe(trainable="head")}}) == spent()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    meta = {"classes": ["a"], "image_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "source": "s", "checksum": "c"}
    files.write_json(tmp_path / "data/meta.json", {**meta, "counts": {"train": 90, "validation": 10, "heldout": 20}})
    return tmp_path / "data"


def test_epochs_are_read_of_all_but_models_before_fine_tuning(tmp_path: Path, data: Path) -> None:
    files.write_text(tmp_path / "baseline.csv", f"{HEAD}1,1,1,1,1\n2,1,1,1,1\n")
    files.write_text(tmp_path / "quantized/ptq.csv", HEAD)
    plan = Plan(row for row in PLAN if row.id in ("baseline", "masked/a", "quantized/ptq"))
    assert cost.read_trainings(tmp_path, plan, data) == (90, {"baseline": 2, "quantized/ptq": 0})


def test_a_trained_model_of_a_family_that_nobody_knows_is_an_error() -> None:
    plan = Plan([*list(PLAN)[:1], PlannedModel("pruned/new", "pruned", "prune", builds_on="baseline")])
    rows = [{"model": model, "macs": 1} for model in plan.ids]
    with pytest.raises(UserError, match=r"pruned/new: trained for 3 epochs, but the plan names no recipe"):
        cost.with_training_cost(rows, plan, {}, IMAGES, {"baseline": 1, "pruned/new": 3})


def test_what_builds_on_a_student_costs_its_teacher_once() -> None:
    quantized = PlannedModel("combined/dq", "combined", "quantize", teacher="teachers/big", builds_on="students/dkd")
    rows = [{"model": model, "macs": macs} for model, macs in (MACS | {"combined/dq": 5}).items()]
    epochs = {row.id: EPOCHS for row in PLAN if row.recipe}
    costed = cost.with_training_cost(rows, Plan([*PLAN, quantized]), {}, IMAGES, epochs)
    found = {row["model"]: row for row in costed}
    assert found["combined/dq"][OWN] == 0
    assert found["combined/dq"][TOTAL] == found["students/dkd"][TOTAL]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"baseline\.csv: no such file"),
        ("loss\n1.0\n", r"baseline\.csv: lacks the column epoch; run the stage that makes it again"),
        ("epoch\nsoon\n", r"baseline\.csv: the column epoch must hold whole numbers alone"),
        ("epoch,loss\n1,2\n,2\n", r"baseline\.csv: the column epoch must hold whole numbers alone"),
    ],
)
def test_a_history_that_says_nothing_is_named(tmp_path: Path, data: Path, content: str | None, message: str) -> None:
    if content is not None:
        files.write_text(tmp_path / "baseline.csv", content)
    with pytest.raises(UserError, match=message):
        cost.read_trainings(tmp_path, Plan(list(PLAN)[:1]), data)
