"""Presets overlay params.yaml and keep what they do not name."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from deepcompress import params, plan, preset
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


def test_the_paper_preset_is_the_source_reports_recipe(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(laid(TEXT, "paper"))
    finetune = params.value("finetune", tmp_path / "params.yaml")
    stated = {
        "trainable": "head",
        "epochs": 3,
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 1.0e-3,
        "weight_decay": 1.0e-4,
        "schedule": "constant",
        "label_smoothing": 0.0,
        "keep": "last",
    }
    assert {key: finetune[key] for key in stated} == stated


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


def test_as_args_prints_flags_that_say_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
