"""The code behind a stage is hashed by what it does, and each plug-in by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deepcompress import code_hash
from deepcompress.errors import UserError
from tests import house

FILES = {
    "stages/work.py": "from deepcompress import one\n",
    "src/deepcompress/__init__.py": "",
    "src/deepcompress/one.py": "def f():\n    from deepcompress.room import two\n    return two\n",
    "src/deepcompress/room/two.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from deepcompress import shown\n"
    ),
    "src/deepcompress/room/plugins/_helper.py": "HELP = 1\n",
    "src/deepcompress/room/plugins/mine.py": "from deepcompress.room.plugins._helper import HELP\n",
    "src/deepcompress/shown.py": "",
    "src/deepcompress/unused.py": "",
}
STAGE_CODE = {"stages/work.py", "src/deepcompress/one.py", "src/deepcompress/room/two.py"}
PLUGIN_CODE = {f"src/deepcompress/room/plugins/{name}.py" for name in ("mine", "_helper")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_hash_follows_what_can_be_imported_and_nothing_else(project: Path) -> None:
    assert {name: set(inner) for name, inner in code_hash.hashes(project).items()} == {
        "room": {"plugins"},
        "stages": {"work"},
    }
    assert set(code_hash.hashes(project)["room"]["plugins"]) == {"mine"}
    for name in FILES:
        stage, plugin = changed_by(project, name)
        assert stage == (name in STAGE_CODE), name
        assert plugin == (name in PLUGIN_CODE), name


def changed_by(project: Path, name: str) -> tuple[bool, bool]:
    """Whether the hashes of the stage and of the plug-in change when a statement is added to a file."""
    before = code_hash.hashes(project)
    (project / name).write_text(FILES[name] + "x = 1\n")
    code_hash.imports.cache_clear()
    code_hash.digest.cache_clear()
    after = code_hash.hashes(project)
    return before["stages"] != after["stages"], before["room"] != after["room"]


def digest(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return code_hash.digest(path)


PLAIN = 'def f(x):\n    y = "a#b"\n    return [\n        x,\n        y,\n    ]\n'


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (PLAIN.replace("def", '"""Words.\n\nMore words, ünd so weiter."""\n\n# a comment\ndef'), True),
        (PLAIN.replace("    y =", '    """What it does."""\n    y ='), True),
        (PLAIN.replace("x,", 'x,  # ähnlich, and "quoted"'), True),
        (PLAIN.replace("    return", "\n\n    # why\n    return"), True),
        (PLAIN.replace("[\n        x,\n        y,\n    ]", "[x, y]"), True),
        (PLAIN.replace("a#b", "a#c"), False),
        (PLAIN.replace("x,", "x, x,"), False),
        (PLAIN.replace("    return", "    if x:\n        return"), False),
        (PLAIN + "f(1)\n", False),
        (PLAIN.replace('y = "a#b"', 'y = """a\n\nb"""'), False),
    ],
)
def test_code_changes_a_hash_and_words_for_readers_do_not(text: str, same: bool, tmp_path: Path) -> None:
    assert (digest(tmp_path, "other", text) == digest(tmp_path, "plain", PLAIN)) == same


def test_broken_code_is_named(project: Path) -> None:
    (project / "src/deepcompress/one.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=r"one\.py: not Python"):
        code_hash.hashes(project)


@pytest.mark.parametrize("stage", ["finetune", "quantize", "report"])
def test_what_a_stage_loads_counts_as_its_code(stage: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys, stages.{stage}; print(*sys.modules)"],
        cwd=house.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in shown.stdout.split() if name.startswith("deepcompress.")}
    files = {house.SOURCE / Path(*name.split(".")).with_suffix(".py") for name in loaded}
    counted = code_hash.closure(house.ROOT, house.ROOT / f"stages/{stage}.py")
    assert counted
    assert {file for file in files if file.is_file()} <= counted
