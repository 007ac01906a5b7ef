"""The `data` section of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepcompress import params, registry
from deepcompress.data.settings import Data
from deepcompress.errors import UserError

GOOD: dict[str, Any] = {"source": "folder", "stored_size": 32, "validation_fraction": 0.1}


def read(folder: Path, changes: dict[str, Any]) -> Data:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"data": {**GOOD, **changes}}))
    return params.section(Data, "data", path)


@pytest.mark.parametrize("name", registry.names("data.sources"))
def test_every_source_may_be_named_and_has_defaults(tmp_path: Path, name: str) -> None:
    data = read(tmp_path, {"source": name})
    assert data.options(name) == registry.find("data.sources", name).Options()


def test_a_block_belongs_to_the_source_of_its_name(tmp_path: Path) -> None:
    data = read(tmp_path, {"folder": {"path": "pets.zip", "heldout_fraction": 0.5}})
    assert data.options("folder").path == "pets.zip"
    assert data.options("folder").heldout_fraction == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "imagenet"}, "data.source.*cifar10.*cifar100.*folder.*shapes.*; got 'imagenet'"),
        ({"source": None}, "data.source must be .*got None"),
        ({"stored_size": 7}, "data.stored_size must be .*8, got 7"),
        ({"stored_size": 1025}, "data.stored_size must be .*1024, got 1025"),
        ({"stored_size": 32.5}, "data.stored_size must be .*got 32.5"),
        ({"validation_fraction": 0.0}, "data.validation_fraction must be greater than 0, got 0.0"),
        ({"validation_fraction": 1.0}, "data.validation_fraction must be less than 1, got 1.0"),
        ({"validation_fraction": "1e-1"}, "data.validation_fraction must be .*got '1e-1'"),
        ({"device_budget_mib": -1}, "data.device_budget_mib must be .*0, got -1"),
        ({"fraction": 0.1}, "data.fraction is unknown"),
        ({"folder": {"paht": "x"}}, "data.folder.paht is unknown.*did you mean path"),
        ({"folder": {"heldout_fraction": 0.0}}, "data.folder.heldout_fraction must be greater than 0"),
        ({"folder": {"path": 3}}, "data.folder.path must be"),
        ({"cifar100": {"md5": "abc"}}, "data.cifar100.md5 must .*got 'abc'"),
        ({"cifar10": {"url": "ftp://example.org"}}, "data.cifar10.url must .*got 'ftp://example.org'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, changes)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"data": {name: GOOD[name] for name in GOOD if name != key}}))
    with pytest.raises(UserError, match=f"data.{key} is missing"):
        params.section(Data, "data", path)
