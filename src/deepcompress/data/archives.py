"""The files of a directory, zip or tar, read in place: no member is unpacked under its name; and which are images.

An archive is known by its content, whatever its suffix. Archives come from anywhere, so a member that would escape its
folder, a link, an encrypted or duplicate member and a decompression bomb are refused before any image is read. Names
that are no UTF-8 keep their bytes (as Python's "surrogateescape" does) unless an encoding is given.

What counts as an image is one rule, for the data sources and for `predict`. A file counts if its content starts as an
image's does, whatever its name, or if its name says that it is one, whatever its content: a photograph that was cut to
nothing must be told of, not passed over. What file managers, editors and sync tools leave behind never counts, though
Synology's and macOS's previews are images by content.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from deepcompress.errors import UserError

PACKERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
FOREIGN = {
    b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard", b"\x04\x22\x4d\x18": "LZ4",
    b"\x1f\x9d": "compress", b"]\0\0\x80\0": "LZMA", b"LZIP": "lzip", b"MSCF": "CAB", b"xar!": "xar",
}  # fmt: skip
ZIP, UNICODE_NAME, TO_UTF8 = b"PK", 0x7075, 0x800  # how a zip starts; a field and a flag of its members
ZIP_METHODS = {0, 8, 12, 14} | ({93} if hasattr(zipfile, "ZIP_ZSTANDARD") else set())
ZIP_UNREADABLE = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "xz", 98: "PPMd"}
CHUNK_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20
MAX_RATIO = 200  # unpacked / packed bytes; photographs reach 3, drawings some 50
RATIO_FREE_BYTES = 1 << 20  # a small file may have any ratio
BLOCK_BYTES = 512  # of a tar
LONGEST_REASON = 200  # characters; zipfile quotes a damaged name whole
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError)

# What counts as an image.

HEAD_BYTES = 64  # of a file that `counts` must see

LITTER = {
    "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini",
    "zbthumbnail.info", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__",
}  # fmt: skip
UNFINISHED = ("~", ".part", ".partial", ".crdownload", ".download", ".tmp", ".swp", ".swo", ".bak", ".orig")

READABLE = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".avif", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".jpg2",
}  # fmt: skip
RAW = {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}
"""Raw photographs: to a reader of TIFF they are their own small previews."""
UNREADABLE = RAW | {".heic", ".heif", ".jxl", ".psd", ".xcf", ".svg", ".tga", ".ico", ".dcm"}

_STARTS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|II\+\0|MM\0\+|RIFF....WEBP|P[1-6]\s+(#|\d+\s+\d+\s)"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"
    rb"|....ftyp(avif|avis|heic|heix|heim|heis|hevc|mif1|msf1)",
    re.DOTALL,
)

_NO_IMAGE = {
    rb"....ftyp(hei[cmxs]|hev[cmx]|mif1|msf1)": "HEIC",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "JPEG XL",
    rb"\x89PNG(?!\r\n\x1a\n)": "a PNG that some transfer took for text",
    rb"8BPS": "Photoshop's PSD",
    rb"%PDF": "a PDF",
    rb"\0\0\x01\0": "an icon",
    rb"....ftyp(?!avi[fs])|\x1aE\xdf\xa3|RIFF....AVI ": "a film",
    rb"\x93NUMPY": "an array of NumPy",
    rb"\x89HDF": "HDF5",
    rb"version https://git-lfs": "a pointer of Git LFS (git lfs pull brings the file)",
    rb"(\xef\xbb\xbf)?\s*(?i:<!doctype html|<html)": "a web page",
    rb"(\xef\xbb\xbf)?\s*<(\?xml|svg)": "XML, such as an SVG",
}


@dataclass(frozen=True)
class Tree:
    """A folder's content, wherever it lies."""

    files: tuple[str, ...]  # paths below the top with "/" between the parts, sorted
    folders: tuple[str, ...]  # as files, empty folders too where the archive lists them
    read: Callable[[str], bytes]  # gives a file's bytes; raises UserError if it is damaged


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    packed_size: int
    read: Callable[[], bytes]


def open_tree(path: Path, workspace: Path, encoding: str | None = None) -> Tree:
    """List a directory, or an archive: a zip, or a tar, plain or packed by gzip, bzip2 or xz.

    A UserError if it is missing, empty, damaged, of another kind, or has a member that is refused.

    Args:
        path: The directory or archive.
        workspace: Folder for the unpacked copy of a packed tar, a nameless file that goes with the process.
        encoding: Of names that do not say that they are UTF-8; None: their bytes are kept if they are not.
    """
    try:
        return _directory(path, encoding) if path.is_dir() else _open_archive(path, workspace, encoding)
    except UnicodeDecodeError as error:
        name = str(error.object)[1:]
        raise UserError(
            f"{path}: the name {name} is not in the encoding {error.encoding}; see names_encoding"
        ) from None


def _open_archive(path: Path, workspace: Path, encoding: str | None) -> Tree:
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    with path.open("rb") as file:
        head = file.read(BLOCK_BYTES)
    if not head:
        raise UserError(f"{path}: is an empty file")
    if foreign := next((name for start, name in FOREIGN.items() if head.startswith(start)), None):
        raise UserError(f"{path}: is packed by {foreign}; unpack it, or pack it anew as .zip or .tar.gz")
    if b"ustar" not in head and (told := _no_archive(head)):
        raise UserError(f"{path}: is {told}, and must be a folder, a zip or a tar of images")
    try:
        if head.startswith(ZIP) or (b"ustar" not in head and zipfile.is_zipfile(path)):
            return _archive(path, _zip_members(path, encoding))
        with ExitStack() as opened:
            unpack = next((unpack for start, unpack in PACKERS.items() if head.startswith(start)), None)
            tar: IO[bytes] = tempfile.TemporaryFile(dir=workspace) if unpack else path.open("rb")  # noqa: SIM115
            opened.callback(tar.close)  # where the tree is refused; else with it
            if unpack:
                _unpack(path, unpack, tar)
            tree = _archive(path, _tar_members(path, tar, encoding))
            weakref.finalize(tree.read, opened.pop_all().close)
            return tree
    except DAMAGE as error:
        raise _damaged(f"{path}", error) from error


def _no_archive(head: bytes) -> str | None:
    """What a file is that people take for an archive; None: it may be one."""
    if starts_as_image(head):
        return "one image"
    return foreign(head) or ("text (a table is for data.source: csv)" if head.isascii() and 0 not in head else None)


def _directory(top: Path, encoding: str | None) -> Tree:
    files: dict[str, Path] = {}
    folders = []
    for place, _, names in os.walk(top, onerror=_raise, followlinks=True):
        here = Path(place)
        inside = here.relative_to(top).parts
        if any(here.samefile(above) for above in here.parents[: len(inside)]):
            raise UserError(f"{here}: is a link to a folder that contains it")
        folders.append(_text(os.fsencode("/".join(inside)), encoding))
        files |= {_text(os.fsencode("/".join((*inside, name))), encoding): here / name for name in names}

    def read(name: str) -> bytes:
        if not files[name].is_file():
            raise UserError(f"{files[name]}: is no file that can be read")
        return files[name].read_bytes()

    return Tree(tuple(sorted(files)), tuple(sorted(folders)[1:]), read)  # the first one is the top itself


def is_unicode(name: str) -> bool:
    """Whether a name is text; others keep bytes whose encoding nobody told."""
    return not any("\udc80" <= sign <= "\udcff" for sign in name)


def _text(raw: bytes, encoding: str | None) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(encoding) if encoding else raw.decode("utf-8", "surrogateescape")


def _raise(error: OSError) -> None:
    raise error


def _archive(path: Path, members: Iterable[_Member]) -> Tree:
    files: dict[str, _Member] = {}
    folders: list[str] = []
    for member in members:
        parts = member.name.split("/")
        if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:$", parts[0]):
            raise UserError(f"{path}: {member.name!r} escapes its folder; only relative paths without .. are allowed")
        name = "/".join(part for part in parts if part not in ("", "."))
        if member.is_folder:
            folders += [name] if name else []  # `tar c .` lists the top itself
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


def _zip_members(path: Path, encoding: str | None) -> Iterator[_Member]:
    archive = zipfile.ZipFile(path)
    for member in archive.infolist():
        name = _zip_name(member, encoding)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path}: {name} is a link; only files and folders are allowed")
        if member.flag_bits & 1:
            raise UserError(f"{path}: {name} is encrypted; only plain members are allowed")
        read = partial(_read_zip, archive, member, f"{path}: {name}")
        yield _Member(name, name.endswith("/"), member.file_size, member.compress_size, read)


def _zip_name(member: zipfile.ZipInfo, encoding: str | None) -> str:
    """With "/" between the parts; some programs write "\\", which is a part of a letter in some encodings."""
    name = member.orig_filename.partition("\0")[0]
    if not member.flag_bits & TO_UTF8:
        raw = name.encode("cp437")  # as which Python read it
        name = _named_in_extra(member.extra) or (raw.decode(encoding) if encoding else _text(raw, None))
    return name.replace("\\", "/") if is_unicode(name) or "/" not in name else name


def _named_in_extra(extra: bytes) -> str | None:
    """The name in UTF-8 that Info-ZIP adds to one in another encoding, behind a version and a checksum."""
    while len(extra) > 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind == UNICODE_NAME:
            return extra[9 : 4 + length].decode("utf-8", "surrogateescape")
        extra = extra[4 + length :]
    return None


def _read_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> bytes:
    if member.compress_type not in ZIP_METHODS:
        method = ZIP_UNREADABLE.get(member.compress_type, f"method {member.compress_type}")
        raise UserError(f"{name} is packed by {method}, which Python cannot read; pack it anew with deflate")
    return archive.read(member)


def _tar_members(path: Path, file: IO[bytes], encoding: str | None) -> Iterator[_Member]:
    archive = tarfile.open(fileobj=file, mode="r:", encoding="utf-8")  # noqa: SIM115 (members are read later)
    for member in archive:
        name = _text(member.name.encode("utf-8", "surrogateescape"), encoding).replace("\\", "/")
        if not (member.isdir() or member.isreg()) or member.issparse():  # a sparse file may claim any size
            kind = "a link, device or sparse file"
            raise UserError(f"{path}: {name} is {kind}; only files and folders are allowed")
        yield _Member(name, member.isdir(), member.size, member.size, partial(_read, archive, member))
    # A tar ends with blocks of zeros; tarfile takes a file cut off between two members for a whole one.
    file.seek(archive.offset)
    if file.read(BLOCK_BYTES) != bytes(BLOCK_BYTES):
        raise tarfile.ReadError("cut off, or a broken header within")


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None  # a regular file
    return stream.read()


def _unpack(path: Path, unpack: Callable[[Path], Any], file: IO[bytes]) -> None:
    """Write a packed tar as a plain one: it can then be read at any place, and its size has a limit."""
    limit = max(RATIO_FREE_BYTES, MAX_RATIO * path.stat().st_size)
    with unpack(path) as packed:
        while chunk := packed.read(CHUNK_BYTES):
            if file.tell() > limit:
                raise UserError(f"{path}: unpacks to over {MAX_RATIO} times its size: a decompression bomb")
            file.write(chunk)
    file.seek(0)


def _damaged(what: str, error: Exception) -> UserError:
    """What to tell of bytes that cannot be read; a failing disk's error is raised as it is."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of damaged bytes: none, a bad offset
        raise error
    return UserError(f"{what}: is damaged or truncated ({str(error)[:LONGEST_REASON] or type(error).__name__})")


# What counts as an image.


def foreign(head: bytes) -> str | None:
    """What people often have under an image's or an archive's name and is none that we read; None: not known."""
    return next((name for start, name in _NO_IMAGE.items() if re.match(start, head, re.DOTALL)), None)


def is_litter(name: str) -> bool:
    """Whether a path with "/" between its parts is hidden, or was left by a file manager, an editor or a sync tool."""
    *folders, last = name.casefold().split("/")
    return any(part.startswith(".") or part in LITTER for part in (*folders, last)) or last.endswith(UNFINISHED)


def counts(name: str, head: bytes) -> bool:
    """Whether a file is an image by its first HEAD_BYTES bytes (or more), or says that it is one by its name."""
    return starts_as_image(head) or suffix(name) in READABLE | UNREADABLE


def starts_as_image(head: bytes) -> bool:
    """Whether a content's first HEAD_BYTES bytes are those of an image."""
    return bool(_STARTS.match(head))


def suffix(name: str) -> str:
    """Of a file's name, in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()
