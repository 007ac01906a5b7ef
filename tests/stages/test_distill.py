"""The distill stages: a student and its history; the same after a stop; every mistake in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import Result

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import open_fit, write_fit
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.training import loop
from deepcompress.training.run import TrainingData
from stages import distill
from tests.data.inputs import CLASSES, source
from tests.stages.commands import invoke, network, refused, write_params
from tests.training.interruption import StoppedError, same

TEACHER = "models/teachers/vgg16.safetensors"
DISTILL: dict[str, Any] = {
    "student": network("vgg11"),
    "cache_budget_mib": 16,
    "methods": {
        "logit": {"cross_entropy": 0.1, "weight": 0.9},
        "hint": {},
        "crd": {"negatives": 8, "width": 16},
    },
    "mixtures": {"crd_logit": {"cross_entropy": 0.1, "losses": {"crd": 0.8, "logit": 0.9}}},
    "controls": {"independent": {"label_smoothing": 0.0}, "label_smoothing": {"label_smoothing": 0.1}},
    "teachers": ["vgg16"],
    "selected": {"methods": [], "teachers": []},
}


def prepare(*, classes: tuple[str, ...] = CLASSES, **section: Any) -> None:
    """Params, 48 images and a teacher."""
    write_params(distill={**DISTILL, **section})
    meta = write_fit(Path("data/fit"), source(train=60, size=32), validation_fraction=0.2, seed=0)
    torch.manual_seed(7)
    teacher = VGG(VGGSpec("vgg16", True, (4,) * 13, (8, 8), len(classes), 32, 0.2))
    view = View(32, meta.mean, meta.std)
    checkpoint.save(TEACHER, teacher, view=view, classes=classes, provenance={})


def run(name: str, folder: str = "out", *, taught: bool = True) -> Result:
    paths = {"model": f"{folder}/{name}.safetensors", "history": f"{folder}/{name}.csv"}
    paths |= {"teacher": TEACHER} if taught else {}
    return invoke(distill.main, method=name, fit="data/fit", **paths)


def outputs(project: Path, name: str, folder: str = "out") -> list[bytes]:
    return [(project / folder / f"{name}{end}").read_bytes() for end in (".safetensors", ".csv")]


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    assert run("crd").exit_code == 0
    straight, epochs, epoch_ = outputs(project, "crd"), [], loop._Run.epoch_

    def stopped(training: Any, number: int, *arguments: Any) -> None:
        if len(epochs) == 1 and not Path("stopped").exists():
            Path("stopped").touch()
            raise StoppedError
        epochs.append(number)
        epoch_(training, number, *arguments)

    monkeypatch.setattr(loop._Run, "epoch_", stopped)
    assert isinstance(run("crd", "again").exception, StoppedError)
    assert not Path("again").exists()
    assert run("crd", "again").exit_code == 0
    assert epochs == [0, 1]
    assert outputs(project, "crd", "again") == straight
    assert not list(project.glob(".scratch/distill/*"))


@pytest.mark.parametrize("name", ["logit", "hint", "crd", "crd_logit"])
def test_model_and_history_agree(project: Path, name: str) -> None:
    prepare()
    done = run(name)
    assert done.exit_code == 0, done.output
    loaded, fit = checkpoint.load(f"out/{name}.safetensors"), open_fit(Path("data/fit"))
    history = pd.read_csv(f"out/{name}.csv")
    logits = accuracy.logits(loaded.model, Batches(fit.validation, loaded.view, batch_size=16))
    assert loaded.model.spec.arch == "vgg11"
    assert loaded.classes == CLASSES
    assert history["validation_loss"].iloc[-1] == pytest.approx(accuracy.cross_entropy(*logits), rel=1e-5)


def test_every_method_starts_from_the_same_weights_and_sees_the_same_images(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    starts = []

    def look(model: VGG, goal: object, data: TrainingData, recipe: object, **_: object) -> None:
        starts.append({**model.state_dict(), "indices": next(data.train.epoch(0)).indices})
        raise StoppedError

    monkeypatch.setattr(loop, "train", look)
    for name in ("logit", "hint", "crd", "independent"):
        assert isinstance(run(name, taught=name != "independent").exception, StoppedError)
    assert len(starts) == 4
    assert all(same(starts[0], other) for other in starts[1:])


def test_students_of_a_teacher_share_its_outputs_and_do_not_see_options_of_others(project: Path) -> None:
    prepare()
    run("logit")
    written = outputs(project, "logit")
    (folder,) = (project / ".scratch/teacher").iterdir()
    before = (folder / "logits.npy").stat().st_mtime_ns
    assert run("crd_logit").exit_code == 0
    assert [path.name for path in (project / ".scratch/teacher").iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["features-pooled.npy", "logits.npy"]
    assert (folder / "logits.npy").stat().st_mtime_ns == before
    prepare(methods={**DISTILL["methods"], "crd": {"negatives": 9}})
    assert run("logit").exit_code == 0
    assert outputs(project, "logit") == written


def test_label_smoothing_is_another_student_and_says_what_it_used(project: Path) -> None:
    prepare()
    for name in ("independent", "label_smoothing"):
        assert run(name, taught=False).exit_code == 0
    losses = [pd.read_csv(f"out/{name}.csv")["train_loss"].iloc[0] for name in ("independent", "label_smoothing")]
    assert losses[0] != losses[1]
    used = checkpoint.load("out/label_smoothing.safetensors").provenance["params"]
    assert used["control"] == {"label_smoothing": {"label_smoothing": 0.1}}


def test_a_mistake_ends_in_one_line_and_writes_nothing(project: Path) -> None:
    prepare(methods={"hint": {"guided_layer": "block3"}}, mixtures={})
    message = "params.yaml: distill.methods.hint: block3 of the student gives maps of 8 x 8, block4.relu1 of the"
    refused(run("hint"), message)
    Path(TEACHER).unlink()
    refused(run("hint"), f"{TEACHER}: no such file")
    assert not Path("out").exists()


@pytest.mark.parametrize(("batch_size", "code"), [(47, 0), (1, 2)])
def test_a_student_that_cannot_learn_from_one_image_gets_more_or_names_the_key(
    project: Path, batch_size: int, code: int
) -> None:
    own = dict.fromkeys(("batch_norm", "width", "hidden", "dropout"))
    recipe = {**DISTILL["student"]["recipe"], "batch_size": batch_size, "epochs": 1}
    prepare(student={**DISTILL["student"], **own, "arch": "mobilenet_v3_small", "recipe": recipe})
    done = run("logit")
    assert done.exit_code == code, done.output
    if code:
        assert "set batch_size in this stage's section of params.yaml to 2 or more" in done.output.splitlines()[-1]
