"""What every file of data/sources must do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepcompress import params
from deepcompress.data.store import DataConfig, load_source
from tests.data.inputs import image_files, make_cifar, make_table, make_zip, md5, served


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


@pytest.mark.parametrize("name", params.plugins("data.sources"))
def test_a_source_gives_the_same_at_every_run_and_call_which_the_store_takes(name: str, tmp_path: Path) -> None:
    with served(tmp_path) as (address, _):
        block = TINY[name](tmp_path, address) if name in TINY else {}
        section = {"source": name, "stored_size": 12, "validation_fraction": 0.5, "seed": 3, name: block}
        data = params.validate(DataConfig, section, "data")
        for run in ("first", "second"):
            (tmp_path / run).mkdir()
        source, again = (load_source(data, tmp_path / run) for run in ("first", "second"))
    assert source.origin["source"] == name
    assert len(source.origin["checksum"].removeprefix("sha256:")) == 64
    assert (again.origin, again.classes) == (source.origin, source.classes)
    assert len(source.classes) >= 2
    assert source.test is not None
    assert again.test is not None
    for part, same in ((source.train, again.train), (source.test, again.test)):
        assert set(part.labels) == set(range(len(source.classes)))
        assert (part.labels == same.labels).all()
        for index in (0, len(part) - 1, 0):
            assert (part.read(index) == same.read(index)).all()
