"""Which committed results do not belong to the committed code and params: `python -m deepcompress.stale`.

It needs no data. `dvc repro --dry --allow-missing` answers this, too, while nothing is stale. Otherwise it stops with
`No such file` at the first stage that would run, because that stage's inputs are not there; and it takes on trust what
this one looks at: code that was deleted, and folders of models whose recorded hash is not that of the models recorded
for them, as in a dvc.lock that was merged from two branches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from deepcompress.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from dvc.dependency.base import Dependency
    from dvc.output import Output
    from dvc.stage import Stage

FOLDER_SUFFIX = ".dir"


def stale(stages: list[Stage]) -> dict[str, list[str]]:
    """What is wrong with each stage whose record does not fit, by the stage's address, in the order given.

    Stages that come after them may change, too, once these have run.
    """
    made = {out.fs_path: out for stage in stages for out in stage.outs}
    found = {stage.addressing: list(reasons(stage, made)) for stage in stages}
    return {address: why for address, why in found.items() if why}


def reasons(stage: Stage, made: dict[str, Output]) -> Iterator[str]:
    """Why the record of a stage in dvc.lock does not fit what is in the working tree and in the other records.

    Args:
        stage: As DVC loaded it from dvc.yaml and dvc.lock.
        made: The outputs of all stages by their full path.
    """
    if not any(out.hash_info for out in stage.outs):
        yield "has not run yet"
        return
    if stage.changed_stage():
        yield "its command changed"
    for dep in stage.deps:
        brought = dep.fs_path in made or _beside(dep, made)
        yield from _changes(dep, brought=brought)
        if dep.hash_info and _recorded(dep, made) not in (None, dep.hash_info.value):
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


def _beside(dep: Dependency, made: dict[str, Output]) -> bool:
    """Whether a dependency holds outputs or is held by one."""
    return any(dep.fs.isin(path, dep.fs_path) or dep.fs.isin(dep.fs_path, path) for path in made)


def _recorded(dep: Dependency, made: dict[str, Output]) -> str | None:
    """The hash that a dependency must have by the records of the stages that make it; None if they do not tell.

    A folder's hash is that of the list of its files, as DVC writes it: sorted by path, in JSON.
    """
    if dep.fs_path in made:
        return str(made[dep.fs_path].hash_info.value)
    files = {dep.fs.relpath(path, dep.fs_path): out for path, out in made.items() if dep.fs.isin(path, dep.fs_path)}
    hashes = {name: out.hash_info.value for name, out in files.items()}
    if not hashes or not all(hashes.values()) or any(value.endswith(FOLDER_SUFFIX) for value in hashes.values()):
        return None
    listing = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + FOLDER_SUFFIX


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
            graph = repo.index.graph
            found = stale(plan_repro(graph))
    except DvcException as error:
        raise UserError(str(error)) from error
    for address, why in found.items():
        click.echo(f"{address}: {', '.join(why)}")
    if found:
        count = f"{len(found)} stage{'s' if len(found) > 1 else ''}"
        raise UserError(f"the results of {count} are stale; run `dvc repro` and commit what it changed")
    click.echo(f"The committed results of {len(graph)} stages belong to this code and these params.")


if __name__ == "__main__":
    main()
