"""The download stage: both folders or none, and every mistake in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import open_fit
from stages import download
from tests.data.inputs import image_files, make_zip
from tests.stages.commands import contents, invoke, refused, well, write_params

pytestmark = pytest.mark.usefixtures("project")
PETS = {"folder": {"path": "pets.zip"}}


def run(**data: Any) -> Result:
    write_params(data={"source": "folder", "stored_size": 8, "validation_fraction": 0.25, **data})
    return invoke(download.main, fit="data/fit", heldout="data/heldout")


def arrays() -> dict[str, bytes]:
    return {path: content for path, content in contents("data").items() if path.endswith(".npy")}


def test_both_folders_are_written_and_the_next_run_writes_the_same_bytes() -> None:
    make_zip(Path("pets.zip"), image_files())
    well(run(**PETS))
    fit, heldout = open_fit(Path("data/fit")), open_heldout(Path("data/heldout"))
    assert fit.meta == heldout.meta
    assert fit.meta.counts == {"train": 9, "validation": 3, "heldout": 6}
    assert (fit.meta.source, fit.meta.image_size) == ("folder", 8)
    first = contents("data")
    assert len(first) == 8
    run(**PETS)
    assert contents("data") == first


def test_images_follow_their_own_seed() -> None:
    shapes = {"source": "shapes", "shapes": {"train_per_class": 4, "test_per_class": 1}}
    written = [run(**shapes, seed=seed).exit_code or arrays() for seed in (0, 0, 1)]
    assert written[0] == written[1]
    assert all(written[0][name] != written[2][name] for name in written[0] if name.endswith("images.npy"))


def put_zip(**files: bytes) -> Callable[[], object]:
    return lambda: make_zip(Path("pets.zip"), {**image_files(), **files})


# One of each kind; all others are in the tests of the file that refuses them.
BAD_INPUT: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "no path": (put_zip(), {}, "data.folder.path must name a folder"),
    "missing": (lambda: None, PETS, "pets.zip: no such file or folder"),
    "no archive": (lambda: Path("pets.zip").write_bytes(b"Dear diary"), PETS, "pets.zip: is text"),
    "escaping": (put_zip(**{"../x.png": b"x"}), PETS, "pets.zip: '../x.png' escapes its folder"),
    "no image": (put_zip(**{"test/bee/x.png": b"x"}), PETS, "pets.zip: test/bee/x.png: no image"),
    "empty class": (put_zip(**{"train/dog/": b""}), PETS, "pets.zip: class folder train/dog/ is empty"),
    "no network": (
        lambda: None,
        {"source": "cifar100", "cifar100": {"url": "http://127.0.0.1:1/cifar.tar.gz"}},
        "http://127.0.0.1:1/cifar.tar.gz: cannot be downloaded",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD_INPUT))
def test_bad_input_is_one_line_and_exit_code_2(case: str) -> None:
    prepare, data, message = BAD_INPUT[case]
    prepare()
    result = run(**data)
    refused(result, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(Path().glob("data/*"))


def test_a_failure_keeps_what_was_there() -> None:
    make_zip(Path("pets.zip"), image_files())
    run(**PETS)
    before = contents("data")
    make_zip(Path("pets.zip"), {**image_files(), "test/cat/z.png": b"no image"})
    assert run(**PETS).exit_code == 2
    assert contents("data") == before
    assert sorted(path.name for path in Path("data").iterdir()) == ["fit", "heldout"]
