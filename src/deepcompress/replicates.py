"""The pipeline again under further seeds: `python -m deepcompress.replicates --seeds 3` writes metrics/replicates.csv.

One training each does not tell a method's effect from chance. So everything up to `evaluate` runs anew under the seeds
after that of params.yaml, on the same images (`data.seed`), each in a copy of the working tree with scratch of its own:
a folder `.scratch/replicates/<seed>` with the cache of this project, whose stages `deepcompress.repro` brings up to
date. What has run does not run again, after an interruption as after a second call; the working tree stays as it is.

DVC's own queue takes what is committed alone, runs the stages of an experiment one after the other, and computes again
what two workers both lack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from deepcompress import dependencies, files, params, preset
from deepcompress.errors import SCRATCH_VARIABLE, Command, UserError, scratch_root
from deepcompress.measure.statistics import compare, decimals, significant
from deepcompress.measure.verdict import COLUMNS
from deepcompress.plan_table import BASELINE
from deepcompress.repro import Interruption

TABLE = Path("metrics/replicates.csv")
TARGET = "evaluate"
MADE = ("dvc.lock", "metrics", "plots", "results")  # by the stages; git has them, but a copy makes its own


@dataclass(frozen=True)
class Measured:
    """What `evaluate` wrote under one seed: rows of evaluation.csv and pairs.csv, and which images were right."""

    evaluation: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    right: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, root: Path) -> Measured:
        """The tables under a working tree; a UserError names one that is missing or damaged."""
        evaluation, pairs = (files.read_rows(root / "metrics" / f"{name}.csv") for name in ("evaluation", "pairs"))
        n = int(evaluation[0]["n"])
        outcomes = files.read_json(root / "results/outcomes.json")
        return cls(evaluation, pairs, {model: unpacked(text, n) for model, text in outcomes.items()})

    def compared(self) -> Iterator[tuple[dict[str, Any], str | None]]:
        """The row of each model and what it is compared with: nothing, the baseline, what pairs.csv names."""
        by_id = {row["model"]: row for row in self.evaluation}
        yield from ((row, None if row["model"] == BASELINE else BASELINE) for row in self.evaluation)
        yield from ((by_id[row["model"]], row["reference"]) for row in self.pairs)


def unpacked(text: str, n: int) -> np.ndarray:
    """Which of n images were right, from `evaluate.packed`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=n).astype(bool)


def rows(measured: Mapping[int, Measured]) -> list[dict[str, Any]]:
    """The rows of metrics/replicates.csv, see verdict.COLUMNS, by seed, that of the tree first.

    A UserError if a seed was measured on other images or models.
    """
    first = next(iter(measured.values()))
    compared = [(row["model"], reference) for row, reference in first.compared()]
    for seed, of_seed in measured.items():
        if [(row["model"], reference) for row, reference in of_seed.compared()] != compared or any(
            len(of_seed.right[model]) != len(right) for model, right in first.right.items()
        ):
            raise UserError(f"seed {seed} was measured on other models or images; run `make repro`, then this again")
    shared = {pair: _shared_variance([one.right for one in measured.values()], *pair) for pair in compared}
    table = []
    for number, (seed, of_seed) in enumerate(measured.items()):
        for row, reference in of_seed.compared():
            cells: list[Any] = [seed, row["model"], reference, int(row["n"]), row["top1_pct"]]
            if reference is not None:
                difference = compare(of_seed.right[row["model"]], of_seed.right[reference])
                cells += [decimals(difference.points), difference.gained, difference.lost]
                cells.append(significant(shared[row["model"], reference][number]))
            table.append(dict(zip(COLUMNS, [*cells, *[None] * (len(COLUMNS) - len(cells))], strict=True)))
    return table


def _shared_variance(right: list[Mapping[str, np.ndarray]], model: str, reference: str | None) -> np.ndarray:
    """Of each seed's mean difference, its mean covariance with those of the others [points^2]: (seeds,)."""
    if reference is None or len(right) == 1:
        return np.zeros(len(right))
    covariance = np.cov([of_seed[model].astype(float) - of_seed[reference] for of_seed in right])
    others = covariance.sum(axis=1) - np.diagonal(covariance)
    return 100**2 * others / (len(right) - 1) / len(right[0][model])


# Copies of the working tree.


def copy_(root: Path, folder: Path, seed: int, cache: Path) -> None:
    """Bring a copy of the working tree up to date: all that git has or would have, with another seed.

    What stages made in its folder stays, with the dvc.lock of it. All copies share DVC's cache.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"git: {done.stderr.decode(errors='replace').strip()}")
    values = (value for _, value in params.leaves(params.read(root / params.PARAMS_FILE)))
    linked = {os.path.normpath(value) for value in values if isinstance(value, str)} - {".", ".."}
    linked = {name for name in linked if not name.startswith(("/", "~")) and (root / name).exists()}
    wanted = {name for name in done.stdout.decode().split("\0") if name and (root / name).is_file()}
    wanted = {name for name in wanted if linked.isdisjoint((name, *map(str, Path(name).parents)))}
    names = folder / ".dvc/copied.json"
    copied = set(files.read_json(names)) if names.is_file() else set()
    for name in copied - wanted:
        (folder / name).unlink(missing_ok=True)
    for name in sorted(wanted):
        source, target = root / name, folder / name
        if Path(name).parts[0] in MADE and copied:
            continue
        content = source.read_bytes()
        if name == params.PARAMS_FILE:
            content = preset.apply(content.decode(), {"seed": seed}).encode()
        if not target.is_file() or target.read_bytes() != content:
            files.write_bytes(target, content)
            shutil.copymode(source, target)
    for name in linked:  # files that params name, such as a folder of images
        if not os.path.lexists(folder / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to((root / name).resolve())
    files.write_text(folder / ".dvc/config.local", f"[core]\n    no_scm = true\n[cache]\n    dir = {cache}\n")
    files.write_json(names, sorted(wanted))


def reproduce(folder: Path, jobs: int | None) -> bool:
    """Bring the stages of a copy up to date, its output going where ours goes; whether all ended well."""
    command = [sys.executable, "-m", "deepcompress.repro", *(["-j", str(jobs)] if jobs else []), TARGET]
    settings = {"PYTHONPATH": str(folder / "src"), SCRATCH_VARIABLE: str(folder / ".scratch")}
    process = subprocess.Popen(command, cwd=folder, env=os.environ | settings)
    try:
        return process.wait() == 0
    except BaseException:  # it notes what has ended, and stops the stages that run
        process.terminate()
        process.wait()
        raise


@click.command(cls=Command)
@click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True, help="Trainings, this one included.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Stages at a time; default: one per GPU, or per core.")
def main(seeds: int, jobs: int | None) -> None:
    """Run the pipeline under further seeds, and write what every seed came to into metrics/replicates.csv."""
    root, own = Path.cwd(), params.seed()
    with dependencies.opened_project() as repo:
        if changed := repo.status(targets=[TARGET], with_deps=True):
            raise UserError(f"results here are not of this code and these params ({min(changed)}); run `make repro`")
        cache = Path(repo.cache.local.path)
    measured = {own: Measured.read(root)}
    failed: list[int] = []
    with Interruption().handled():
        for seed in range(own + 1, own + seeds):
            click.echo(f"seed {seed}:")
            folder = (scratch_root() / "replicates" / str(seed)).resolve()
            copy_(root, folder, seed, cache)
            if reproduce(folder, jobs):
                measured[seed] = Measured.read(folder)
            else:
                failed.append(seed)
    if len(measured) > 1:
        import pandas as pd

        counts = dict.fromkeys(("gained", "lost"), "Int64")
        files.write_csv(TABLE, pd.DataFrame(rows(measured), columns=list(COLUMNS)).astype(counts))
        click.echo(f"{TABLE}: seeds {', '.join(map(str, measured))}; `make repro` puts their verdicts into the report")
    if failed:
        click.echo(f"error: seed {', '.join(map(str, failed))} failed, see above; the others are kept", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
