"""The download stage: both folders or none, and every mistake in one line."""

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


@pytest.mark.parametrize(
    ("name", "message"),
    [("../x.png", "pets.zip: '../x.png' escapes its folder"), ("test/bee/x.png", "pets.zip: test/bee/x.png: no image")],
)
def test_bad_input_is_one_line_before_and_while_images_are_written(name: str, message: str) -> None:
    make_zip(Path("pets.zip"), {**image_files(), name: b"x"})
    done = run(**PETS)
    refused(done, "")
    assert message in done.stderr
    assert not list(Path().glob("data/*"))


def test_a_failure_keeps_what_was_there() -> None:
    make_zip(Path("pets.zip"), image_files())
    run(**PETS)
    before = contents("data")
    make_zip(Path("pets.zip"), {**image_files(), "test/cat/z.png": b"no image"})
    assert run(**PETS).exit_code == 2
    assert contents("data") == before
    assert sorted(path.name for path in Path("data").iterdir()) == ["fit", "heldout"]
