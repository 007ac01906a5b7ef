"""DVC parses a text once, and nobody who changes what came of it changes another's."""

from __future__ import annotations

from pathlib import Path

import pytest
import ruamel.yaml
from dvc.dependency.param import read_param_file
from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.utils.serialize import _yaml

from deepcompress.side_by_side.parsing import each_text_once


def test_params_are_parsed_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, load, path = [], ruamel.yaml.YAML.load, tmp_path / "params.yaml"
    monkeypatch.setattr(ruamel.yaml.YAML, "load", lambda yaml, text: loads.append(text) or load(yaml, text))
    path.write_text("model: {width: 1, sides: [1, 2]}\n")
    with each_text_once():
        first = read_param_file(LocalFileSystem(), str(path), key_paths=["model"])
        first["model"]["sides"].append(3)
        assert read_param_file(LocalFileSystem(), str(path), key_paths=["model.sides"]) == {"model": {"sides": [1, 2]}}
        assert len(loads) == 1
        path.write_text("model: {width: 2}\n")
        assert read_param_file(LocalFileSystem(), str(path), key_paths=["model.width"])["model"]["width"] == 2
    read_param_file(LocalFileSystem(), str(path), key_paths=["model"])
    assert len(loads) == 3


def test_a_damaged_file_is_refused_each_time() -> None:
    original = _yaml.parse_yaml
    with each_text_once():
        for _ in range(2):
            with pytest.raises(DvcException, match="corrupted"):
                _yaml.parse_yaml("a: [", "params.yaml")
    assert _yaml.parse_yaml is original
