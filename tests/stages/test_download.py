"""The download stage: both folders or none, and every mistake in one line."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import open_fit
from stages import download
from tests.data.inputs import encoded, image_files, make_cifar, make_tar, make_zip, md5, pixels, served

STAGE = Path(download.__file__)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPCOMPRESS_SCRATCH", str(tmp_path / ".scratch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def write_params(**data: Any) -> None:
    section = {"source": "folder", "stored_size": 8, "validation_fraction": 0.25, **data}
    Path("params.yaml").write_text(yaml.safe_dump({"seed": 0, "data": section}))


def run(**data: Any) -> Result:
    write_params(**data)
    return CliRunner().invoke(download.main, ["--fit", "data/fit", "--heldout", "data/heldout"])


def outputs() -> list[str]:
    return sorted(path.name for path in Path("data").iterdir()) if Path("data").exists() else []


def tree(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*.*"))}


def test_both_folders_are_written_and_opened() -> None:
    make_zip(Path("pets.zip"), image_files())
    assert run(folder={"path": "pets.zip"}).exit_code == 0
    fit, heldout = open_fit(Path("data/fit")), open_heldout(Path("data/heldout"))
    assert fit.meta == heldout.meta
    assert fit.meta.counts == {"train": 9, "validation": 3, "heldout": 6}
    assert (fit.meta.source, fit.meta.image_size) == ("folder", 8)
    assert outputs() == ["fit", "heldout"]


def test_a_second_run_writes_the_same_bytes() -> None:
    make_zip(Path("pets.zip"), image_files())
    run(folder={"path": "pets.zip"})
    first = tree("data")
    run(folder={"path": "pets.zip"})
    assert tree("data") == first
    assert len(first) == 8


def test_an_archive_and_its_folder_give_the_same_arrays() -> None:
    make_zip(Path("pets.zip"), image_files())
    make_tar(Path("pets.tar.gz"), image_files())
    run(folder={"path": "pets.zip"})
    first = tree("data")
    run(folder={"path": "pets.tar.gz"})
    assert {k: v for k, v in tree("data").items() if "meta" not in k} == {
        k: v for k, v in first.items() if "meta" not in k
    }


def test_cifar_is_downloaded_once() -> None:
    archive = make_cifar(Path(), 10)
    with served(Path()) as (address, _):
        options = {"url": f"{address}/{archive.name}", "md5": md5(archive)}
        assert run(source="cifar10", cifar10=options).exit_code == 0
    first = tree("data")
    assert run(source="cifar10", cifar10=options).exit_code == 0, "the server is gone"
    assert tree("data") == first
    assert open_fit(Path("data/fit")).meta.source == "cifar10"


def put_zip(**files: bytes) -> Callable[[], None]:
    return lambda: void(make_zip(Path("pets.zip"), {**image_files(), **files}))


def put(content: bytes) -> Callable[[], None]:
    return lambda: void(Path("pets.zip").write_bytes(content))


def cut_zip() -> None:
    path = make_zip(Path("pets.zip"), image_files())
    path.write_bytes(path.read_bytes()[:500])


def corrupt_zip() -> None:
    path = make_zip(Path("pets.zip"), image_files())
    content = bytearray(path.read_bytes())
    content[80] ^= 0xFF
    path.write_bytes(content)


def one_class() -> None:
    files = {name: data for name, data in image_files().items() if "/ant/" in name}
    make_zip(Path("pets.zip"), files)


def void(_: object) -> None:
    return None


PETS = {"folder": {"path": "pets.zip"}}
BAD_INPUT: dict[str, tuple[Callable[[], None], dict[str, Any], str]] = {
    "no path": (put_zip(), {}, "data.folder.path must name a folder"),
    "missing": (lambda: None, PETS, "pets.zip: no such file or folder"),
    "empty": (put(b""), PETS, "pets.zip: is an empty file"),
    "no archive": (put(b"Dear diary"), PETS, "pets.zip: is damaged or truncated"),
    "truncated": (cut_zip, PETS, "pets.zip: is damaged or truncated"),
    "corrupt": (corrupt_zip, PETS, "pets.zip: train/ant/0.png: "),
    "escaping": (put_zip(**{"../x.png": b"x"}), PETS, "pets.zip: '../x.png' escapes its folder"),
    "bomb": (put_zip(**{"train/ant/x.png": bytes(4 << 20)}), PETS, "pets.zip: train/ant/x.png unpacks to"),
    "no image": (put_zip(**{"test/bee/x.txt": b"x"}), PETS, "pets.zip: test/bee/x.txt: no image"),
    "empty class": (put_zip(**{"train/dog/": b""}), PETS, "pets.zip: class folder train/dog/ is empty"),
    "one class": (one_class, PETS, "pets.zip: at least two class folders"),
    "test class": (put_zip(**{"test/dog/0.png": b"x"}), PETS, "pets.zip: test/dog is a class that train/"),
    "unknown source": (put_zip(), {"source": "imagenet"}, "data.source"),
    "unknown key": (put_zip(), {"sizes": 3}, "data.sizes is unknown"),
    "size": (put_zip(), {"stored_size": 0}, "data.stored_size must be"),
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
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert outputs() == []


def test_a_wrong_checksum_names_both_sums() -> None:
    archive = make_cifar(Path(), 100)
    with served(Path()) as (address, _):
        url = f"{address}/{archive.name}"
        result = run(source="cifar100", cifar100={"url": url, "md5": "0" * 32})
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"error: {url}: wrong checksum, md5 must be {'0' * 32}, got {md5(archive)}"
    assert outputs() == []


def test_a_link_in_a_tar_is_refused() -> None:
    link = tarfile.TarInfo("train/ant/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open("pets.tar", "w") as archive:
        archive.addfile(link)
    result = run(folder={"path": "pets.tar"})
    assert result.exit_code == 2
    assert "pets.tar: train/ant/link.png is a link" in result.stderr


def test_an_image_too_large_for_memory_is_refused() -> None:
    header = bytearray(encoded(pixels(0, 8, 8, 3), "BMP"))
    header[18:26] = (70_000).to_bytes(4, "little") * 2
    make_zip(Path("pets.zip"), {**image_files(), "train/ant/x.bmp": bytes(header)})
    result = run(folder={"path": "pets.zip"})
    assert result.exit_code == 2
    assert "train/ant/x.bmp: no image that can be read" in result.stderr
    assert outputs() == []


@pytest.mark.parametrize("limit_bytes", [100, 1000, 3000])
def test_a_full_disk_is_one_line_and_leaves_nothing(limit_bytes: int) -> None:
    make_zip(Path("pets.zip"), image_files())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_params(folder={"path": "pets.zip"})
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
        result = CliRunner().invoke(download.main, ["--fit", "data/fit", "--heldout", "data/heldout"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if limit_bytes == 3000:
        assert result.exit_code == 0, "the limit is above every file"
        return
    assert result.exit_code == 2
    assert result.stderr.startswith("error: data/")
    assert outputs() == []


def test_a_failure_keeps_what_was_there() -> None:
    make_zip(Path("pets.zip"), image_files())
    run(folder={"path": "pets.zip"})
    before = tree("data")
    make_zip(Path("pets.zip"), {**image_files(), "test/cat/z.png": b"no image"})
    assert run(folder={"path": "pets.zip"}).exit_code == 2
    assert tree("data") == before
    assert outputs() == ["fit", "heldout"]


def test_a_killed_run_leaves_no_output_and_the_next_one_tidies_up() -> None:
    slow = encoded(pixels(0, 2000, 2000, 3))
    files = {name: slow if name.startswith("train/cat") else data for name, data in image_files().items()}
    make_zip(Path("pets.zip"), files)
    write_params(folder={"path": "pets.zip"})
    command = [sys.executable, str(STAGE), "--fit", "data/fit", "--heldout", "data/heldout"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(STAGE.parents[1])}) as process:
        while not outputs() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert all(name.startswith(".") for name in outputs())
    assert run(folder={"path": "pets.zip"}).exit_code == 0
    assert outputs() == ["fit", "heldout"]
    assert len(open_fit(Path("data/fit")).train) == 9
