"""Whole files or none: every write goes to a temporary name, is flushed to disk and then renamed.

What a later run finds again in scratch ends in a checksum of what is before it; what is damaged counts as absent.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import json
import logging
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

log = logging.getLogger(__name__)
CHECKSUM_BYTES = 32
EXPERIMENTS = "/.dvc/tmp/exps/"  # where DVC copies a repository to, to run it aside


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at success it takes its place, at failure it is removed.

    The parent folder is made when missing. A reader sees the old file or the whole new one, never a part, whoever else
    writes it, and may read what could be read before. What a process that was killed left behind is removed. If the
    disk refuses (full, read-only), an OSError names `path`, which is then as it was.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{platform.node()}-{os.getpid()}-{threading.get_ident()}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        with suppress(OSError):  # there is none yet, or a file system without modes
            shutil.copymode(path, partial)
        os.replace(partial, path)
        remove_orphans(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # of a folder that is read-only; what stopped the write is told
            partial.unlink(missing_ok=True)


def absence(path: Path) -> str | None:
    """Why there is no file to read at a path; None where there is one."""
    try:
        if path.is_file():
            return None
        return "is a folder, and must be a file" if path.is_dir() else "no such file"
    except (OSError, ValueError):  # such as a name that is too long, or holds a NUL
        return "no such file"


def require_file(path: str | Path) -> None:
    """Refuse a path where no file is, and one where a folder is, with a UserError."""
    if reason := absence(Path(path)):
        raise UserError(f"{path}: {reason}")


def remove_orphans(path: Path) -> None:
    """Remove the temporary files beside `path` of processes of this machine that are gone; others keep their own."""
    for orphan in path.parent.glob(glob.escape(f".{path.name}.partial-{platform.node()}-") + "*-*"):
        number = orphan.name.split("-")[-2]
        if number.isdecimal() and not _runs(int(number)):
            with suppress(OSError):  # another user's, in a folder where each may remove their own alone
                orphan.unlink()


def _runs(process: int) -> bool:
    if os.name != "posix":  # there, signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except (OSError, OverflowError) as error:
        return not isinstance(error, ProcessLookupError)
    return True


def expanded(path: str | Path) -> Path:
    """A path whose `~` is the user's home; a UserError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such user; write the whole path in place of ~") from None


def from_repository(path: str) -> Path:
    """A path of params.yaml as an absolute one: `~` is the user's home, relative paths start at the repository.

    In the copy in which DVC runs `exp run --temp` and queued experiments, files that git does not track are missing:
    there, a path that leads nowhere starts at the repository that the copy was made of.
    """
    given, here = expanded(path), Path.cwd()
    original = here.as_posix().partition(EXPERIMENTS)[0]
    return Path(os.path.abspath(here / given if os.path.exists(here / given) else original / given))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has; a byte of a file name that is no UTF-8 as JSON's `\\udce9`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a UserError if it is missing or damaged."""
    require_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of a number of thousands of digits
        raise UserError(f"{path}: damaged JSON ({error})") from None


NO_ROWS = b"\n"  # what write_csv makes of a table without rows, whose columns nobody knows


def write_csv(path: str | Path, table: pd.DataFrame | list[dict[str, Any]], columns: list[str] | None = None) -> None:
    """Write a table, or rows of one, without an index; `columns` where there may be no row. Lines end in `\\n`."""
    import pandas as pd

    write_text(path, pd.DataFrame(table, columns=columns).to_csv(index=False, lineterminator="\n"))


def write_tables(paths: Iterable[tuple[str, Path]], rows: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write those of some named tables that are asked for, each as CSV."""
    for name, path in paths:
        if name not in rows:
            raise UserError(f"{path}: there is no table {name!r}; there are {', '.join(rows)}")
        write_csv(path, rows[name])


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read a CSV as one mapping per row; a UserError if it is missing or damaged."""
    return [{str(key): cell for key, cell in row.items()} for row in read_frame(path).to_dict("records")]


def read_frame(path: str | Path, **options: Any) -> pd.DataFrame:
    """The same as a table, read with these options of pandas."""
    import pandas as pd

    require_file(path)
    try:
        return pd.DataFrame() if Path(path).read_bytes() == NO_ROWS else pd.read_csv(path, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged table ({error})") from None


def sha256(path: str | Path) -> str:
    """Checksum of a file's content, read in chunks, as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def mebibytes(size: float) -> str:
    """A size in MiB with two decimals, one below a hundredth with two digits: 2.38, 0.0047."""
    return f"{size:.2g}" if 0 < size < 0.01 else f"{size:,.2f}"


# What a later run finds again.


def kept_arrays(path: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` gives: from `path` if an earlier call left it there whole, else made now and left there.

    Args:
        path: In a folder of `runtime.scratch`, which is named by all that the arrays depend on.
        make: Gives arrays of numbers or text, by name.
    """
    import numpy as np

    def encoded() -> bytes:
        stream = io.BytesIO()  # np.savez to a file tells of a full disk without saying so
        np.savez(stream, allow_pickle=False, **make())
        return stream.getvalue()

    with np.load(io.BytesIO(kept_bytes(path, encoded)), allow_pickle=False) as loaded:
        return dict(loaded)


def kept_bytes(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes that `make` gives, kept in the same way."""
    found = read_checked(path)
    if found is None:
        write_checked(path, made := make())
        return made
    return bytes(found)


def write_checked(path: Path, content: bytes) -> None:
    """Leave bytes for `read_checked`, whole or not at all."""
    write_bytes(path, content + hashlib.sha256(content).digest())


def read_checked(path: Path) -> memoryview | None:
    """The bytes that `write_checked` left; None if there are none, or if they are damaged."""
    if not path.is_file():
        return None
    whole = memoryview(path.read_bytes())
    content, checksum = whole[:-CHECKSUM_BYTES], whole[-CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        log.warning("%s is damaged: what it held is computed again", path)
        return None
    return content
