"""Files that params.yaml names: their hashes tell what was replaced, and links bring them into DVC's sight."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepcompress import dependencies, files
from deepcompress.data.store import DataConfig
from deepcompress.errors import UserError
from tests.data.inputs import image_files, make_folder, make_zip

OWN = "mynets.small:make"


@pytest.fixture
def project(inside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(inside))
    Path("mynets").mkdir()
    Path("mynets/small.py").write_text("import math\nfrom .parts import block\n\ndef make(classes):\n    ...\n")
    Path("mynets/parts.py").write_text("from mynets import __name__\nblock = 1\n")
    Path("mynets/other.py").write_text("other = 1\n")
    Path("w.pth").write_bytes(b"one")
    return inside


def document(arch: str = "vgg11", weights: str | None = None, images: str | None = None) -> dict[str, Any]:
    plain = {"arch": "vgg11", "weights": None}
    networks = {"model": {"arch": arch, "weights": weights}, "teachers": {"a": plain}, "distill": {"student": plain}}
    data = {"source": "shapes" if images is None else "folder", "folder": {"path": images}}
    return {**networks, "data": {"stored_size": 8, "validation_fraction": 0.1, **data}}


def test_nothing_is_hashed_where_no_file_is_named(project: Path) -> None:
    nothing = {"weights": None, "arch": None}
    expected = {"data": "none", "model": nothing, "teachers": {"a": nothing}, "distill": {"student": nothing}}
    assert dependencies.hashes(document()) == expected
    assert dependencies.hashes(document("timm:resnet18", "imagenet")) == expected


def test_weights_of_other_content_have_another_hash(project: Path) -> None:
    before = dependencies.hashes(document(weights="w.pth"))["model"]
    (project / "w.pth").write_bytes(b"two")
    assert dependencies.hashes(document(weights="w.pth"))["model"] != before
    for gone, why in (("gone.pth", "no such file; it must be null"), ("~nobody_here/w.pth", "there is no such user")):
        with pytest.raises(UserError, match=f"params.yaml: model.weights: {gone}: {why}"):
            dependencies.hashes(document(weights=gone))


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("small.py", "# fast\nimport math\nfrom .parts import block\n\ndef make(classes):\n    ...\n", False),
        ("small.py", "import math\nfrom .parts import block\n\ndef make(classes):\n    return block\n", True),
        ("parts.py", "block = 2\n", True),
        ("other.py", "other = 2\n", False),
    ],
)
def test_code_counts_that_the_function_can_reach(project: Path, name: str, text: str, counts: bool) -> None:
    before = dependencies.hashes(document(OWN))["model"]["arch"]
    dependencies.code_hash.digest.cache_clear()
    (project / "mynets" / name).write_text(text)
    assert (dependencies.hashes(document(OWN))["model"]["arch"] != before) == counts


def test_links_are_those_to_the_named_files_alone(project: Path) -> None:
    folder = project / "inputs"
    dependencies.link_(document(OWN, "w.pth"), folder)
    links = sorted(folder.iterdir())
    assert [link.name for link in links] == ["model.arch.0-small.py", "model.arch.1-parts.py", "model.weights.0-w.pth"]
    assert links[2].read_bytes() == b"one"
    dependencies.link_(document(OWN, "w.pth"), folder)
    assert sorted(folder.iterdir()) == links
    (project / "w.pth").unlink()
    dependencies.look_anew_(folder)
    assert sorted(folder.iterdir()) == links[:2]
    dependencies.link_(document(), folder)
    assert not list(folder.iterdir())


def test_what_a_user_puts_beside_the_links_stays(project: Path) -> None:
    folder = project / "inputs"
    folder.mkdir()
    archive = make_zip(folder / "pets.zip", {"a": b"1"})
    (folder / "photos").mkdir()
    for path in (archive, None):
        dependencies.link_(document(images=path and str(path)), folder)
        assert archive.is_file()
        assert not archive.is_symlink()
        assert (folder / "photos").is_dir()
    (folder / dependencies.IMAGES).mkdir()
    with pytest.raises(UserError, match=r"inputs/images: is a folder, and must be a file of ours; give yours another"):
        dependencies.link_(document(), folder)


def test_a_module_that_is_not_there_is_refused_by_key(project: Path) -> None:
    why = {
        "mynets.tiny:make": "there is no module",
        "numpy:array": "module numpy is an installed package; call it from",
    }
    for arch, said in why.items():
        with pytest.raises(UserError, match=f"^params.yaml: model.arch: {arch}: {said}"):
            dependencies.hashes(document(arch))


def test_changed_images_are_told_of_in_a_file_that_dvc_sees(project: Path) -> None:
    folder, archive = project / "inputs", make_zip(project / "x.zip", {"a": b"1"})
    pets = make_folder(project / "pets", image_files())
    for path in (pets, archive):
        dependencies.link_(document(images=str(path)), folder)
        told = (folder / dependencies.IMAGES).read_text()
        assert told == dependencies.hashes(document(images=str(path)))["data"]
        os.utime(path if path.is_file() else path / "train/ant/0.png", ns=(1, 1))
        files.write_text("params.yaml", yaml.safe_dump(document(images=str(path))))
        dependencies.look_anew_(folder)
        assert (folder / dependencies.IMAGES).read_text() != told
    assert sorted(entry.name for entry in folder.iterdir()) == ["data.x.zip", dependencies.IMAGES]
    dependencies.link_(document(), folder)
    assert not list(folder.iterdir())


def test_what_is_wrong_with_params_is_said_before_dvc_says_that_something_is(project: Path) -> None:
    files.write_text("params.yaml", "seed: 0\nseed: 1\n")
    with pytest.raises(UserError, match=r"params\.yaml: seed stands twice"), dependencies.opened_project():
        pass


def config(**options: Any) -> DataConfig:
    return DataConfig(source="folder", stored_size=8, validation_fraction=0.1, folder=options)  # type: ignore[arg-type]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pets", image_files())


CHANGES: dict[str, Callable[[Path], object]] = {
    "litter": lambda top: [(top / name).write_bytes(b"x") for name in ("train/.DS_Store", "train/ant/Thumbs.db")],
    "another image": lambda top: (top / "train/ant/new.png").write_bytes(b"x"),
    "a longer image": lambda top: (top / "train/ant/0.png").write_bytes(b"x" * 999),
    "a newer image": lambda top: os.utime(top / "train/ant/0.png", ns=(1, 1)),
    "an image gone": lambda top: (top / "test/bee/0.png").unlink(),
    "another name": lambda top: (top / "test/bee/0.png").rename(top / "test/bee/00.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_has_another_fingerprint_and_litter_does_not_count(top: Path, change: str) -> None:
    before = dependencies.fingerprint(config(path=str(top)))
    assert before == dependencies.fingerprint(config(path=str(top)))
    CHANGES[change](top)
    assert (dependencies.fingerprint(config(path=str(top))) == before) == (change == "litter")


def test_where_the_images_are_gone_what_was_recorded_of_the_same_params_holds_on(project: Path) -> None:
    top = make_folder(project / "pets", image_files())
    given = document(images=str(top))
    hashes = dependencies.hashes(given)
    before = dependencies.fingerprint(config(path=str(top)))
    top.rename(project / "away")
    with pytest.raises(UserError, match=r"^params.yaml: data.folder: .*pets: no such file or folder$"):
        dependencies.hashes(given)
    files.write_json(dependencies.HASHES, hashes)
    assert dependencies.hashes(given) == hashes
    for asked in (config(path=str(top), heldout_fraction=0.5), config(path="elsewhere")):
        with pytest.raises(UserError, match=r"^params\.yaml: data\.folder: .*: no such file or folder$"):
            dependencies.fingerprint(asked, before)


def test_a_circle_of_links_ends_and_linked_folders_are_looked_into(top: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", {"a.png": b"1"})
    (top / "train/ant/more").symlink_to(other)
    (top / "train/ant/round").symlink_to(top)
    before = dependencies.fingerprint(config(path=str(top)))
    (other / "a.png").write_bytes(b"22")
    assert dependencies.fingerprint(config(path=str(top))) != before
