"""What every file of data/sources must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepcompress import params
from deepcompress.data.store import Source
from tests.data.inputs import image_files, make_cifar, make_table, make_zip, md5, served

NAMES = params.plugins("data.sources")
STORED_SIZE = 12


def cifar(folder: Path, address: str, classes: int) -> dict[str, Any]:
    archive = make_cifar(folder, classes)
    return {"url": f"{address}/{archive.name}", "md5": md5(archive)}


# The smallest options of sources whose defaults do not do; what they need lies in a folder served at an address.
TINY: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "cifar10": lambda folder, address: cifar(folder, address, 10),
    "cifar100": lambda folder, address: cifar(folder, address, 100),
    "csv": lambda folder, _: {"path": str(make_table(folder / "x", image_files()))},
    "folder": lambda folder, _: {"path": str(make_zip(folder / "x.zip", image_files()))},
    "shapes": lambda *_: {"train_per_class": 2, "test_per_class": 1},
}


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, list[Source]]:
    module = params.plugin("data.sources", request.param)
    runs = []
    with served(tmp_path) as (address, _):
        tiny = TINY[request.param](tmp_path, address) if request.param in TINY else {}
        options = module.Options(**tiny)
        for run in ("first", "second"):
            (tmp_path / run).mkdir()
            runs.append(module.load(options, stored_size=STORED_SIZE, seed=3, workspace=tmp_path / run))
    return request.param, runs


def test_a_source_hands_over_what_the_store_writes(loaded: tuple[str, list[Source]]) -> None:
    name, (source, again) = loaded
    assert source.origin["source"] == name
    assert len(source.origin["checksum"].removeprefix("sha256:")) == 64
    assert len(set(source.classes)) == len(source.classes) >= 2
    assert source.test is not None
    assert again.test is not None
    for part, same in ((source.train, again.train), (source.test, again.test)):
        assert part.labels.dtype == np.int64
        assert set(part.labels) == set(range(len(source.classes)))
        for index in (0, len(part) - 1, 0):
            image = part.read(index)
            assert image.dtype == np.uint8
            assert image.shape == (STORED_SIZE, STORED_SIZE, 3)
            assert (image == same.read(index)).all()
    assert again.origin == source.origin
    assert (again.train.labels == source.train.labels).all()
