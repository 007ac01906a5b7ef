"""The distill_on stage: a pruned model keeps its zeros and its shape, and trains as long as without a teacher."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import Result

from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.pruning import masks
from stages import distill_on
from tests.data.inputs import CLASSES
from tests.stages import test_distill
from tests.stages.commands import RECIPE, invoke, refused, write_params
from tests.stages.test_distill import TEACHER

FINETUNE = {**RECIPE, "epochs": 3, "weight_decay": 0.5}
WIDTHS = (4, 4, 8, 4, 8, 8, 4, 8)  # fewer channels than `distill.student` has


@pytest.fixture
def source(project: Path) -> VGG:
    """A network with fewer channels, half of its weights zero, beside params, 48 images and a teacher."""
    test_distill.prepare()
    write_params(distill=test_distill.DISTILL, prune={"finetune": FINETUNE})
    torch.manual_seed(3)
    model = VGG(VGGSpec("vgg11", True, WIDTHS, (8, 8), len(CLASSES), 32, 0.2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[torch.rand_like(parameter) < 0.5] = 0
    view = checkpoint.load(TEACHER).view
    checkpoint.save("pruned.safetensors", model, view=view, classes=CLASSES, provenance={})
    return model


def run(method: str = "hint") -> Result:
    paths = {"teacher": TEACHER, "source": "pruned.safetensors", "model": "out/chain.safetensors"}
    return invoke(distill_on.main, method=method, fit="data/fit", history="out/chain.csv", **paths)


@pytest.mark.parametrize("method", ["hint", "crd_logit"])
def test_zeros_and_shapes_stay_and_all_else_learns_as_prune_finetune_says(
    source: VGG, project: Path, method: str
) -> None:
    done = run(method)
    assert done.exit_code == 0, done.output
    trained = checkpoint.load("out/chain.safetensors")
    assert trained.model.spec == source.spec
    assert trained.classes == CLASSES
    for name, before in source.named_parameters():
        if before.dim() > 1:
            after = trained.model.get_parameter(name)
            assert (after[before == 0] == 0).all()
            assert not torch.equal(after, before)
    assert trained.description["encodings"] == masks.encodings(source)
    assert pd.read_csv("out/chain.csv")["epoch"].tolist() == [1, 2, 3]
    recipe = trained.provenance["params"]["student"]["recipe"]
    assert {key: recipe[key] for key in FINETUNE} == FINETUNE
    assert not list(project.glob(".scratch/distill/*"))


def test_the_teacher_matters_and_a_second_run_gives_the_same_bytes(source: VGG) -> None:
    written = []
    for method in ("hint", "hint", "logit"):
        assert run(method).exit_code == 0
        written.append(Path("out/chain.csv").read_bytes())
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("independent", "params.yaml: distill.methods has no 'independent'; it has logit, hint, crd, crd_logit"),
        ("logit", f"{TEACHER}: the teacher tells 2 classes apart, the training images have 3"),
    ],
)
def test_a_mistake_ends_in_one_line_and_writes_nothing(source: VGG, method: str, message: str) -> None:
    other = VGG(VGGSpec("vgg16", True, (4,) * 13, (8, 8), 2, 32, 0.2))
    view = checkpoint.load(TEACHER).view
    checkpoint.save(TEACHER, other, view=view, classes=("ant", "bee"), provenance={})
    refused(run(method), message)
    assert not Path("out").exists()
