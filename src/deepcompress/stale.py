"""Which committed results do not belong to the committed code and params: `python -m deepcompress.stale`.

It needs no data. `dvc repro --dry --allow-missing` answers this, too, while nothing is stale. Otherwise it stops with
`No such file` at the first stage that would run, because that stage's inputs are not there; and it takes on trust the
recorded hashes of folders of models. Here they are held to those of the models in them: a dvc.lock that was merged from
two branches may say otherwise. The code is hashed anew, so that a results/code.json of other code deceives nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from contextlib import chdir, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepcompress import code_hash, dependencies, params
from deepcompress.errors import Command, UserError

if TYPE_CHECKING:
    from dvc.dependency.base import Dependency
    from dvc.output import Output
    from dvc.stage import Stage

CODE = "code"  # the stage that hashes the code behind the others
INPUTS = "inputs.json"  # what the hashes of files that params.yaml names lie in
CHOICES = "choices.json"  # what params.yaml chooses for a stage lies in
FOLDER_SUFFIX = ".dir"


def reasons(
    stage: Stage, made: Mapping[str, str], anew: Mapping[str, code_hash.Hashes], brought: Container[str] = ("deleted",)
) -> Iterator[str]:
    """Why the record of a stage in dvc.lock does not fit what is in the working tree and in the other records.

    Args:
        stage: As DVC loaded it.
        made: Full path of every file and folder that stages make -> its recorded md5.
        anew: Full path of a file of hashes that a stage writes, and others have as params -> what it would hold now.
        brought: States that do not count of a file that DVC brings, be it by a run, a pull or a checkout.
    """
    if not any(out.hash_info for out in stage.outs):
        yield "has not run yet"
        return
    if stage.changed_stage():
        yield "its command changed"
    for dep in stage.deps:
        if dep.fs_path in anew:
            now = dict(params.leaves({key: params.at(anew[dep.fs_path], key) for key in dep.params}))
            recorded = dict(params.leaves(dep.hash_info.value or {}))
            if changed := sorted(key for key in recorded | now if recorded.get(key, ...) != now.get(key, ...)):
                kind = {INPUTS: "inputs", CHOICES: "choices"}.get(Path(dep.fs_path).name, "code")
                yield f"its {kind} changed: {', '.join(changed)}"
            continue
        if dep.def_path == dependencies.FOLDER:  # its links lead to files that a fresh clone may lack
            continue
        fs, place = dep.fs, dep.fs_path
        is_made = any(fs.isin_or_eq(path, place) or fs.isin(place, path) for path in made)
        yield from changes(dep, brought if is_made else ())
        recorded = dep.hash_info.value  # of params a mapping of keys to values, which `changes` looks at
        if isinstance(recorded, str) and _made(dep, made) not in (None, recorded):
            yield f"{dep} is not what the stages before it made"
    for out in stage.outs:
        yield from changes(out, brought if out.use_cache else ())


def changes(entry: Output, brought: Container[str] = ()) -> Iterator[str]:
    """How a file, folder or params differ from their record, but for the states `brought`."""
    if not entry.hash_info:
        yield f"{entry} is new"
        return
    for path, state in entry.workspace_status().items():
        if isinstance(state, dict):
            yield from (f"{path}: {key} is {what}" for key, what in state.items())
        elif state not in brought:
            yield f"{path} is {state}"


def _made(dep: Dependency, made: Mapping[str, str]) -> str | None:
    """The md5 that a dependency must have by what the stages before it made; None if the records do not tell.

    A folder's is that of the list of its files, as DVC writes it: sorted by path, in JSON.
    """
    if dep.fs_path in made:
        return made[dep.fs_path]
    files = {dep.fs.relpath(path, dep.fs_path): md5 for path, md5 in made.items() if dep.fs.isin(path, dep.fs_path)}
    if not files or any(md5.endswith(FOLDER_SUFFIX) for md5 in files.values()):
        return None
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + FOLDER_SUFFIX


def check(root: Path | None = None) -> tuple[list[str], str | None]:
    """What is stale in the DVC project at `root`, or around the current folder; a UserError if DVC cannot load it.

    Returns:
        A line per stage that is stale, and the error that says how many; if there is none, a line that says so, None.
    """
    with dependencies.opened_project(root) as repo, chdir(repo.root_dir):  # DVC names stages from the current folder
        from dvc.repo.reproduce import plan_repro

        stages = plan_repro(repo.index.graph)
        others = [stage for stage in stages if stage.addressing != CODE]
        code = code_hash.hashes(Path(repo.root_dir))
        anew = {out.fs_path: code for stage in stages if stage.addressing == CODE for out in stage.outs}
        outs = [out.fs_path for stage in others for out in stage.outs]
        # Of a file that is not here, without what reads images, and of a params.yaml that `plan` would refuse: what was
        # committed is taken on trust.
        with suppress(UserError, ModuleNotFoundError, LookupError, TypeError, AttributeError):
            anew |= {path: dependencies.choices(params.read(), code) for path in outs if Path(path).name == CHOICES}
            anew |= {path: dependencies.hashes(params.read()) for path in outs if Path(path).name == INPUTS}
        made = {out.fs_path: str(out.hash_info.value) for one in others for out in one.outs if out.hash_info}
        stale = {stage.addressing: list(reasons(stage, made, anew)) for stage in others}
        belongs = not any(any(reasons(stage, made, anew, ("deleted", "modified"))) for stage in others)
    found = [f"{address}: {', '.join(why)}" for address, why in stale.items() if why]
    if not found:
        return [f"The committed results of {len(stages)} stages belong to this code and these params."], None
    count = f"{len(found)} stage{'s' if len(found) > 1 else ''}"
    if belongs:
        return found, f"files of {count} are not those that dvc.lock names; `dvc checkout` brings them back"
    return found, f"the results of {count} are stale; run `dvc repro` and commit what it changed"


@click.command(cls=Command)
def main() -> None:
    """Say which committed results do not belong to the committed code and params; exit code 2 if any."""
    lines, error = check()
    click.echo("\n".join(lines))
    if error:
        raise UserError(error)


if __name__ == "__main__":
    main()
