"""`python -m deepcompress set KEY VALUE`: what one types is what params.yaml holds, or it is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from deepcompress import params
from deepcompress.__main__ import main
from deepcompress.preset import value
from tests.house import ROOT

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["set", *arguments])


@pytest.mark.parametrize(
    "path",
    [
        "~/x (1)", "/data/my photos/x.zip", "x=y.zip", "a: b", "C:\\photos\\new", "it's {here}", "x#1 #2", "[a] b.zip",
        "-x", "~", "a,b.zip", "${HOME}", "犬.zip", '"', "'", "*.zip", "&x", "!x", "%x", "@x", "`x`", "2020-01-01",
        "12:30:45", "on", "0x1f", "1_000",
    ],
)  # fmt: skip
def test_a_path_is_taken_as_it_stands(path: str) -> None:
    done = run("data.folder.path", path)
    assert done.exit_code == 0, done.output
    assert params.value("data.folder.path") == path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3), ("0.5", 0.5), ("1e-3", 0.001), ("1.0e-3", 0.001), ("2E5", 2e5), ("true", True), ("null", None),
        ("[1, 2]", [1, 2]), ("{a: 1}", {"a": 1}), ("'3'", "3"), ("imagenet", "imagenet"), ("", None), ("-1", -1),
    ],
)  # fmt: skip
def test_a_value_is_read_as_yaml(text: str, expected: Any) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_comments_order_and_other_keys_stay_and_several_are_set_at_once() -> None:
    done = run("data.source", "folder", "finetune.learning_rate", "1e-5", "seed", "3")
    assert done.stdout.splitlines()[0] == 'params.yaml: data.source: "folder"'
    changed = [line for line in Path("params.yaml").read_text().splitlines() if line not in TEXT.splitlines()]
    assert [line.split("#")[0].strip() for line in changed] == ["seed: 3", "source: folder", "learning_rate: 1.0e-5"]
    assert changed[1].partition("#")[2] == next(x for x in TEXT.splitlines() if "  source:" in x).partition("#")[2]
    assert yaml.safe_load(Path("params.yaml").read_text())["finetune"]["learning_rate"] == 1e-5


def test_a_null_becomes_a_block_and_its_comment_stays() -> None:
    assert run("recipe.augment.jitter.hue", "0.1", "recipe.augment.jitter.contrast", "0.2").exit_code == 0
    assert "    jitter: {contrast: 0.2, hue: 0.1} # random colours, or null\n" in Path("params.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.folder.paht", "x"], "params.yaml: data.folder.paht is unknown; allowed: .*did you mean path"),
        (["date.source", "x"], "params.yaml: date.source is unknown; sections: seed, "),
        (["data.source", "imagenet"], "params.yaml: data.source: must be one of .*got 'imagenet'"),
        (["seed", "one"], "params.yaml: seed must be a whole number"),
        (["finetune.epochs", "many"], "params.yaml: finetune.epochs must be"),
        (["data..path", "x"], "data..path is unknown"),
        (["data.folder", "{path: x}", "data.folder.path", "x", "seed"], "each key needs a value"),
        (["data.source", "folder", "data.source.x", "1"], "params.yaml: data.source.x lies in a key that is set, too"),
        (["seed.x", "1"], "params.yaml: seed.x lies in no block: seed is 0; set seed"),
        (["seed", "{a: 1}"], "params.yaml: seed is one value, 0, and no block"),
        (["data.folder.path.x", "1"], "params.yaml: data.folder.*path must be"),
        (["seed", "1", "data.source", "csv", "seed", "2"], "params.yaml: seed is set twice"),
        (["data.folder.path", "x", "data.folder", "{path: y}"], "params.yaml: data.folder is set twice"),
        (["data.folder.path", os.fsdecode(b"caf\xe9")], "the value is no UTF-8"),
        (["seed", "1", "data.stored_size", "0"], "data.stored_size must be"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_and_the_file_stays(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
    assert Path("params.yaml").read_text(encoding="utf-8") == TEXT
    assert os.listdir() == ["params.yaml"]
