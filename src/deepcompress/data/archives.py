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
from typing import IO, TYPE_CHECKING, TypeVar

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
CHUNK_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20
MAX_RATIO = 200  # unpacked / packed bytes; photographs reach 3, drawings some 50
RATIO_FREE_BYTES = 1 << 20  # a small file may have any ratio
BLOCK_BYTES = 512  # of a tar
LONGEST_REASON = 200  # characters; zipfile quotes a damaged name whole
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError)
M = TypeVar("M")


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
    try:
        return _zip(path) if path.name.lower().endswith(".zip") else _tar(path, workspace)
    except DAMAGE as error:
        _raise_the_disks(error)
        raise _damaged(f"{path}", error) from error


def _directory(top: Path) -> Tree:
    files: list[str] = []
    folders: list[str] = []
    _walk(top, (os.path.realpath(top),), files, folders)
    prefix = len(f"{top}{os.sep}")

    def read(name: str) -> bytes:
        if not (top / name).is_file():
            raise UserError(f"{top / name}: is no file that can be read")
        return (top / name).read_bytes()

    def below(paths: list[str]) -> tuple[str, ...]:
        return tuple(sorted(path[prefix:].replace(os.sep, "/") for path in paths))

    return Tree(below(files), below(folders), read)


def _walk(folder: Path, above: tuple[str, ...], files: list[str], folders: list[str]) -> None:
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            files.append(str(entry))
            continue
        real = os.path.realpath(entry)
        if real in above:
            raise UserError(f"{entry}: is a link to a folder that contains it")
        folders.append(str(entry))
        _walk(entry, (*above, real), files, folders)


def _zip(path: Path) -> Tree:
    archive = zipfile.ZipFile(path)
    members: dict[str, zipfile.ZipInfo] = {}
    folders: list[str] = []
    for member in archive.infolist():
        name = _safe_name(path, member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path}: {name} is a link; only files and folders are allowed")
        if member.flag_bits & 1:
            raise UserError(f"{path}: {name} is encrypted; only plain members are allowed")
        if member.is_dir():
            folders.append(name)
            continue
        _refuse_bomb(path, name, member.file_size, member.compress_size)
        _add(path, members, name, member)
    return _tree(path, members, folders, archive.read)


def _tar(path: Path, workspace: Path) -> Tree:
    file = path.open("rb") if path.suffix.lower() == ".tar" else _unpacked(path, workspace)
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (it is read later)
        members: dict[str, tarfile.TarInfo] = {}
        folders: list[str] = []
        for member in archive:
            name = _safe_name(path, member.name)
            if member.isdir():
                folders.append(name)
                continue
            if not member.isreg():
                raise UserError(f"{path}: {name} is a link or device; only files and folders are allowed")
            if member.issparse():  # it may claim any size
                raise UserError(f"{path}: {name} is a sparse file; only plain ones are allowed")
            _refuse_bomb(path, name, member.size, member.size)
            _add(path, members, name, member)
        _refuse_truncated(archive)
    except BaseException:
        file.close()
        raise

    def read(member: tarfile.TarInfo) -> bytes:
        stream = archive.extractfile(member)
        assert stream is not None  # a regular file
        return stream.read()

    weakref.finalize(read, file.close)
    return _tree(path, members, folders, read)


def _unpacked(path: Path, workspace: Path) -> IO[bytes]:
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


def _tree(path: Path, members: dict[str, M], folders: list[str], read: Callable[[M], bytes]) -> Tree:
    def read_member(name: str) -> bytes:
        try:
            return read(members[name])
        except DAMAGE as error:
            _raise_the_disks(error)
            raise _damaged(f"{path}: {name}", error) from error

    return Tree(tuple(sorted(members)), tuple(sorted(folders)), read_member)


def _safe_name(path: Path, name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:$", parts[0]):
        raise UserError(f"{path}: {name!r} escapes its folder; only relative paths without .. are allowed")
    return "/".join(part for part in parts if part not in ("", "."))


def _add(path: Path, members: dict[str, M], name: str, member: M) -> None:
    if name in members:
        raise UserError(f"{path}: {name} is there twice")
    members[name] = member


def _refuse_bomb(path: Path, name: str, size: int, packed: int) -> None:
    if size > MAX_FILE_BYTES or (size > RATIO_FREE_BYTES and size > MAX_RATIO * packed):
        raise UserError(
            f"{path}: {name} unpacks to {size} bytes from {packed}: a decompression bomb; "
            f"at most {MAX_FILE_BYTES} bytes and {MAX_RATIO} times its size are allowed"
        )


def _refuse_truncated(archive: tarfile.TarFile) -> None:
    """A tar ends with blocks of zeros; tarfile takes a file cut off between two members for a whole one."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(BLOCK_BYTES) != bytes(BLOCK_BYTES):
        raise tarfile.ReadError("cut off, or a broken header within")


def _damaged(what: str, error: Exception) -> UserError:
    return UserError(f"{what}: is damaged or truncated ({str(error)[:LONGEST_REASON] or type(error).__name__})")


def _raise_the_disks(error: Exception) -> None:  # what damaged bytes cause has no number, or that of a bad offset
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error
