"""What DVC does with one stage, in steps: is it up to date, is it in the run cache, its command, record what it wrote.

Source: `Stage.reproduce`, `Stage.run` and `run_stage` of DVC 3.67, which take these steps without a pause between them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from deepcompress.side_by_side.warm import Forked, Script, Warm

if TYPE_CHECKING:
    from dvc.stage import Stage

ALONE = "alone"  # under `meta:` of a stage in dvc.yaml: what it measures, others at its side would disturb


def up_to_date(stage: Stage) -> bool:
    """Whether neither the stage nor what it reads and writes has changed since it ran."""
    if stage.changed():
        return False
    click.echo(f"Stage '{stage.addressing}' didn't change, skipping")
    return True


def restored(stage: Stage) -> bool:
    """Remove the stage's outputs, and bring them from the run cache if it ran on the same inputs before."""
    from dvc.stage.cache import RunCacheNotFoundError

    stage.remove_outs(ignore_remove=False, force=False)
    try:
        stage.repo.stage_cache.restore(stage)
    except RunCacheNotFoundError:
        stage.save_deps()
        return False
    return True


def started(stage: Stage, environment: Mapping[str, str], warm: Warm | None = None) -> subprocess.Popen[str] | Forked:
    """The stage's command, running in a process group of its own as DVC would run it; its output goes to a pipe.

    Args:
        stage: Its command is run.
        environment: What the command's has besides this process's own.
        warm: Runs Python scripts; the first of them heats it. None: a process of its own even for those.
    """
    from dvc.stage.run import prepare_kwargs

    command = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd)
    arguments: dict[str, Any] = {**prepare_kwargs(stage, dict(environment)), "shell": True, "start_new_session": True}
    script = Script.of(command, arguments["env"], arguments["cwd"]) if warm else None
    if warm and script and warm.is_up:
        return warm.run(script)
    if warm and script:
        warm.heat()
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(command, stdout=pipe, stderr=merged, text=True, errors="replace", **arguments)


def relay(name: str, command: subprocess.Popen[str] | Forked) -> int:
    """Print the command's lines with the stage's name before each, until it ends; returns its exit code."""
    assert command.stdout is not None
    for line in command.stdout:
        click.echo(f"{name} | {line.rstrip()}")
    return command.wait()


def record(stage: Stage) -> None:
    """Hash and cache what the stage wrote, as DVC does after its command; dvc.lock comes later.

    The run cache keeps no stage with an uncached output that is no metric or plot.
    """
    uncached = any(not (out.use_cache or out.is_metric or out.is_plot) for out in stage.outs)
    stage.save(run_cache=not uncached)
    stage.commit()


def alone(stage: Stage) -> bool:
    """Whether dvc.yaml says that nothing may run beside the stage."""
    return bool((stage.meta or {}).get(ALONE))
