"""What counts as an image: one rule, for the data sources and for `predict`.

A file counts if its content starts as an image's does, whatever its name, or if its name says that it is one, whatever
its content: a photograph that was cut to nothing must be told of, not passed over. What file managers, editors and
sync tools leave behind never counts, though Synology's and macOS's previews are images by content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from deepcompress.errors import printable

HEAD_BYTES = 64  # of a file that `counts` must see
MOST_NAMED = 5
WHITE = 2**16 - 1  # the largest value of 16-bit grey

LITTER = frozenset(
    {
        "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini",
        "zbthumbnail.info", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
        "lost+found", "__pycache__",
    }
)  # fmt: skip
UNFINISHED = ("~", ".part", ".partial", ".crdownload", ".download", ".tmp", ".swp", ".swo", ".bak", ".orig")

READABLE = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
        ".avif", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".jpg2",
    }
)  # fmt: skip
RAW = frozenset({".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"})
"""Raw photographs: to a reader of TIFF they are their own small previews."""
UNREADABLE = RAW | {".heic", ".heif", ".jxl", ".psd", ".xcf", ".svg", ".tga", ".ico", ".dcm"}

_STARTS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|II\+\0|MM\0\+|RIFF....WEBP|P[1-6]\s+(#|\d+\s+\d+\s)"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"
    rb"|....ftyp(avif|avis|heic|heix|heim|heis|hevc|mif1|msf1)",
    re.DOTALL,
)


_FOREIGN = {
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


def foreign(head: bytes) -> str | None:
    """What people often have under an image's or an archive's name and is none that we read; None: not known."""
    return next((name for start, name in _FOREIGN.items() if re.match(start, head, re.DOTALL)), None)


def is_litter(name: str) -> bool:
    """Whether a path with "/" between its parts is hidden, or was left by a file manager, an editor or a sync tool."""
    *folders, last = name.casefold().split("/")
    return any(part.startswith(".") or part in LITTER for part in (*folders, last)) or last.endswith(UNFINISHED)


def counts(name: str, head: bytes) -> bool:
    """Whether a file is an image by its content, or says that it is one by its name.

    Args:
        name: Of the file.
        head: Its first HEAD_BYTES bytes, or more.
    """
    return starts_as_image(head) or suffix(name) in READABLE | UNREADABLE


def starts_as_image(head: bytes) -> bool:
    """Whether a content's first HEAD_BYTES bytes are those of an image."""
    return bool(_STARTS.match(head))


def suffix(name: str) -> str:
    """Of a file's name, in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


def named(names: Iterable[str]) -> str:
    """The first of some names for a message, and how many more there are."""
    listed = [printable(name) for name in names]
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return ", ".join(listed[:MOST_NAMED]) + more
