"""The sensitivity and prune stages: the same bytes at every run, files that fit together, mistakes in one line."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import Result

from deepcompress.models import checkpoint
from stages import prune, sensitivity
from tests.pruning.conftest import PRUNE
from tests.stages.commands import invoke, refused, save_vgg, trains_once, well, write_images, write_params

SCAN = ("--fit", "data/fit", "--source", "models/baseline.safetensors", "--method")
TABLES = ("history", "allocation", "weights", "storage")


def write_prune(**changes: Any) -> None:
    scan = {"sparsities": [0, 0.5], "samples": 9, "batch_size": 4}
    write_params(sensitivity=scan, prune={**PRUNE, **changes})


def scan(method: str = "structured") -> Result:
    return invoke(sensitivity.main, *SCAN, method, "--table", f"{method}.csv")


def run(method: str = "structured", folder: str = "out", *arguments: str) -> Result:
    options = ["--fit", "data/fit", "--source", "models/baseline.safetensors", "--curves", f"{method}.csv"]
    for state in ("masked", "start", "trained"):
        options += ["--model", state, f"{folder}/{state}.safetensors"]
    for table in TABLES:
        options += ["--table", table, f"{folder}/{table}.csv"]
    return invoke(prune.main, *options, *arguments)


@pytest.fixture
def project(project: Path) -> Path:
    write_images()
    write_prune()
    save_vgg("models/baseline.safetensors", (4, 4, 6, 6, 8, 8, 8, 8))
    return project


@pytest.mark.parametrize("method", ["unstructured", "structured"])
def test_the_files_fit_together(method: str, project: Path) -> None:
    well(scan(method))
    well(run(method, "out", "--method", method, "--sparsity", "0.4"))
    masked, trained = (checkpoint.load(f"out/{state}.safetensors") for state in ("masked", "trained"))
    allocation, storage = pd.read_csv("out/allocation.csv"), pd.read_csv("out/storage.csv").set_index("state")
    overall = allocation[allocation["layer"] == "Overall"].iloc[0]
    assert overall["achieved_sparsity"] == pytest.approx(0.4, abs=0.05)
    assert storage.loc["trained", "parameters"] == sum(p.numel() for p in trained.model.parameters())
    assert (trained.model.spec == masked.model.spec) == (method == "unstructured")
    assert checkpoint.load("out/start.safetensors").model.spec == trained.model.spec
    assert pd.read_csv("out/history.csv")["epoch"].tolist() == [1]
    assert trained.provenance["params"]["prune"]["sparsity"] == 0.4
    assert not list(project.glob(".scratch/prune/*"))
    for name, tensor in masked.model.state_dict().items() if method == "unstructured" else ():
        if name.endswith("weight") and tensor.dim() > 1:
            assert not trained.model.state_dict()[name][tensor == 0].any()
            assert not torch.equal(trained.model.state_dict()[name], tensor)


def test_a_run_that_ends_after_training_does_not_repeat_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well(scan())
    scanned = Path("structured.csv").read_bytes()
    well(scan())
    assert Path("structured.csv").read_bytes() == scanned
    trains_once(lambda folder: run("structured", folder), "prune", monkeypatch)
    assert pd.read_csv("out/allocation.csv")["assigned_sparsity"].iloc[-1] == PRUNE["sparsity"]


def test_a_mistake_ends_in_one_line_and_writes_nothing(project: Path) -> None:
    scan()
    write_prune(sparsity=0.999)
    refused(run(), "params.yaml: a prune sparsity of 0.999 is out of reach: at most 0.")
    assert not Path("out").exists()
