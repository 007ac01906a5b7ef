"""The workflows parse, ask for no more than they need, and call nothing that is not there."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house import ROOT

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


def test_only_the_report_may_write_and_only_comments() -> None:
    asked = {path.stem: load(path)["permissions"] for path in WORKFLOWS}
    assert asked == {"ci": {"contents": "read"}, "pr-report": {"contents": "read", "pull-requests": "write"}}


def test_a_fork_without_a_token_is_not_asked_to_comment() -> None:
    (comment,) = (step for step in steps(ROOT / ".github/workflows/pr-report.yml") if "gh pr" in step.get("run", ""))
    assert comment["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
    assert "--edit-last --create-if-none" in comment["run"]
