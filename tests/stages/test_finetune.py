"""The finetune stage: a model and its history, the same after kill -9, and every mistake in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from deepcompress import runtime
from deepcompress.data.batches import Batches
from deepcompress.data.store import open_fit, write_fit
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from stages import finetune
from tests.data.inputs import CLASSES, source
from tests.stages.commands import RECIPE, SHAPE, TRAIN, refused
from tests.training import interruption

STAGE = Path(finetune.__file__)
ARGUMENTS = ["--fit", "data/fit", "--model", "models/baseline.safetensors", "--history", "results/baseline.csv"]
PARAMS: dict[str, Any] = {
    "seed": 1,
    "train": TRAIN,
    "model": {"arch": "vgg11", **SHAPE},
    "finetune": {**RECIPE, "augment": {"flip": True, "crop_padding": 2}},
}


def prepare(folder: Path, **finetune: Any) -> None:
    """Params and 48 images."""
    folder.mkdir(exist_ok=True)
    values = {**PARAMS, "finetune": {**PARAMS["finetune"], **finetune}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    write_fit(folder / "data/fit", source(train=60, size=32), validation_fraction=0.2, seed=0)


def run(**finetune_section: Any) -> Result:
    prepare(Path(), **finetune_section)
    return CliRunner().invoke(finetune.main, ARGUMENTS)


def test_a_run_that_ends_after_training_does_not_repeat_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run().exit_code == 0
    straight = outputs(project)
    trained = interruption.fill_the_disk_once(monkeypatch)
    assert [run().exit_code for _ in range(2)] == [2, 0]
    assert len(trained) == 1
    assert outputs(project) == straight
    assert not list(project.glob(".scratch/finetune/*"))


def start(folder: Path) -> subprocess.Popen[str]:
    """The stage as DVC would start it, with scratch in its own folder."""
    environment = {**os.environ, runtime.SCRATCH_VARIABLE: ".scratch", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(STAGE), *ARGUMENTS],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(STAGE.parents[1] / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outputs(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("models/baseline.safetensors", "results/baseline.csv")]


def kill_after_an_epoch(folder: Path) -> None:
    """Start the stage and kill it as soon as a state file is there."""
    running = start(folder)
    while not list(folder.glob(".scratch/finetune/*/state.pt")):
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL


def test_after_kill_9_the_next_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        prepare(folder, epochs=40)
    uninterrupted = start(straight)
    kill_after_an_epoch(killed)
    assert not (killed / "models").exists()
    resumed = start(killed)
    for running in (uninterrupted, resumed):
        printed = running.communicate()[0]
        assert running.returncode == 0, printed
    assert "taken up after epoch" in printed
    assert outputs(killed) == outputs(straight)
    assert not list(killed.glob(".scratch/finetune/*"))


def test_two_devices_end_with_the_model_of_one(project: Path) -> None:
    assert run(optimizer="sgd", epochs=1).exit_code == 0
    one, history = checkpoint.load("models/baseline.safetensors").model, pd.read_csv("results/baseline.csv")
    values = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**values, "train": values["train"] | {"devices": 2}}))
    printed = (running := start(project)).communicate()[0]
    assert running.returncode == 0, printed
    assert printed.count("epoch 1 of 1") == 1, "the first of the processes alone tells"
    two = checkpoint.load("models/baseline.safetensors")
    assert two.provenance["params"]["train"]["devices"] == 2
    state = two.model.state_dict()
    assert all(torch.allclose(tensor, state[name], rtol=0, atol=1e-5) for name, tensor in one.state_dict().items())
    pd.testing.assert_frame_equal(history, pd.read_csv("results/baseline.csv"), rtol=0, atol=1e-4)
    assert not list(project.glob(".scratch/finetune/*"))


def test_the_model_its_history_and_its_provenance_agree(project: Path) -> None:
    assert run().exit_code == 0
    loaded, fit = checkpoint.load("models/baseline.safetensors"), open_fit(Path("data/fit"))
    history = pd.read_csv("results/baseline.csv")
    answers = accuracy.logits(loaded.model, Batches(fit.validation, loaded.view, batch_size=16))
    origin = loaded.provenance
    assert (origin["stage"], origin["seed"]) == ("finetune", 1)
    assert origin["params"]["finetune"]["learning_rate"] == 0.001
    assert origin["params"]["model"] == PARAMS["model"]
    assert set(origin["versions"]) == {"deepcompress", "torch"}
    assert loaded.classes == CLASSES
    assert loaded.view.mean == fit.meta.mean
    assert history["epoch"].tolist() == [1, 2]
    assert history["validation_loss"].iloc[-1] == pytest.approx(accuracy.cross_entropy(*answers), rel=1e-5)
    assert not list(project.glob(".scratch/finetune/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "params.yaml: finetune.epoch is unknown"),
        (
            {"optimizer": "sgd", "learning_rate": 1e30, "schedule": "constant"},
            "training diverged: the loss is nan in epoch 1 at a learning rate of 1e+30; lower learning_rate",
        ),
    ],
)
def test_a_mistake_ends_in_one_line_and_writes_nothing(project: Path, change: dict, message: str) -> None:
    refused(run(**change), message)
    assert not Path("models").exists()
    assert not Path("results").exists()
