"""Every model of the plan is measured, and only what changed is measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepcompress.data.heldout import open_heldout
from deepcompress.errors import UserError
from deepcompress.measure import evaluation
from deepcompress.measure import passes as passing
from deepcompress.measure.settings import Evaluate
from deepcompress.models import checkpoint
from deepcompress.plan_table import Plan
from tests.data import inputs

SETTINGS = Evaluate(batch_size=4, calibration_bins=15)
CPU = torch.device("cpu")
Make = Callable[..., Path]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were run over the images."""
    seen: list[str] = []
    measure = passing.measure

    def counting(path: Path, *arguments: Any, **more: Any) -> Any:
        seen.append(path.stem)
        return measure(path, *arguments, **more)

    monkeypatch.setattr(passing, "measure", counting)
    return seen


def run(project: Path, settings: Evaluate = SETTINGS) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    models = Plan.read(project / "results/plan.csv").paths(project / "models")
    found = evaluation.evaluate(models, [], project / "data/heldout", settings, CPU)
    assert found["pairs"] == []
    return found["evaluation"], found["per_class"]


def two_models(plan: Make, add_model: Make) -> None:
    plan("pruned/structured-0.25", "baseline")
    add_model("baseline", 0)
    add_model("pruned/structured-0.25", 1)


def test_a_row_holds_what_a_plain_loop_over_the_images_finds(project: Path, plan: Make, add_model: Make) -> None:
    plan("baseline")
    loaded = checkpoint.load(add_model("baseline"))
    heldout = open_heldout(project / "data/heldout")
    right, loss = 0, 0.0
    for image, label in zip(heldout.arrays.images, heldout.arrays.labels, strict=True):
        pixels = torch.tensor(image).permute(2, 0, 1)[None]
        pixels = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
        with torch.no_grad():
            shares = loaded.model((pixels / 255 - 0.5) / 0.25).softmax(1)
        right += int(shares.argmax() == label)
        loss -= shares[0, label].log().item() / 9
    ((row,), per_class) = run(project)
    assert row["top1_pct"] == pytest.approx(100 * right / 9, abs=0.01)
    assert row["cross_entropy_loss"] == pytest.approx(loss, rel=1e-3)
    assert row["n"] == 9
    assert sum(line["n"] for line in per_class) == 9
    assert sum(line["n"] * line["top1_pct"] for line in per_class) == pytest.approx(100 * right, abs=0.1)


def test_the_baseline_comes_first_and_the_others_are_compared_with_it(
    project: Path, plan: Make, add_model: Make
) -> None:
    two_models(plan, add_model)
    rows, per_class = run(project)
    assert [row["model"] for row in rows] == ["baseline", "pruned/structured-0.25"]
    assert rows[0]["mcnemar_p"] is None
    assert rows[1]["mcnemar_p"] is not None
    assert rows[1]["difference_points"] == pytest.approx(rows[1]["top1_pct"] - rows[0]["top1_pct"], abs=0.02)
    assert [line["class"] for line in per_class] == [*inputs.CLASSES] * 2


def test_a_second_run_computes_no_pass_and_says_the_same(
    project: Path, plan: Make, add_model: Make, passes: list[str]
) -> None:
    two_models(plan, add_model)
    first = run(project)
    assert passes == ["baseline", "structured-0.25"]
    assert run(project) == first
    assert passes == ["baseline", "structured-0.25"]


def test_one_changed_model_costs_one_pass(project: Path, plan: Make, add_model: Make, passes: list[str]) -> None:
    two_models(plan, add_model)
    run(project)
    passes.clear()
    add_model("pruned/structured-0.25", 2)
    run(project)
    assert passes == ["structured-0.25"]


def test_other_images_and_other_code_cost_a_pass_and_other_bins_do_not(
    project: Path, plan: Make, add_model: Make, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan("baseline")
    add_model("baseline")
    run(project)
    run(project, Evaluate(batch_size=4, calibration_bins=3))
    assert len(passes) == 1
    np.save(project / "data/heldout/images.npy", inputs.pixels(5, 9, 8, 8, 3))
    run(project)
    assert len(passes) == 2
    monkeypatch.setattr("deepcompress.runtime.source_digest", lambda: "another")
    run(project)
    assert len(passes) == 3


def test_a_pass_that_was_cut_off_before_its_logits_were_whole_is_repeated(
    project: Path, plan: Make, add_model: Make, passes: list[str]
) -> None:
    plan("baseline")
    add_model("baseline")
    first = run(project)
    next((project / ".scratch").rglob("logits.npy")).unlink()
    assert run(project) == first
    assert len(passes) == 2


@pytest.mark.parametrize("name", ["logits.npy", "counts.json"])
@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "other"])
def test_a_damaged_pass_is_repeated(
    project: Path, plan: Make, add_model: Make, passes: list[str], caplog: Any, name: str, damage: str
) -> None:
    two_models(plan, add_model)
    first = run(project)
    path = next((project / ".scratch").rglob(name))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    path.write_bytes({"empty": b"", "cut": content[:middle], "flip": content, "other": b"[3]"}[damage])
    assert run(project) == first
    assert len(passes) == 3
    assert f"{path.parent} is damaged: the model answers again" in caplog.text
    assert run(project) == first
    assert len(passes) == 3


def test_batch_size_changes_no_number(project: Path, plan: Make, add_model: Make) -> None:
    two_models(plan, add_model)
    assert run(project) == run(project, Evaluate(batch_size=9, calibration_bins=15))


def test_a_missing_model_is_named(project: Path, plan: Make, add_model: Make) -> None:
    plan("baseline", "pruned/structured-0.25", "quantized/int8")
    add_model("baseline")
    with pytest.raises(UserError, match=r"structured-0\.25\.safetensors \(and 1 more\): no such file, but .*plan"):
        run(project)


def test_an_orphaned_model_is_named(project: Path, plan: Make, add_model: Make) -> None:
    plan("baseline")
    add_model("baseline")
    add_model("students/dkd")
    with pytest.raises(UserError, match=r"students/dkd\.safetensors: no model of the plan"):
        run(project)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("ant", "bee"), "the model tells 2 classes apart, the held-out data has 3"),
        (("ant", "cat", "bee"), "the model's class 1 is 'cat', the held-out data's is 'bee'"),
    ],
)
def test_a_model_for_other_classes_is_refused(
    project: Path, plan: Make, add_model: Make, classes: tuple[str, ...], message: str
) -> None:
    plan("baseline")
    add_model("baseline", 0, classes)
    with pytest.raises(UserError, match=rf"baseline\.safetensors: {message}"):
        run(project)


def test_a_damaged_model_is_named(project: Path, plan: Make, add_model: Make) -> None:
    plan("baseline")
    path = add_model("baseline")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"baseline\.safetensors: not a whole safetensors file"):
        run(project)


def test_a_pair_says_what_the_two_rows_say(project: Path, plan: Make, add_model: Make) -> None:
    two_models(plan, add_model)
    models = Plan.read(project / "results/plan.csv").paths(project / "models")
    pair = ("pruned/structured-0.25", "baseline")
    found = evaluation.evaluate(models, [pair], project / "data/heldout", SETTINGS, CPU)
    (row,), compared = found["pairs"], found["evaluation"][1]
    assert (row["model"], row["reference"]) == pair
    assert all(row[name] == compared[name] for name in ("n", "difference_points", "mcnemar_p"))
    assert row["agreement_pct"] == compared["agreement_with_baseline_pct"]
