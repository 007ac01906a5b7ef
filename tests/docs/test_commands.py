"""What pages give to `dvc exp run -S` is accepted by `plan`; their recipes for own plug-ins work as they stand."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from deepcompress import plan, preset
from tests import pipeline
from tests.docs import pages
from tests.house import ROOT, SOURCE

PAGES = [ROOT / "README.md", *sorted(set(pages.DOCS.glob("*.md")) - set(pages.DOCS.glob("extending*.md")))]
DOCUMENT = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
COMMAND = re.compile(r"dvc exp run [^`#\n]*-S [^`#\n]*")
SET = re.compile(r"deepcompress set (.+)")
SEVERAL = re.compile(r"(\S+=)([^\s\[\]{}']+,[^\s\[\]{}']+)")  # values for a queue


def commands(text: str) -> list[str]:
    """Those of a page in one line each, but those that need a shell's variables."""
    return [found for found in COMMAND.findall(text.replace("\\\n", " ")) if "$" not in found]


def single(command: str) -> Iterator[str]:
    """A command for each of the experiments that one starts."""
    key_values = [[key + value for value in values.split(",")] for key, values in SEVERAL.findall(command)]
    for chosen in itertools.product(*key_values):
        words = iter(chosen)
        yield SEVERAL.sub(lambda _, words=words: next(words), command)  # type: ignore[misc]


FOUND = [
    pytest.param(one, id=f"{page.stem}: {one}")
    for page in PAGES
    for command in commands(page.read_text(encoding="utf-8"))
    for one in single(command.partition(" && ")[0])
]
assert len(FOUND) > 15


@pytest.mark.parametrize("command", FOUND)
def test_a_command_is_accepted(command: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(pages.merged(DOCUMENT, pages.values(command))), encoding="utf-8")
    plan.check(path)


@pytest.mark.parametrize("name", ["tour.md", "your-data.md", "models.md"])
def test_values_that_a_page_sets_one_after_the_other_are_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a ResNet-18 of three classes where your-data.md has it: its weights fit once the network is named.

    And with the network of models.md beside params.yaml, whose hints are of another block than the default's.
    """
    weights = tmp_path / "runs" / "best.pth.tar"
    weights.parent.mkdir()
    network = torchvision.models.resnet18(num_classes=3)
    torch.save({"state_dict": torch.nn.DataParallel(network).state_dict()}, weights)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    blocks = [block["body"].replace("\\\n", " ") for block in pages.FENCE.finditer(pages.read(name))]
    found = [words for block in blocks for words in SET.findall(block)]
    assert found
    (tmp_path / "mynet.py").write_text(next((block for block in blocks if "def small" in block), ""))
    for words in found:
        preset.set_([os.path.expanduser(word) for word in shlex.split(words, comments=True)])


# The recipes: in a copy, contracts pass, values are accepted, stages run.

RECIPES = [recipe for page in sorted(pages.DOCS.glob("extending*.md")) for recipe in pages.recipes(page)]
ROOMS = {path.parent.relative_to(SOURCE / "deepcompress").as_posix() for path in SOURCE.glob("deepcompress/*/*/*.py")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Project:
    """A copy of the project with all plug-ins of all recipes."""
    made = pipeline.copy(tmp_path_factory.mktemp("recipes") / "deepcompress")
    for recipe in RECIPES:
        recipe.write(made.folder)
    return made


def test_every_room_of_plug_ins_has_a_recipe() -> None:
    written = {Path(name).parent.relative_to("src/deepcompress").as_posix() for r in RECIPES for name in r.files}
    assert written == ROOMS


def test_the_contracts_run_and_pass(project: pipeline.Project) -> None:
    """All in one process: `pytest FILE -k NAME` of each recipe must choose tests, and these must pass."""
    commands = [shlex.split(recipe.beginning("pytest ")[0])[1:] for recipe in RECIPES]
    files = sorted({file for *there, _, _ in commands for file in there})
    assert {flag for *_, flag, _ in commands} == {"-k"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rp", *files, "-k", " or ".join(names for *_, names in commands)],
        cwd=project.folder,
        env={**project.environment, "PYTHONPATH": os.pathsep.join(["src", "."])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED ")]
    for *there, _, names in commands:
        own = [line for line in passed if any(file in line for file in there)]
        assert all(any(name in line for line in own) for name in names.split(" or ")), names


def test_their_values_are_accepted(project: pipeline.Project, tmp_path: Path) -> None:
    written = []
    for number, recipe in enumerate(RECIPES):
        (command,) = recipe.beginning("dvc ")
        document = pages.merged(DOCUMENT, pages.values(command))
        written.append(str(tmp_path / f"{number}.yaml"))
        Path(written[-1]).write_text(yaml.safe_dump(document), encoding="utf-8")
    check = f"from deepcompress import plan\nfor path in {written!r}: plan.check(path)"
    environment = {**project.environment, "PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", check], cwd=project.folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.slow
def test_the_stages_run_with_all_of_them(project: pipeline.Project) -> None:
    path = project.folder / "params.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for recipe in RECIPES:
        document = pages.merged(document, pages.values(recipe.beginning("dvc ")[0]))
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    targets = {shlex.split(recipe.beginning("dvc ")[0])[-1] for recipe in RECIPES}
    project.repro(*sorted(targets - {"report"}))
    for model in ("quantized/qat-fp8", "students/logit_mse-vgg16"):
        assert (project.folder / "models" / f"{model}.safetensors").is_file()
