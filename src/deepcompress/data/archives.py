"""The files of a directory, .zip or .tar, listed and read in place: no member is unpacked under its name.

Archives come from anywhere, so a member that would escape its folder, a link, an encrypted or duplicate
member and a decompression bomb are refused before any image is read.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import re
import stat
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
CHUNK_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20
MAX_RATIO = 200  # unpacked / packed bytes; photographs reach 3, drawings some 50
RATIO_FREE_BYTES = 1 << 20  # a small file may have any ratio
BLOCK_BYTES = 512  # of a tar
LONGEST_REASON = 200  # characters; zipfile quotes a damaged name whole
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError)


@dataclass(frozen=True)
class Tree:
    """A folder's content, wherever it lies.

    Attributes:
        files: Paths below the top with "/" between the parts, sorted.
        folders: As files, empty folders too where the archive lists them.
        read: Gives a file's bytes; raises UserError if it is damaged.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    read: Callable[[str], bytes]


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    packed_size: int
    read: Callable[[], bytes]


def open_tree(path: Path, workspace: Path) -> Tree:
    """List a directory, .zip, .tar, .tar.gz or .tgz.

    Args:
        path: The directory or archive.
        workspace: Folder for the unpacked copy of a .tar.gz, a nameless file that goes with the process.

    Raises:
        UserError: If it is missing, empty, damaged, of another kind, or has a member that is refused.
    """
    if path.is_dir():
        return _directory(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: must be a folder or end in {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is an empty file")
    is_zip = path.name.lower().endswith(".zip")
    try:
        return _archive(path, _zip_members(path) if is_zip else _tar_members(path, workspace))
    except DAMAGE as error:
        raise _damaged(f"{path}", error) from error


def _directory(top: Path) -> Tree:
    files, folders = [], []
    for place, _, names in os.walk(top, onerror=_raise, followlinks=True):
        here = Path(place)
        inside = here.relative_to(top).parts
        if any(here.samefile(above) for above in here.parents[: len(inside)]):
            raise UserError(f"{here}: is a link to a folder that contains it")
        folders.append("/".join(inside))
        files += ["/".join((*inside, name)) for name in names]

    def read(name: str) -> bytes:
        if not (top / name).is_file():
            raise UserError(f"{top / name}: is no file that can be read")
        return (top / name).read_bytes()

    return Tree(tuple(sorted(files)), tuple(sorted(folders)[1:]), read)  # the first one is the top itself


def _raise(error: OSError) -> None:
    raise error


def _archive(path: Path, members: Iterable[_Member]) -> Tree:
    files: dict[str, _Member] = {}
    folders: list[str] = []
    for member in members:
        parts = member.name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:$", parts[0]):
            raise UserError(f"{path}: {member.name!r} escapes its folder; only relative paths without .. are allowed")
        name = "/".join(part for part in parts if part not in ("", "."))
        if member.is_folder:
            folders.append(name)
            continue
        size, packed = member.size, member.packed_size
        if size > MAX_FILE_BYTES or (size > RATIO_FREE_BYTES and size > MAX_RATIO * packed):
            raise UserError(
                f"{path}: {name} unpacks to {size} bytes from {packed}: a decompression bomb; "
                f"at most {MAX_FILE_BYTES} bytes and {MAX_RATIO} times its size are allowed"
            )
        if name in files:
            raise UserError(f"{path}: {name} is there twice")
        files[name] = member

    def read(name: str) -> bytes:
        try:
            return files[name].read()
        except DAMAGE as error:
            raise _damaged(f"{path}: {name}", error) from error

    return Tree(tuple(sorted(files)), tuple(sorted(folders)), read)


def _zip_members(path: Path) -> Iterator[_Member]:
    archive = zipfile.ZipFile(path)
    for member in archive.infolist():
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path}: {member.filename} is a link; only files and folders are allowed")
        if member.flag_bits & 1:
            raise UserError(f"{path}: {member.filename} is encrypted; only plain members are allowed")
        read = partial(archive.read, member)
        yield _Member(member.filename, member.is_dir(), member.file_size, member.compress_size, read)


def _tar_members(path: Path, workspace: Path) -> Iterator[_Member]:
    file = path.open("rb") if path.suffix.lower() == ".tar" else _decompressed(path, workspace)
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (members are read later)
    except BaseException:
        file.close()
        raise
    weakref.finalize(archive, file.close)
    for member in archive:
        if not (member.isdir() or member.isreg()) or member.issparse():  # a sparse file may claim any size
            kind = "a link, device or sparse file"
            raise UserError(f"{path}: {member.name} is {kind}; only files and folders are allowed")
        yield _Member(member.name, member.isdir(), member.size, member.size, partial(_read, archive, member))
    # A tar ends with blocks of zeros; tarfile takes a file cut off between two members for a whole one.
    file.seek(archive.offset)
    if file.read(BLOCK_BYTES) != bytes(BLOCK_BYTES):
        raise tarfile.ReadError("cut off, or a broken header within")


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None  # a regular file
    return stream.read()


def _decompressed(path: Path, workspace: Path) -> IO[bytes]:
    """A .tar.gz as a .tar, which can be read at any place, and whose size has a limit."""
    limit = max(RATIO_FREE_BYTES, MAX_RATIO * path.stat().st_size)
    file = tempfile.TemporaryFile(dir=workspace)  # noqa: SIM115 (lives as long as the tree)
    try:
        with gzip.open(path) as packed:
            while chunk := packed.read(CHUNK_BYTES):
                if file.tell() > limit:
                    raise UserError(f"{path}: unpacks to over {MAX_RATIO} times its size: a decompression bomb")
                file.write(chunk)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _damaged(what: str, error: Exception) -> UserError:
    """What to tell of bytes that cannot be read; a failing disk's error is raised as it is."""
    if isinstance(error, OSError) and error.errno not in (
        None,
        errno.EINVAL,
    ):  # damaged bytes give none, or a bad offset
        raise error
    return UserError(f"{what}: is damaged or truncated ({str(error)[:LONGEST_REASON] or type(error).__name__})")
