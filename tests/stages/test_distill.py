"""The distill stages: a student, or a pruned model taught on, and its history; a full disk; mistakes."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import Result

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import open_fit
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.vgg import VGG
from deepcompress.pruning import masks
from deepcompress.training import loop
from deepcompress.training.run import TrainingData
from stages import distill, distill_on
from tests.data.inputs import CLASSES
from tests.nets import same
from tests.stages import commands
from tests.stages.commands import RECIPE, contents, invoke, network, refused, save_vgg, well, write_images, write_params
from tests.training.conftest import StoppedError

TEACHER = "models/teachers/vgg16.safetensors"
DISTILL: dict[str, Any] = {
    "student": network("vgg11"),
    "cache_budget_mib": 16,
    "methods": {"logit": {"cross_entropy": 0.1, "weight": 0.9}, "hint": {}, "crd": {"negatives": 8, "width": 16}},
    "mixtures": {"crd_logit": {"cross_entropy": 0.1, "losses": {"crd": 0.8, "logit": 0.9}}},
    "controls": {"independent": {"label_smoothing": 0.0}, "label_smoothing": {"label_smoothing": 0.1}},
    "teachers": ["vgg16"],
    "selected": {"methods": [], "teachers": []},
}
FINETUNE = {**RECIPE, "epochs": 3, "weight_decay": 0.5}
WIDTHS = (4, 4, 8, 4, 8, 8, 4, 8)  # fewer channels than `distill.student` has


def prepare(**section: Any) -> None:
    """Params, images and a teacher."""
    write_params(distill={**DISTILL, **section}, prune={"finetune": FINETUNE})
    meta = write_images()
    save_vgg(TEACHER, (4,) * 13, seed=7, view=View(32, meta.mean, meta.std))


def run(name: str, folder: str = "out", *, taught: bool = True) -> Result:
    paths = {"model": f"{folder}/{name}.safetensors", "history": f"{folder}/{name}.csv"}
    paths |= {"teacher": TEACHER} if taught else {}
    return invoke(distill.main, method=name, fit="data/fit", **paths)


def test_a_run_that_ends_after_training_does_not_repeat_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    commands.trains_once(lambda folder: run("crd", folder), "distill", monkeypatch)


@pytest.mark.parametrize("name", ["logit", "hint", "crd", "crd_logit"])
def test_model_and_history_agree(project: Path, name: str) -> None:
    prepare()
    well(run(name))
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
    written = contents("out")
    (folder,) = (project / ".scratch/teacher").iterdir()
    before = (folder / "logits.bin").stat().st_mtime_ns
    well(run("crd_logit"))
    assert [path.name for path in (project / ".scratch/teacher").iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["features-pooled.bin", "logits.bin"]
    assert (folder / "logits.bin").stat().st_mtime_ns == before
    prepare(methods={**DISTILL["methods"], "crd": {"negatives": 9}})
    well(run("logit", "again"))
    assert contents("again") == written


def test_label_smoothing_is_another_student_and_says_what_it_used(project: Path) -> None:
    prepare()
    for name in ("independent", "label_smoothing"):
        well(run(name, taught=False))
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


@pytest.fixture
def pruned(project: Path) -> VGG:
    """A network with fewer channels, half of its weights zero, beside what `prepare` leaves."""
    prepare()
    model = save_vgg("pruned.safetensors", WIDTHS, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[torch.rand_like(parameter) < 0.5] = 0
    view = checkpoint.load(TEACHER).view
    checkpoint.save("pruned.safetensors", model, view=view, classes=CLASSES, provenance={})
    return model


def on_options(method: str, folder: str = "out") -> dict[str, str]:
    paths = {"teacher": TEACHER, "source": "pruned.safetensors", "model": f"{folder}/chain.safetensors"}
    return {"method": method, "fit": "data/fit", "history": f"{folder}/chain.csv", **paths}


@pytest.mark.parametrize("method", ["hint", "crd_logit"])
def test_zeros_and_shapes_stay_and_all_else_learns_as_prune_finetune_says(
    pruned: VGG, project: Path, method: str
) -> None:
    for folder, other in (("out", method), ("again", method), ("logit", "logit")):
        well(invoke(distill_on.main, **on_options(other, folder)))
    assert contents("out") == contents("again")
    assert contents("out")["chain.csv"] != contents("logit")["chain.csv"]
    trained = checkpoint.load("out/chain.safetensors")
    assert trained.model.spec == pruned.spec
    assert trained.classes == CLASSES
    for name, before in pruned.named_parameters():
        if before.dim() > 1:
            after = trained.model.get_parameter(name)
            assert (after[before == 0] == 0).all()
            assert not torch.equal(after, before)
    assert trained.description["encodings"] == masks.encodings(pruned)
    assert pd.read_csv("out/chain.csv")["epoch"].tolist() == [1, 2, 3]
    recipe = trained.provenance["params"]["student"]["recipe"]
    assert {key: recipe[key] for key in FINETUNE} == FINETUNE
    assert not list(project.glob(".scratch/distill/*"))
