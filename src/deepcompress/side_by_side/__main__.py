"""`dvc repro` with several stages at a time: `python -m deepcompress.side_by_side -j 2`.

DVC runs one stage after the other, and reads and writes all of dvc.lock for each. Here DVC does what it always does
with a stage, one stage at a time in this one process; only the commands of stages that do not wait for each other run
together, and dvc.lock is written once, at the end, also after a failure. What a run leaves is what a serial one leaves.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from deepcompress import stopwatch
from deepcompress.errors import UserError, one_line_errors
from deepcompress.side_by_side.parsing import each_text_once
from deepcompress.side_by_side.places import places
from deepcompress.side_by_side.schedule import SideBySide, by_urgency

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage


def reproduce(repo: Repo, targets: Iterable[str], where: list[Mapping[str, str]], *, keep_going: bool = False) -> None:
    """Bring stages and all that they depend on up to date.

    Args:
        repo: Locked.
        targets: Stages; all of dvc.yaml if there are none.
        where: Places for their commands.
        keep_going: After a failure, whether all runs that does not depend on what failed.

    Raises:
        UserError: If a stage failed; what was finished before is recorded.
    """
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    order = plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))
    times = {str(noted["stage"]): float(str(noted["seconds"])) for noted in stopwatch.noted()}
    work = SideBySide(graph, by_urgency(order, graph, times), where, keep_going)
    with reserved(repo, order):
        try:
            work.run()
        finally:
            for lockfile in {stage.dvcfile for stage in work.changed}:
                mine = [stage for stage in order if stage in work.changed and stage.dvcfile == lockfile]
                lockfile.dump_stages(mine, update_pipeline=False)
    if not work.changed:
        click.echo("Data and pipelines are up to date.")


@contextmanager
def reserved(repo: Repo, stages: Iterable[Stage]) -> Iterator[None]:
    """Keep other DVC processes from the files of the stages, and wait for none that has them."""
    from dvc.rwlock import rwlock

    reads = [dep.fs_path for stage in stages for dep in stage.deps]
    writes = [out.fs_path for stage in stages for out in stage.outs]
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with rwlock(repo.tmp_dir, repo.fs, " ".join(sys.argv), reads, writes, hardlink):
        yield


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@click.command()
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Stages at a time; default: one per GPU, or per core.")
@click.option("-k", "--keep-going", is_flag=True, help="After a failure, run all that does not depend on what failed.")
@click.argument("targets", nargs=-1)
@one_line_errors
def main(jobs: int | None, keep_going: bool, targets: tuple[str, ...]) -> None:
    """Bring TARGETS (default: every stage) up to date, several stages at a time."""
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo, lock_repo
    except ImportError:
        raise UserError("dvc is not installed; run this by `uv run`") from None
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with each_text_once(), Repo() as repo, lock_repo(repo), repo.scm_context(quiet=True):
            reproduce(repo, targets, places(jobs, os.environ), keep_going=keep_going)
    except DvcException as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    main()
