"""The workflows ask for no more than they need and call what is there; the report that one writes of a pull request."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepcompress.measure import verdict
from tests.house import ROOT
from tests.processes import git
from tests.toy import Pipeline, new_pipeline

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ON_THE_RUNNER = {"uv", "gh", "git", "make"}
IN_THE_SHELL = {"cat", "printf", "echo"}


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))  # `on` stays a word


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in load(path)["jobs"].values():
        yield from job["steps"]


def commands(path: Path) -> list[list[str]]:
    """The words of every command line that a workflow runs."""
    lines = [line for step in steps(path) for line in step.get("run", "").splitlines()]
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_scripts_are_bash_without_text_of_a_pull_request(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name)] == []
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True, check=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_exists(path: Path) -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands(path):
        assert words[0] in ON_THE_RUNNER | IN_THE_SHELL, words
        for word in words:
            if word.startswith("scripts/"):
                assert os.access(ROOT / word, os.X_OK), word
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", make, re.MULTILINE), words
        if "-m" in words:
            assert importlib.util.find_spec(words[words.index("-m") + 1]), words
        if "--only-group" in words:
            groups = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            assert f"\n{words[words.index('--only-group') + 1]} = [" in groups


# The report of a pull request, from a real git repository with two branches and no data.

SCRIPT = ROOT / "scripts/pr_report.sh"
PNG = b"\x89PNG\r\n"


def run(folder: Path, *arguments: str, command: tuple[str, ...] = (str(SCRIPT),)) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "GIT_CEILING_DIRECTORIES": "/"}
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Branch `main` and branch `four_bits`, which changes a parameter, a metric and a point of the plot."""
    folder = tmp_path_factory.mktemp("origin") / "project"
    made = new_pipeline(folder)
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots", dirs_exist_ok=True)
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    plots = text[text.index("\nplots:\n") :]
    (folder / "plots").mkdir()
    (folder / "metrics").mkdir()
    (folder / "dvc.yaml").write_text("metrics:\n- metrics/headline.json\nparams:\n- params.yaml\n" + plots)
    write(made, bits=8, top1=69.45)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Eight bits")
    git(folder, "branch", "-M", "main")
    git(folder, "checkout", "-qb", "four_bits")
    write(made, bits=4, top1=64.32)
    git(folder, "commit", "-qam", "Four bits")
    return folder


def write(project: Pipeline, *, bits: int, top1: float) -> None:
    (project.folder / "params.yaml").write_text(f"quant:\n  bits: {bits}\n")
    (project.folder / "metrics/headline.json").write_text(json.dumps({"shipped": {"top1_pct": top1}}))
    (project.folder / "plots/models.csv").write_text(
        "series,model,size_mib,top1_pct,top1_pct_low,top1_pct_high\n"
        f"shipped,shipped/quantized,{bits / 8},{top1},{top1 - 1},{top1 + 1}\n"
    )


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    """As a workflow checks it out: one commit of the branch and one of its base."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", str(folder))
    git(folder, "fetch", "-q", "--depth", "1", "origin", "main:refs/remotes/origin/main")
    return folder


def report(folder: Path, *arguments: str) -> str:
    """What the script prints; it must end well."""
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("inside", ["", "plots"])
def test_it_shows_what_a_branch_changes_from_any_folder(clone: Path, inside: str) -> None:
    shown = report(clone / inside, "origin/main", "plot.png")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if "|" in line]
    assert ["`shipped.top1_pct`", "69.45", "64.32", "-5.13"] in rows
    assert ["`quant.bits`", "8", "4"] in rows
    assert "`metrics/evaluation.csv` is not in both revisions: no accuracy was compared." in shown
    assert (clone / inside / "plot.png").read_bytes().startswith(PNG)
    assert shown.startswith("## Results against `origin/main`\n")


def test_it_says_so_when_nothing_changed(clone: Path) -> None:
    assert report(clone, "HEAD").count("No change.") == 2
    assert not list(clone.glob("*.png"))


def test_a_wrong_call_is_one_line(clone: Path, tmp_path: Path) -> None:
    revision = "error: nowhere is no revision here; a shallow clone needs: git fetch --depth=1 origin BRANCH"
    for folder, arguments, message in (
        (clone, ["nowhere"], revision),
        (clone, [], "error: usage: pr_report.sh BASE [PLOT.png]"),
        (tmp_path, ["main"], "error: not inside a git repository"),
    ):
        done = run(folder, *arguments)
        assert (done.returncode, done.stderr.strip(), done.stdout) == (2, message, "")


def test_it_works_in_a_folder_of_a_larger_repository(origin: Path, tmp_path: Path) -> None:
    """DVC's root is then not git's: there, DVC answered that nothing changed."""
    folder = tmp_path / "mono" / "vision"
    shutil.copytree(origin, folder, ignore=shutil.ignore_patterns(".git"))
    git(folder.parent, "init", "-q", "-b", "main")
    shutil.rmtree(folder / ".dvc")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--subdir"], cwd=folder, check=True)
    table = folder / "metrics/evaluation.csv"
    table.write_text(evaluation(top1=90.0))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Eight bits")
    table.write_text(evaluation(top1=80.0))
    (folder / "params.yaml").write_text("quant:\n  bits: 3\n")
    shown = report(folder / "plots", "main")
    assert "| `quant.bits` | 4 | 3 |" in shown
    assert "| `quantized/ptq-int8` | 90.00 | 80.00 | -10.00 (" in shown
    assert "**loss** |" in shown


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("metrics/headline.json", "{", "metrics diff"),
        ("metrics/headline.json", None, "metrics diff"),
        ("params.yaml", "a: [1\n", "metrics diff"),
        ("params.yaml", None, "params diff"),
        (".dvc/plots/points.json", None, "plots diff"),
    ],
)
def test_a_command_that_fails_fails_the_report(clone: Path, name: str, content: str | None, command: str) -> None:
    (clone / name).unlink()
    if content is not None:
        (clone / name).write_text(content)
    done = run(clone, "origin/main", *(["plot.png"] if command == "plots diff" else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: dvc {command} origin/main")


def test_it_needs_neither_torch_nor_what_counts_with_it(clone: Path) -> None:
    """The dependency group `ci`, all that a workflow installs, has none of these."""
    blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in ("numpy", "scipy", "pandas", "torch"))
    program = f"import sys\n{blocked}\nfrom deepcompress.report import pr_report\npr_report.main()"
    (clone / "metrics/evaluation.csv").write_text(evaluation(top1=90.0))
    done = run(clone, "origin/main", command=(sys.executable, "-c", program))
    assert done.returncode == 0, done.stderr
    assert "### Accuracies" in done.stdout


def test_replicates_of_another_evaluation_are_named_by_their_place_in_the_project(clone: Path) -> None:
    name = "metrics/evaluation.csv"
    (clone / name).write_text(evaluation(top1=90.0))
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "With accuracies")
    other = [f"{seed},baseline,,1000,{80 + seed},,,," for seed in range(2)]
    (clone / "metrics/replicates.csv").write_text("\n".join([",".join(verdict.COLUMNS), *other, ""]))
    shown = report(clone, "HEAD")
    assert (
        "\nmetrics/replicates.csv: not of this evaluation (baseline of seed 0 is another one); run `make seeds`"
        in shown
    )


def evaluation(*, top1: float) -> str:
    """A table of a baseline and of it, rounded."""
    answers = "model,top1_pct,top5_pct,n,cross_entropy_loss,agreement_with_baseline_pct"
    heads = f"{answers},training_tera_macs,family,step,builds_on"
    rounded = f"quantized/ptq-int8,{top1},99.0,1000,0.5,{top1},0.0,quantized,quantize,baseline"
    return f"{heads}\nbaseline,90.0,99.0,1000,0.5,,1.0,baseline,finetune,\n{rounded}\n"
