"""The finetune and train_teacher stages: a model and its history, the same after kill -9, mistakes in one line."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from click.testing import Result

from deepcompress.data.batches import Batches
from deepcompress.data.store import open_fit
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from stages import finetune, train_teacher
from tests import processes
from tests.data.inputs import CLASSES
from tests.stages.commands import RECIPE, SHAPE, contents, invoke, network, well, write_images, write_params

ARGUMENTS = ["--fit", "data/fit", "--model", "out/baseline.safetensors", "--history", "out/baseline.csv"]
MODEL = {"arch": "vgg11", **SHAPE}


def prepare(folder: Path, **finetune: Any) -> None:
    """Params and images."""
    folder.mkdir(exist_ok=True)
    recipe = {**RECIPE, "augment": {"flip": True, "crop_padding": 2}, **finetune}
    write_params(folder, model=MODEL, finetune=recipe)
    write_images(folder)


def run(**finetune_section: Any) -> Result:
    prepare(Path(), **finetune_section)
    return invoke(finetune.main, *ARGUMENTS)


def start(folder: Path) -> subprocess.Popen[str]:
    """The stage as DVC would start it."""
    return processes.start(folder, finetune.__file__, *ARGUMENTS)


KILLED = """
import os, runpy, signal, sys
def seen(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("state.pt"):
        states.append(arguments)
        if len(states) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
states = []
sys.addaudithook(seen)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def kill_after_an_epoch(folder: Path) -> None:
    """Start the stage and kill it between two states that it leaves."""
    running = processes.start(folder, "-c", KILLED, finetune.__file__, *ARGUMENTS)
    printed = running.communicate()[0]
    assert running.returncode == -signal.SIGKILL, printed


def test_after_kill_9_the_next_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        prepare(folder, epochs=4)
    uninterrupted = start(straight)
    kill_after_an_epoch(killed)
    assert not (killed / "out").exists()
    resumed = start(killed)
    for running in (uninterrupted, resumed):
        printed = running.communicate()[0]
        assert running.returncode == 0, printed
    assert "taken up after epoch" in printed
    assert contents(killed / "out") == contents(straight / "out")
    assert not list(killed.glob(".scratch/finetune/*"))


def test_two_devices_end_with_the_model_of_one(project: Path) -> None:
    well(run(optimizer="sgd", epochs=1))
    one, history = checkpoint.load("out/baseline.safetensors").model, pd.read_csv("out/baseline.csv")
    values = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**values, "train": values["train"] | {"devices": 2}}))
    printed = (running := start(project)).communicate()[0]
    assert running.returncode == 0, printed
    assert printed.count("epoch 1 of 1") == 1, "the first of the processes alone tells"
    two = checkpoint.load("out/baseline.safetensors")
    assert two.provenance["params"]["train"]["devices"] == 2
    state = two.model.state_dict()
    assert all(torch.allclose(tensor, state[name], rtol=0, atol=1e-5) for name, tensor in one.state_dict().items())
    pd.testing.assert_frame_equal(history, pd.read_csv("out/baseline.csv"), rtol=0, atol=1e-4)
    assert not list(project.glob(".scratch/finetune/*"))


def test_the_model_its_history_and_its_provenance_agree(project: Path) -> None:
    well(run())
    loaded, fit = checkpoint.load("out/baseline.safetensors"), open_fit(Path("data/fit"))
    history, origin = pd.read_csv("out/baseline.csv"), loaded.provenance
    logits = accuracy.logits(loaded.model, Batches(fit.validation, loaded.view, batch_size=16))
    assert (origin["stage"], origin["seed"]) == ("finetune", 1)
    assert origin["params"]["finetune"]["learning_rate"] == 0.001
    assert origin["params"]["model"] == MODEL
    assert set(origin["versions"]) == {"deepcompress", "torch"}
    assert loaded.classes == CLASSES
    assert loaded.view.mean == fit.meta.mean
    assert history["epoch"].tolist() == [1, 2]
    assert history["validation_loss"].iloc[-1] == pytest.approx(accuracy.cross_entropy(*logits), rel=1e-5)
    assert history["validation_top1_pct"].iloc[-1] == 100 * accuracy.top_k_correct(*logits).double().mean().item()
    assert history["learning_rate"].iloc[-1] == pytest.approx(1e-3 / 25e4)


@pytest.fixture
def teachers(project: Path) -> None:
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    write_params(teachers={"vgg16": network("vgg16"), "vgg16_jitter": network("vgg16", augment={"jitter": jitter})})
    write_images()


def teacher_options(name: str, folder: str = "out") -> dict[str, str]:
    paths = {"model": f"{folder}/{name}.safetensors", "history": f"{folder}/{name}.csv"}
    return {"key": f"teachers.{name}", "fit": "data/fit", **paths}


def test_a_teacher_is_what_its_block_says_in_the_same_bytes_each_time(teachers: None, project: Path) -> None:
    for folder in ("out", "again"):
        well(invoke(train_teacher.main, **teacher_options("vgg16", folder)))
    assert contents("out") == contents("again")
    loaded = checkpoint.load("out/vgg16.safetensors")
    assert (loaded.model.spec.arch, loaded.model.spec.features[0]) == ("vgg16", 4)
    assert loaded.classes == CLASSES
    assert loaded.provenance["stage"] == "train_teacher"
    assert loaded.provenance["params"]["teachers.vgg16"]["recipe"]["learning_rate"] == 0.001
    well(invoke(train_teacher.main, **teacher_options("vgg16_jitter")))
    plain, jittered = (pd.read_csv(f"out/{name}.csv") for name in ("vgg16", "vgg16_jitter"))
    assert plain["epoch"].tolist() == [1, 2]
    assert (plain["train_loss"] != jittered["train_loss"]).all()
    assert not list(project.glob(".scratch/train_teacher/*"))
