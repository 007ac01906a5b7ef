"""Which committed results do not belong to the committed code and params: `python -m deepcompress.stale`.

It needs no data. `dvc repro --dry --allow-missing` answers this, too, while nothing is stale. Otherwise it stops with
`No such file` at the first stage that would run, because that stage's inputs are not there; and it takes on trust the
recorded hashes of folders of models. Here they are held to those of the models in them: a dvc.lock that was merged from
two branches may say otherwise. A changed comment makes nothing stale here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepcompress import fingerprint
from deepcompress.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from dvc.dependency.base import Dependency
    from dvc.output import Output
    from dvc.stage import Stage

CODE = "code"  # the stage that lists the code behind the others; the lists are made anew here instead
FOLDER_SUFFIX = ".dir"


def stale(stages: list[Stage], lists: Mapping[str, str]) -> dict[str, list[str]]:
    """What is wrong with each stage whose record does not fit, by the stage's address, in the order given.

    Stages that come after them may change, too, once these have run.

    Args:
        stages: As DVC loaded them from dvc.yaml and dvc.lock.
        lists: Full path of each list of code -> its text for the code as it is now.
    """
    outs = {out.fs_path: out for stage in stages for out in stage.outs if stage.addressing != CODE}
    hashes = {path: str(out.hash_info.value) for path, out in outs.items() if out.hash_info}
    hashes |= {path: hashlib.md5(text.encode()).hexdigest() for path, text in lists.items()}
    found = {stage.addressing: list(reasons(stage, hashes, lists)) for stage in stages if stage.addressing != CODE}
    return {address: why for address, why in found.items() if why}


def reasons(stage: Stage, hashes: Mapping[str, str], lists: Mapping[str, str]) -> Iterator[str]:
    """Why the record of a stage in dvc.lock does not fit what is in the working tree and in the other records.

    Args:
        stage: As DVC loaded it.
        hashes: Full path of every file and folder that stages make -> its recorded md5, or that of a list of code.
        lists: As for `stale`.
    """
    if not any(out.hash_info for out in stage.outs):
        yield "has not run yet"
        return
    if stage.changed_stage():
        yield "its command changed"
    for dep in stage.deps:
        fits = _made(dep, hashes) in (None, dep.hash_info.value)
        if code := [path for path in lists if dep.fs.isin_or_eq(path, dep.fs_path)]:
            if not fits:
                yield f"its code changed: {', '.join(_changed_files(code, lists)) or dep}"
        else:
            yield from _changes(dep, brought=_beside(dep, hashes))
            if dep.hash_info and not fits:
                yield f"{dep} is not what the stages before it made"
    for out in stage.outs:
        yield from _changes(out, brought=out.use_cache)


def _changes(entry: Output, *, brought: bool) -> Iterator[str]:
    """How a file, folder or params differ from their record; `brought`: it may be absent, a run or a pull brings it."""
    if not entry.hash_info:
        yield f"{entry} is new"
        return
    for path, state in entry.workspace_status().items():
        if isinstance(state, dict):
            yield from (f"{path}: {key} is {what}" for key, what in state.items())
        elif state != "deleted" or not brought:
            yield f"{path} is {state}"


def _beside(dep: Dependency, made: Mapping[str, str]) -> bool:
    """Whether a dependency is, holds or is held by what a stage makes."""
    return any(dep.fs.isin_or_eq(path, dep.fs_path) or dep.fs.isin(dep.fs_path, path) for path in made)


def _made(dep: Dependency, hashes: Mapping[str, str]) -> str | None:
    """The md5 that a dependency must have by what the stages before it made; None if the records do not tell.

    A folder's is that of the list of its files, as DVC writes it: sorted by path, in JSON.
    """
    if dep.fs_path in hashes:
        return hashes[dep.fs_path]
    files = {dep.fs.relpath(path, dep.fs_path): md5 for path, md5 in hashes.items() if dep.fs.isin(path, dep.fs_path)}
    if not files or any(md5.endswith(FOLDER_SUFFIX) for md5 in files.values()):
        return None
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + FOLDER_SUFFIX


def _changed_files(paths: list[str], lists: Mapping[str, str]) -> list[str]:
    """Files of code that differ between the lists in the working tree and those of the code as it is now."""
    changed: set[str] = set()
    for path in paths:
        before = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
        changed |= {line.split()[-1] for line in set(before.splitlines()) ^ set(lists[path].splitlines())}
    return sorted(changed)


@click.command()
@one_line_errors
def main() -> None:
    """Say which committed results do not belong to the committed code and params; exit code 2 if any."""
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
        from dvc.repo.reproduce import plan_repro
    except ImportError:
        raise UserError("dvc is not installed; run this by `uv run`") from None
    try:
        with Repo() as repo:
            stages = plan_repro(repo.index.graph)
            folders = [Path(out.fs_path) for stage in stages if stage.addressing == CODE for out in stage.outs]
            code = fingerprint.lists(Path(repo.root_dir)) if folders else {}
            found = stale(stages, {str(folder / name): text for folder in folders for name, text in code.items()})
    except DvcException as error:
        raise UserError(str(error)) from error
    for address, why in found.items():
        click.echo(f"{address}: {', '.join(why)}")
    if found:
        count = f"{len(found)} stage{'s' if len(found) > 1 else ''}"
        raise UserError(f"the results of {count} are stale; run `dvc repro` and commit what it changed")
    click.echo(f"The committed results of {len(stages)} stages belong to this code and these params.")


if __name__ == "__main__":
    main()
