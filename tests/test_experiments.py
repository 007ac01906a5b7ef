"""Experiments, a queue of them side by side, and a remote: what a team does, on a pipeline as small as it gets."""

import csv
import io
import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests import pipeline, processes

pytestmark = pytest.mark.slow
LEFT_OUT = {"bits", "recommend", "export", "benchmark", "report"}
NARROWED = (
    "teachers.vgg16_jitter",
    "distill.methods.hint",
    "distill.methods.crd",
    "distill.mixtures.hint_logit",
    "combine.distill.prune_distill",
    "combine.quantize.prune_distill_quantize",
)
OWN = {"from": "combined/sparse95", "bits": 3, "group_size": None}  # a link that what is set below leaves as it is
UP_TO_DATE = "Data and pipelines are up to date."
DEADLINE_S = 900.0
PATIENCE_S = 60.0  # without a worker, before one is asked for again
ENDED = {"Success", "Failed"}
QUEUED = {"bits2": 2, "bits4": 4}  # bits by the name of the experiment


def narrow(project: pipeline.Project) -> None:
    """Leave the stages up to `evaluate`, and one of each: one sparsity, format, teacher, student and combination."""
    path = project.folder / "dvc.yaml"
    stages = yaml.safe_load(path.read_text())["stages"]
    stages["sensitivity"]["matrix"]["method"] = ["structured"]
    kept = {name: body for name, body in stages.items() if name not in LEFT_OUT}
    path.write_text(yaml.safe_dump({"stages": kept}, sort_keys=False, width=4096))
    project.set(
        {
            "prune": {"sweep": {"methods": ["structured"]}},
            "quant": {"sweep": ["ptq-int4"]},
            "distill": {"baseline": [], "mixtures": {}, "selected": {"methods": [], "teachers": []}},
            "combine": {"distill": {}, "quantize": {"prune_quantize": {"from": "shipped/pruned"}, "own": OWN}},
            "benchmark": {"models": ["baseline"]},
        },
        remove=NARROWED,
    )


def git(project: pipeline.Project, *words: str) -> str:
    return processes.git(project.folder, *words, environment=project.environment)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pipeline.Project]:
    """A finished run, committed and pushed to a remote."""
    folder = tmp_path_factory.mktemp("team")
    made = pipeline.copy(folder / "ann")
    narrow(made)
    made.dvc("remote", "add", "-q", "-d", "store", str(folder / "store"))
    made.repro()
    git(made, "add", "-A")
    git(made, "commit", "-qm", "Results")
    made.dvc("push", "-q")
    yield made
    for process in psutil.process_iter(["cwd"]):  # workers of the queue that have not ended
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder):
            process.kill()


@pytest.fixture(scope="module")
def widths(project: pipeline.Project) -> dict[str, float]:
    """Bits per weight of the shipped model, by experiment: one in a folder of its own, two queued and side by side."""
    before = scratch(project)
    project.dvc("exp", "run", "--temp", "-S", "quant.bits=3", "--name", "three")
    for name, bits in QUEUED.items():
        project.dvc("exp", "run", "--queue", "-S", f"quant.bits={bits}", "--name", name)
    run_queue(project)
    assert git(project, "status", "--porcelain") == "", "an experiment elsewhere leaves the working tree alone"
    assert scratch(project) == before, "and its scratch files"
    shown = project.dvc("exp", "show", "--csv")
    rows = csv.DictReader(io.StringIO(shown[shown.index("Experiment,") :]))
    return {row["Experiment"] or row["rev"]: float(row["shipped.bits_per_weight"]) for row in rows}


def run_queue(project: pipeline.Project) -> None:
    """Run what is queued, two at a time, until all of it has ended, whether or not the workers have.

    DVC's workers hear of their end, and now and then of their tasks, by files that two of them can miss.
    """
    begun, asked = time.monotonic(), -math.inf
    while not ENDED.issuperset((found := queue(project)).values()):
        now = time.monotonic()
        assert now - begun < DEADLINE_S, project.dvc("queue", "status")
        if "Running" in found.values():
            asked = now
        elif now - asked > PATIENCE_S:
            asked = now
            project.start("queue", "start", "-j", "2").wait(DEADLINE_S)
    failed = [name for name, status in found.items() if status != "Success"]
    assert not failed, [project.dvc("queue", "logs", name)[-3000:] for name in failed]


def queue(project: pipeline.Project) -> dict[str, str]:
    """What has become of each queued experiment, by its name; columns are task, name, time and status."""
    rows = [line.split() for line in project.dvc("queue", "status").splitlines()]
    shown = {row[1]: row[-1] for row in rows if len(row) >= 4}
    return {name: shown.get(name, "missing") for name in QUEUED}


def scratch(project: pipeline.Project) -> set[tuple[str, float]]:
    """Scratch files of the working tree and when they were written."""
    return {(str(path), path.stat().st_mtime) for path in (project.folder / ".scratch").rglob("*") if path.is_file()}


def test_experiments_differ_in_what_they_set(widths: dict[str, float]) -> None:
    assert widths["bits2"] < widths["three"] < widths["bits4"] < widths["workspace"]


def test_an_applied_experiment_is_up_to_date_without_running(
    project: pipeline.Project, widths: dict[str, float]
) -> None:
    project.dvc("exp", "apply", "bits4")
    assert "Running stage" not in project.dvc("repro")
    assert "quant.bits" in project.dvc("params", "diff")
    git(project, "checkout", "-q", ".")
    project.dvc("checkout", "-q")


def test_an_experiment_becomes_a_branch(project: pipeline.Project, widths: dict[str, float]) -> None:
    project.dvc("exp", "branch", "bits2", "two_bits")
    assert "-  bits: 8" in git(project, "diff", "HEAD", "two_bits", "--", "params.yaml")


def test_an_experiment_here_runs_what_depends_on_it_alone(project: pipeline.Project, widths: dict[str, float]) -> None:
    shown = project.dvc("exp", "run", "-S", "quant.bits=4", "-S", "quant.group_size=16")
    ran = {line.split("'")[1] for line in shown.splitlines() if line.startswith("Running stage")}
    quantizing = {"quantize", "quantize_sweep@ptq-int4", "combine_quantize@prune_quantize"}
    assert ran == {"plan", *quantizing, "explain", "evaluate"}
    assert "shipped.bits_per_weight" in project.dvc("metrics", "diff")
    git(project, "checkout", "-q", ".")
    project.dvc("checkout", "-q")


def test_another_clone_pulls_and_has_nothing_to_train(project: pipeline.Project) -> None:
    bob = pipeline.Project(project.folder.parent / "bob")
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{project.folder}", str(bob.folder)], check=True)
    bob.dvc("pull", "-q")
    assert UP_TO_DATE in bob.dvc("repro")
    assert git(bob, "status", "--porcelain") == ""
    assert (bob.folder / "models/shipped/quantized.safetensors").is_file()
    assert not (bob.folder / ".scratch").exists()
