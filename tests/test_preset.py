"""Presets, and values that are set by hand, overlay params.yaml and keep what they do not name."""

import itertools
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from deepcompress import params, plan, preset
from deepcompress.__main__ import main
from deepcompress.errors import UserError
from tests.house import ROOT

NAMES = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


def overlay(name: str) -> dict[str, Any]:
    return preset.load(name, ROOT / "presets")


def laid(text: str, name: str) -> str:
    return preset.lay(text, name, ROOT / "presets")


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_quick_is_what_params_yaml_holds_of_every_key_that_another_preset_sets() -> None:
    written = dict(params.leaves(yaml.safe_load(TEXT)))
    touched = {key for name in NAMES for key, _ in params.leaves(overlay(name)) if key in written}
    assert dict(params.leaves(overlay("quick"))) == {key: written[key] for key in touched}
    assert laid(TEXT, "quick") == TEXT


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_sets_its_values_keeps_comments_and_passes_the_check(name: str, tmp_path: Path) -> None:
    changed = laid(TEXT, name)
    path = tmp_path / "params.yaml"
    path.write_text(changed)
    for key, value in params.leaves(overlay(name)):
        assert params.value(key, path) == value
    assert comments(changed) == comments(TEXT)
    plan.check(path)


def test_a_preset_gives_the_same_file_whatever_was_laid_before_it() -> None:
    for first, second in itertools.permutations(NAMES, 2):
        assert yaml.safe_load(laid(laid(TEXT, first), second)) == yaml.safe_load(laid(TEXT, second))
    own = preset.apply(TEXT, {"deploy": {"max_drop_points": 2.5}})
    assert params_of(laid(laid(own, "paper"), "quick")) == params_of(own)


def params_of(text: str) -> dict[str, Any]:
    return dict(params.leaves(yaml.safe_load(text)))


def test_small_numbers_are_written_so_that_yaml_reads_numbers() -> None:
    text = "a:\n  b: 1.0   # comment\n  c:\n    - 1\n"
    for number in (1e-5, 2.5e-7, 1e20, 0.25):
        changed = preset.apply(text, {"a": {"b": number}})
        assert yaml.safe_load(changed)["a"]["b"] == number
        assert "# comment" in changed


def test_an_unknown_key_and_an_unknown_preset_are_refused() -> None:
    for unknown in ("b.x", "b"):
        with pytest.raises(UserError, match=rf"preset: {unknown} is unknown in params\.yaml"):
            preset.apply("a: {b: 1}", {"b": {"x": 1}} if unknown == "b.x" else {"b": 1})
    with pytest.raises(UserError, match="preset must be one of cifar, gpu-hour, laptop, paper, quick; got 'nope'"):
        preset.load("nope", ROOT / "presets")


def test_as_args_prints_flags_that_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(preset.main, ["cifar", "--as-args"])
    words = shlex.split(shown.output)
    assert words[::2] == ["-S"] * (len(words) // 2)
    pairs = [word.split("=", 1) for word in words[1::2]]
    flags = [(key.removeprefix("++"), yaml.safe_load(value)) for key, value in pairs]
    assert flags == list(params.leaves(overlay("cifar")))


def test_the_command_changes_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    shown = CliRunner().invoke(preset.main, ["paper", "--params-file", str(path)])
    assert shown.exit_code == 0, shown.output
    assert params.value("model.image_size", path) == 224
    refused = CliRunner().invoke(preset.main, ["nope", "--params-file", str(path)])
    assert refused.exit_code == 2
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(preset.main, ["paper"])
    assert (refused.exit_code, refused.stderr.startswith("error: presets: no presets there")) == (2, True)


def test_a_block_that_is_emptied_stays_in_its_place() -> None:
    text = "combine:\n  distill:   # links\n    one: {from: a}\n  quantize: {}\n"
    emptied = preset.apply(text, {"combine": {"distill": {}}}, ["combine.distill.one"])
    assert yaml.safe_load(emptied) == {"combine": {"distill": {}, "quantize": {}}}


@pytest.fixture(autouse=True)
def own_params(inside: Path) -> None:
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
    assert preset.value(text) == expected
    assert type(preset.value(text)) is type(expected)


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
