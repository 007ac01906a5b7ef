"""What holds for every file in steps/, whoever adds one: it runs, keeps a pruned model's zeros, and repeats itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deepcompress import registry
from deepcompress.combine.settings import FIRST, STEPS
from deepcompress.models.vgg import prunable_layers
from tests.stages.test_combine import loaded, project, run  # noqa: F401

NAMES = registry.names(STEPS)


def go(*steps: str) -> Path:
    """Take the baseline through the steps; returns the file of the model."""
    document = yaml.safe_load(Path("params.yaml").read_text())
    document["combine"]["models"] = {"_".join(steps): list(steps)}
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    done = run("_".join(steps))
    assert done.exit_code == 0, done.output
    return Path(f"{'_'.join(steps)}.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_a_step_makes_the_same_model_twice(name: str, project: Path) -> None:  # noqa: F811
    first = go(name).read_bytes()
    assert go(name).read_bytes() == first
    weights = [layer.weight for layer in prunable_layers(loaded(f"{name}.safetensors")).values()]
    assert all(weight.isfinite().all() for weight in weights)


@pytest.mark.parametrize("name", [name for name in NAMES if name != FIRST])
def test_a_step_keeps_the_zeros_of_a_pruned_model(name: str, project: Path) -> None:  # noqa: F811
    pruned = prunable_layers(loaded(str(go(FIRST))))
    after = prunable_layers(loaded(str(go(FIRST, name))))
    zeros = {layer: module.weight == 0 for layer, module in pruned.items()}
    assert sum(int(zero.sum()) for zero in zeros.values())
    assert all((after[layer].weight[zero] == 0).all() for layer, zero in zeros.items())
