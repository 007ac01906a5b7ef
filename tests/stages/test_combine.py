"""The combine stages: steps that equal the single stages, zeros that stay, mistakes in one line."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from deepcompress import params, runtime
from deepcompress.data.batches import View
from deepcompress.data.store import open_fit, write_fit
from deepcompress.models import checkpoint
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.training import loop
from stages import combine, distill, prune, quantize
from tests.house import ROOT
from tests.stages import test_prune

MODELS = {
    "prune_quantize": ["prune", "quantize"],
    "distill_quantize": ["distill", "quantize"],
    "prune_distill": ["prune", "distill"],
    "prune_distill_quantize": ["prune", "distill", "quantize"],
}


def write_params(**changes: Any) -> None:
    document = params.read(ROOT / "params.yaml")
    distill_section = document["distill"]
    student = distill_section["student"]
    student |= {"width": 0.0625, "hidden": 128, "recipe": {**student["recipe"], "epochs": 1, "batch_size": 8}}
    short = {"epochs": 1, "batch_size": 8}
    document["prune"]["finetune"] |= short
    document["prune"] |= {"method": "unstructured", "sparsity": 0.5}
    document["combine"] = {"method": "logit", "teacher": "baseline", "models": MODELS}
    for key, section in {"train": {"device": "cpu", "precision": "32-true"}, **changes}.items():
        document[key] |= section
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / ".scratch"))
    write_fit(tmp_path / "data/fit", test_prune.inputs.source(train=24, test=3), validation_fraction=0.25, seed=0)
    test_prune.write_params()
    meta = open_fit(tmp_path / "data/fit").meta
    origin = checkpoint.provenance("finetune", seed=1, params={})
    view = View(32, meta.mean, meta.std)
    checkpoint.save(
        "models/baseline.safetensors", test_prune.baseline(), view=view, classes=meta.classes, provenance=origin
    )
    for method in ("unstructured", "structured"):
        assert test_prune.scan(method).exit_code == 0
    write_params()
    return tmp_path


def run(name: str, **instead: str) -> Result:
    options = {
        "fit": "data/fit",
        "source": "models/baseline.safetensors",
        "curves": "unstructured.csv",
        "teacher": "models/baseline.safetensors",
        "model": f"{name}.safetensors",
        "history": f"{name}.csv",
    } | instead
    return CliRunner().invoke(combine.main, ["--name", name, *(f"--{k}={v}" for k, v in options.items())])


def loaded(path: str) -> VGG:
    return checkpoint.load(path).model


def same(one: VGG, other: VGG) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["prune_quantize", "prune_distill_quantize"])
def test_a_run_that_ends_in_a_later_step_does_not_repeat_the_training_before(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_params(quant={"bits": 4, "mode": "qat", "qat": {**params.value("quant.qat"), "epochs": 1, "batch_size": 8}})
    assert run(name).exit_code == 0
    undisturbed = [Path(f"{name}{suffix}").read_bytes() for suffix in (".safetensors", ".csv")]
    trained: list[int] = []
    whole = loop.train

    def counted(*arguments: Any, **options: Any) -> Any:
        trained.append(1)
        if len(trained) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments, **options)

    monkeypatch.setattr(loop, "train", counted)
    assert run(name).exit_code == 2
    assert run(name).exit_code == 0
    assert len(trained) == 3
    assert [Path(f"{name}{suffix}").read_bytes() for suffix in (".safetensors", ".csv")] == undisturbed
    assert not list(Path(".scratch/combine").rglob("state.pt"))


def test_prune_and_quantize_equal_the_single_stages(project: Path) -> None:
    assert run("prune_quantize").exit_code == 0
    arguments = ["--fit", "data/fit", "--source", "models/baseline.safetensors", "--curves", "unstructured.csv"]
    done = CliRunner().invoke(prune.main, [*arguments, "--model", "trained", "pruned.safetensors"])
    assert done.exit_code == 0, done.output
    arguments = ["--fit", "data/fit", "--source", "pruned.safetensors", "--model", "quantized.safetensors"]
    done = CliRunner().invoke(quantize.main, [*arguments, "--history", "h.csv", "--table", "t.csv"])
    assert done.exit_code == 0, done.output
    assert same(loaded("prune_quantize.safetensors"), loaded("quantized.safetensors"))
    assert Path("prune_quantize.safetensors").stat().st_size == pytest.approx(
        Path("quantized.safetensors").stat().st_size, rel=0.2
    )


def test_zeros_stay_zero_through_a_teacher_and_rounding(project: Path) -> None:
    assert run("prune_distill").exit_code == 0
    assert run("prune_distill_quantize").exit_code == 0
    taught, rounded = loaded("prune_distill.safetensors"), loaded("prune_distill_quantize.safetensors")
    dense = loaded("models/baseline.safetensors")
    zero = {name: layer.weight == 0 for name, layer in prunable_layers(taught).items()}
    share = sum(int(m.sum()) for m in zero.values()) / sum(m.numel() for m in zero.values())
    assert share == pytest.approx(0.5, abs=0.01)
    assert not same(taught, dense)
    assert all((prunable_layers(rounded)[name].weight[mask] == 0).all() for name, mask in zero.items())


def test_removed_channels_stay_removed(project: Path) -> None:
    document = yaml.safe_load(Path("params.yaml").read_text())
    document["prune"] |= {"method": "structured", "sparsity": 0.4}
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    done = run("prune_distill", curves="structured.csv")
    assert done.exit_code == 0, done.output
    dense, smaller = loaded("models/baseline.safetensors"), loaded("prune_distill.safetensors")
    assert sum(p.numel() for p in smaller.parameters()) < 0.9 * sum(p.numel() for p in dense.parameters())


def test_a_student_starts_as_the_distill_stage_starts_it(project: Path) -> None:
    write_params(combine={"models": {**MODELS, "distilled": ["distill"]}})
    assert run("distilled").exit_code == 0
    arguments = ["--method", "logit", "--teacher", "models/baseline.safetensors", "--fit", "data/fit"]
    outputs = ["--model", "student.safetensors", "--history", "s.csv", "--seeds", "seeds.csv"]
    assert CliRunner().invoke(distill.main, [*arguments, *outputs]).exit_code == 0
    assert loaded("distilled.safetensors").spec == loaded("student.safetensors").spec
    assert run("distill_quantize").exit_code == 0
    assert Path("distill_quantize.safetensors").stat().st_size < Path("student.safetensors").stat().st_size


def test_the_history_counts_the_epochs_of_all_steps_and_a_run_can_be_repeated(project: Path) -> None:
    assert run("prune_distill_quantize").exit_code == 0
    assert list(pd.read_csv("prune_distill_quantize.csv")["epoch"]) == [1]
    before = Path("prune_distill_quantize.safetensors").read_bytes()
    assert run("prune_distill_quantize").exit_code == 0
    assert Path("prune_distill_quantize.safetensors").read_bytes() == before


def test_a_name_that_params_do_not_have_is_refused(project: Path) -> None:
    done = run("all_at_once")
    assert done.exit_code == 2
    assert "combine.models has no 'all_at_once'; it has prune_quantize" in done.stderr
    assert not Path("all_at_once.safetensors").exists()
