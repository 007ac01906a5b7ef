"""Every message that the documentation quotes exists: ours in the source, DVC's in its packages."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from tests.docs import pages
from tests.house import SOURCE

PAGE = (pages.DOCS / "troubleshooting.md").read_text(encoding="utf-8")
ANYTHING = "…"
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
FROM_THE_SYSTEM = {"No space left on device", "No such file or directory"}


def quoted(page: str, *, dvc: bool) -> list[str]:
    """First cells of the tables under the heading DVC, or of all others."""
    parts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    return [message for part in parts if part.startswith("DVC") == dvc for message in ROW.findall(part)]


def said(path: Path) -> list[str]:
    """Every text that a Python file may print, with `…` for what is filled in: no docstring, and no part of a text."""
    texts = []
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    within = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    within |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in within:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values)
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def exists(message: str, texts: list[str]) -> bool:
    """Whether some text holds the fixed words of a message in their order."""
    pattern = re.compile(".*".join(re.escape(words.strip()) for words in message.split(ANYTHING)), re.DOTALL)
    return any(pattern.search(text) for text in texts)


@pytest.fixture(scope="module")
def ours() -> list[str]:
    return [text for path in (SOURCE / "deepcompress").rglob("*.py") for text in said(path)]


def test_every_quoted_message_of_ours_exists(ours: list[str]) -> None:
    messages = set(quoted(PAGE, dvc=False)) - FROM_THE_SYSTEM
    assert len(messages) > 40
    assert [message for message in sorted(messages) if not exists(message, ours)] == []


def test_every_quoted_message_of_dvc_exists() -> None:
    texts: list[str] = []
    for package in ("dvc", "scmrepo", "hydra"):
        found = importlib.util.find_spec(package)
        assert found
        assert found.origin
        texts += [path.read_text(encoding="utf-8") for path in Path(found.origin).parent.rglob("*.py")]
    messages = set(quoted(PAGE, dvc=True)) - FROM_THE_SYSTEM
    assert messages
    assert [message for message in sorted(messages) if not any(message in text for text in texts)] == []


def test_a_message_that_only_a_docstring_tells_of_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""a bomb"""\ndef tell(name):\n    """is a bomb"""\n    return f"{name} is no bomb, {name}"\n')
    assert said(path) == ["… is no bomb, …"]
