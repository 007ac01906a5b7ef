"""What pages give to `dvc exp run -S` is accepted by `plan`; for the recipes of own plug-ins see test_extending.py."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepcompress import plan
from tests.docs import pages
from tests.house import ROOT

PAGES = [ROOT / "README.md", *sorted(set(pages.DOCS.glob("*.md")) - set(pages.DOCS.glob("extending*.md")))]
DOCUMENT = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
COMMAND = re.compile(r"dvc exp run [^`#\n]*-S [^`#\n]*")
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


def test_there_are_commands_to_check() -> None:
    assert len(FOUND) > 15


def test_a_command_for_a_queue_is_one_for_each_experiment() -> None:
    made = [pages.values(one) for one in single("dvc exp run --queue -S a.b=1,2 -S c=x,y -S 'd=[1,2]'")]
    expected: list[dict[str, Any]] = [{"a": {"b": b}, "c": c, "d": [1, 2]} for b in (1, 2) for c in ("x", "y")]
    assert made == expected


@pytest.mark.parametrize("command", FOUND)
def test_a_command_is_accepted(command: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(pages.merged(DOCUMENT, pages.values(command))), encoding="utf-8")
    plan.check(path)
