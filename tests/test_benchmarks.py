"""Every benchmark on tiny networks and few images: right numbers, equal results, whole tables, whatever the speed."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from click import Command
from click.testing import CliRunner
from torch import nn

from benchmarks import batches, coding, engines, estimate, pipeline, precision, quantize, sensitivity, train, vectors
from benchmarks.pipeline_items import Item, Made, Trio, equal_row, items
from benchmarks.pruned_peer import PEERS, macs, peer
from benchmarks.verdicts import main as verdicts
from deepcompress import runtime
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.errors import UserError
from deepcompress.measure.verdict import COLUMNS
from deepcompress.models import checkpoint
from deepcompress.models.encodings import coded
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.quantization.quantize import round_vectors_
from deepcompress.training.recipe import Recipe
from deepcompress.training.run import TrainingData
from tests.data import inputs
from tests.nets import VIEW


def printed(command: Command, *arguments: object, code: int = 0) -> str:
    """What a benchmark prints; it must end with that exit code."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(("stored", "size"), [(8, 20), (16, 8), (8, 8)])
def test_both_ways_to_batches_give_the_same_input_within_one_grey_level(stored: int, size: int) -> None:
    assert batches.largest_difference(batches.random_arrays(8, stored), size) <= 1 + 1e-3


@pytest.fixture
def unchanged_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


@pytest.mark.usefixtures("unchanged_determinism")
@pytest.mark.parametrize(
    ("command", "words", "shown"),
    [
        (batches, "--images 8 --stored 8 --size 12 --batch-size 4 --workers 0 --repeats 2",
         ["ours  ", "plain, PIL", "ours vs ours, mapped", "ours vs plain, tensors", "grey levels"]),
        (quantize, "--size 32 --width 0.02 --samples 4 --step-width 0.02 --batch-size 4 --repeats 1",
         ["4 steps int4 over fp32", "search by output error", "packing"]),
        (sensitivity, "--images 4 --batch-size 2 --size 32 --width 0.02 --sparsities 3",
         ["unstructured, ours vs unstructured, plain", "33 counts, none of them different",
          "30 counts, none of them different"]),
        (train, "--width 0.02 --hidden 50 --batch-size 2 --repeats 2",
         ["forward  ", "of matmul; wanted: at least 80 %", "training  ", "of matmul; wanted: at least 60 %"]),
    ],
)  # fmt: skip
def test_what_takes_turns_has_a_line_each_and_ratios(
    command: ModuleType, words: str, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SIDES", (8, 16))
    said = printed(command.main, *words.split())
    assert [line for line in shown if line not in said] == []


def test_flops_of_a_training_step_equal_a_count_by_hand() -> None:
    model = batches.vgg11(width=1.0, size=32, batch_norm=True)
    layers = ((3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 256, 8), (256, 512, 4), (512, 512, 4))
    convolutions = [9 * inputs * outputs * side**2 for inputs, outputs, side in layers]
    total = sum(convolutions) + 2 * 9 * 512 * 512 * 2**2 + 512 * 4096 + 4096**2 + 4096 * 100
    flops = train.count_flops(model, 10)
    assert flops["forward"] == 3 * 10 * 2 * total
    assert flops["training"] == 10 * 2 * (3 * total - convolutions[0])


def test_flops_and_bytes_of_the_estimate_are_those_worked_by_hand() -> None:
    network = estimate.Network(macs=1000, values=50, widest=20, parameters=7)
    how = {"trainable": "all", "epochs": 2, "batch_size": 10, "optimizer": "adam"}
    found = estimate.training("finetune", network, how, images=90, validation=10, extra=5.0)
    assert found.flops == 2 * 1000 * (2 * 10 + 3 * 2 * 90) + 5
    assert found.size_bytes == 4 * (7 * 4 + 10 * 50)


def test_a_preset_is_estimated_on_every_device() -> None:
    first, *rows = printed(estimate.main, "quick").split("\n\n")[0].splitlines()
    assert first.startswith("preset quick: ")
    assert rows[0].endswith("8-core CPU | T4 | A100 | H100")
    sums = [float(row.split(" | ")[2]) for row in rows[1:]]
    assert sums[-1] == pytest.approx(sum(sums[:-1]), rel=0.01)


@pytest.mark.parametrize("name", PEERS)
def test_a_pruned_peer_has_no_more_macs_than_asked_and_not_many_fewer(name: str) -> None:
    torch.manual_seed(0)
    dense = VGG(VGGSpec("vgg11", True, (16,) * 8, (16, 16), 4, 32, 0.0))
    for layer in dense.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    before = macs(dense)
    small = peer(dense, name, before // 2, 4)
    assert 0.2 * before < macs(small) <= before // 2
    assert macs(dense) == before
    assert small(torch.randn(2, 3, 32, 32)).shape == (2, 4)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / ".scratch"))
    monkeypatch.setattr(engines, "ENGINES", ("pytorch", "onnxruntime_int8"))
    inputs.write(tmp_path, inputs.source(train=24, test=6), validation_fraction=0.5)
    for name, width in (("dense", 4), ("narrow", 2)):
        network = VGG(VGGSpec("vgg11", False, (width,) * 8, (5, 5), len(inputs.CLASSES), 32, 0.5))
        checkpoint.save(tmp_path / f"{name}.safetensors", network, view=VIEW, classes=inputs.CLASSES, provenance={})
    return [str(tmp_path / "dense.safetensors"), str(tmp_path / "narrow.safetensors"), "--data", str(tmp_path)]


def test_each_form_of_a_network_has_a_row_that_compares_with_the_first(arguments: list[str]) -> None:
    lines = printed(engines.main, *arguments, "--rounds", 1, "--heldout").splitlines()
    title, _, *rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert title[2] == "Top-1 %, n = 6"
    assert [row[:2] for row in rows] == [
        [name, engine] for name in ("dense", "narrow") for engine in ("pytorch", "onnxruntime_int8")
    ]
    assert rows[0][3:6:2] == ["", "1.0×"]
    assert {len(row) for row in rows} == {8}


def test_a_peer_of_engines_is_given_the_dense_network_and_the_calibration_images(
    arguments: list[str], tmp_path: Path
) -> None:
    printed(engines.main, *arguments, "--export", tmp_path)
    images = np.load(tmp_path / "images.npy")
    assert images.shape == (12, 3, 32, 32)
    assert OnnxClassifier(tmp_path / "dense.onnx").run(images).shape == (12, 3)
    assert not list(tmp_path.glob("narrow*.onnx"))


def made(right: int, shift: float, seconds: float) -> Made:
    """A model with a weight of norm 1, shifted by a share of that."""
    return Made(seconds, [40, right], {"w": np.array([0.6 + shift, 0.8])})


def trio(
    kind: str, *, right: int = 50, shift: float = 0.0, far: int = 0, turn: float = 0.0, ours_s: float = 1.0
) -> Trio:
    """An item whose plain way was right on 50 images; `far` images and `turn` away is its twin."""
    item = Item(f"{kind}s", kind)
    return Trio(item, made(50, 0.0, 3.0), made(50 + far, turn, 2.0), made(right, shift, ours_s))


@pytest.mark.parametrize(
    ("ours", "twin", "equal"),
    [
        ({"right": 51, "shift": 0.029}, {}, True),  # what may differ always
        ({"right": 52}, {}, False),
        ({"shift": 0.031}, {}, False),
        ({"right": 46}, {"far": 2}, True),  # twice as far as rounding takes the plain way
        ({"right": 45}, {"far": 2}, False),
        ({"shift": 0.059}, {"turn": 0.03}, True),
        ({"shift": 0.061}, {"turn": 0.03}, False),
        ({"right": 54}, {"turn": 0.5}, False),  # far weights excuse no accuracy
    ],
)
def test_results_are_equal_at_twice_the_distance_that_rounding_makes(
    ours: dict[str, Any], twin: dict[str, Any], equal: bool
) -> None:
    other = trio("student", **twin)
    assert equal_row([trio("student", **ours), other], "students") is equal
    assert equal_row([trio("student", **ours, **twin)], "students") is equal
    # What rounding does to items of another kind excuses nothing.
    alone = equal_row([trio("student", **ours), trio("prune", **twin)], "students")
    assert alone is (equal and not twin)


def test_all_ways_end_with_equal_models_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    last = {item.row: item for item in items()}  # of each row
    monkeypatch.setattr(pipeline, "items", lambda: [*last.values()])
    lines = printed(pipeline.main, "--quick").splitlines()
    for row in [*last, "total"]:
        (line,) = (line for line in lines if re.match(rf"{row} +\d", line))
        assert "x  yes: " in line, line


CPU = torch.device("cpu")
EPOCHS = 3
STEPS: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 4, "optimizer": "sgd", "schedule": "constant"}
HOW = Recipe(trainable="all", learning_rate=0.01, weight_decay=0.0, **STEPS)


def trained(name: str, scale: float) -> precision.Fate:
    """Of two classes, black and white images, by a linear network whose logits are so many times as large."""
    pixels = np.repeat(np.array([0, 255] * 4, np.uint8), 12).reshape(8, 2, 2, 3)
    arrays, view = Arrays(pixels, np.array([0, 1] * 4)), View(2, (0.5,) * 3, (0.5,) * 3)
    data = TrainingData(Batches(arrays, view, batch_size=4, seed=0), Batches(arrays, view, batch_size=4))
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        net[1].weight.copy_(scale * torch.tensor([[0.01], [-0.01]]).expand(2, 12))
    return precision.train(net, data, HOW, precision.fabric_of(name, CPU))


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_small_numbers_are_learnt_from_in_every_precision(name: str) -> None:
    assert precision.fabric_of(name, CPU).strategy.precision.precision == name
    fate = trained(name, 1.0)
    assert (fate.steps, fate.not_finite, fate.lost_steps) == (2 * EPOCHS, 0, 0)
    assert fate.losses[-1] < fate.losses[0]
    assert fate.top1_pct == 100.0


@pytest.mark.parametrize(("name", "lost"), [("32-true", 0), ("bf16-true", 0), ("16-true", 2 * EPOCHS)])
def test_logits_beyond_the_range_of_fp16_are_counted_as_lost(name: str, lost: int) -> None:
    fate = trained(name, 1e6)
    assert (fate.not_finite, fate.lost_steps) == (lost, lost)
    assert np.isnan(fate.losses).all() == (lost > 0)


LAYERS = {"conv": np.tile(np.array([-1, 0, 0, 1], np.int8), (8, 50)), "linear": np.zeros((4, 6), np.int8)}


def saved(path: Path, *, integers: bool) -> checkpoint.Checkpoint:
    """A small network on disk, with its vectors in float16 if in integers."""
    model, quantized = coding.full_width(16, width=16)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -1, 1)
    if integers:
        round_vectors_(model)
    encodings = {name: checkpoint.Encoded("coded", coded.encode(weight)) for name, weight in quantized.items()}
    classes, chosen = tuple(map(str, range(100))), encodings if integers else {}
    checkpoint.save(path, model, view=VIEW, classes=classes, provenance={}, encodings=chosen)
    return checkpoint.load(path)


def test_entropy_is_the_sum_of_the_layers() -> None:
    assert coding.entropy_bytes(LAYERS.values()) == pytest.approx(1.5 * 1600 / 8)  # halves of zeros; a constant: none


def test_coded_integers_have_a_line_per_model_and_the_loads(tmp_path: Path) -> None:
    saved(tmp_path / "int4.safetensors", integers=True)
    np.savez(tmp_path / "layers.npz", **LAYERS)
    shown = printed(coding.main, tmp_path / "int4.safetensors", tmp_path / "layers.npz")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()]
    assert {len(line) for line in lines} == {len(coding.HEADER + coding.TIMES)}
    assert [line[-1] for line in lines[2:]] == ["yes", "yes"]
    assert int(lines[2][7].replace(",", "")) > int(lines[2][6].replace(",", ""))  # scales come on top


def test_files_without_integers_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "fp32.safetensors", integers=False)
    np.savez(tmp_path / "floats.npz", conv=np.zeros((2, 2), np.float32))
    for name, why in {"fp32.safetensors": "no weight is stored as integers", "floats.npz": "conv must be int8"}.items():
        assert f"{name}: {why}" in printed(coding.main, tmp_path / name, code=2)


def test_vectors_are_put_back_into_the_model_they_come_from_only(tmp_path: Path) -> None:
    rounded = saved(tmp_path / "int4.safetensors", integers=True)
    source = saved(tmp_path / "fp32.safetensors", integers=False)
    means = [value.clone() for name, value in source.model.state_dict().items() if name.endswith("running_mean")]
    found = vectors.with_float32(rounded, source).model.state_dict()
    assert all(map(torch.equal, means, [value for name, value in found.items() if name.endswith("running_mean")]))
    next(module for module in source.model.modules() if isinstance(module, nn.BatchNorm2d)).bias.data += 1
    with pytest.raises(UserError, match="another model"):
        vectors.with_float32(rounded, source)


EVALUATION = """model,family,step,builds_on,training_tera_macs
baseline,baseline,finetune,,1.0
pruned/a,pruned,prune,baseline,1.0
pruned/b,pruned,prune,baseline,1.0
quantized/c,quantized,quantize,baseline,
"""


def replicates(path: Path, a: list[float], b: list[float], c: tuple[int, int]) -> Path:
    """Points of two trained models over seeds; images that a rounded one alone, and the baseline alone, got right."""
    rows = [",".join(COLUMNS)]
    for seed, points in enumerate(zip(a, b, strict=True)):
        rows.append(f"{seed},baseline,,2000,90.0,,,,")
        trained = zip(("pruned/a", "pruned/b"), points, strict=True)
        rows += [f"{seed},{model},baseline,2000,{90 + of},{of},9,9,0.0" for model, of in trained]
        gained, lost = c if seed == 0 else (9, 9)
        rows.append(f"{seed},quantized/c,baseline,2000,90.0,{(gained - lost) / 20},{gained},{lost},0.0")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.csv"
    path.write_text(EVALUATION)
    return path


def test_equal_changed_and_turned_verdicts_are_counted_by_what_they_rest_on(tmp_path: Path, evaluation: Path) -> None:
    first = replicates(tmp_path / "a.csv", [6.0, 6.1, 5.9], [-2.0, -2.1, -1.9], (5, 60))
    second = replicates(tmp_path / "b.csv", [-6.0, -6.1, -5.9], [-2.0, -0.2, -4.0], (6, 59))
    told = printed(verdicts, first, second, "--evaluation", evaluation).splitlines()
    counts = ["| all | 3 | 1 (33.3 %) | 1 |", "| seeds | 2 | 0 (0.0 %) | 1 |", "| images | 1 | 1 (100.0 %) | 0 |"]
    assert told[2:6] == [*counts, "| all, each taken alone | 3 | 1 (33.3 %) | 1 |"]
    assert told[9:11] == ["| pruned | 2 | 1 | 1 | 0 | 1 |", "| quantized | 1 | 0 | 1 | 0 | 1 |"]
    assert told[14].startswith("| `pruned/a` | `baseline` | seeds | +6.00 (+5.84 to +6.16) | gain | -6.00 (")
    assert told[15].endswith("| no significant difference |")
    assert told[16].startswith("| `quantized/c` | `baseline` | images | -2.75 ")
    assert len(told) == 17


def test_a_verdict_is_that_of_its_family_and_says_where_correction_leaves_nothing(
    tmp_path: Path, evaluation: Path
) -> None:
    """0.57 beyond 1 point with an error of 0.17: p = 0.03 by four degrees of freedom, below 0.05 alone, not of two."""
    first = replicates(tmp_path / "a.csv", [1.57, 1.87, 1.27], [0.0, 0.3, -0.3], (9, 9))
    told = printed(verdicts, first, first, "--evaluation", evaluation).splitlines()
    assert told[2] == "| all | 3 | 3 (100.0 %) | 0 |"
    assert told[9:] == ["| pruned | 2 | 0 | 0 | 0 | 0 |", "| quantized | 1 | 0 | 0 | 0 | 0 |"]


def test_tables_of_other_models_are_refused(tmp_path: Path, evaluation: Path) -> None:
    first = replicates(tmp_path / "a.csv", [1.0], [1.0], (1, 1))
    second = tmp_path / "b.csv"
    second.write_text("\n".join(line for line in first.read_text().splitlines() if "pruned/b" not in line))
    assert "must compare the same models" in printed(verdicts, first, second, "--evaluation", evaluation, code=2)
    second.write_text(first.read_text().replace("pruned/b", "pruned/d"))
    assert "has no model pruned/d" in printed(verdicts, first, second, "--evaluation", evaluation, code=2)
