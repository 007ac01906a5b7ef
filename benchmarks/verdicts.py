"""Whether verdicts survive a rerun: `python -m benchmarks.verdicts A.csv B.csv` compares two tables of replicates.

Both are metrics/replicates.csv of the same models on the same images, made by `make seeds`, say with another number of
threads or on another processor. Every pair is judged in each as the report judges it, with Holm's correction within its
family, and told where it differs. The last line counts the single comparisons, without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deepcompress import files
from deepcompress.errors import Command, UserError
from deepcompress.measure import verdict
from deepcompress.measure.statistics import mcnemar, paired_interval
from deepcompress.measure.verdict import GAIN, LOSS, NO_DIFFERENCE, Estimate, Replicates
from deepcompress.plan_table import Plan

Pair = tuple[str, str]  # a model and its reference
FAMILIES = ("Family", "Comparisons", "First: gains", "losses", "Second: gains", "losses")
HEADER = ("Model", "Against", "Judged over", "First: points (95 %)", "First", "Second: points (95 %)", "Second")


def verdicts(replicates: Replicates, plan: Plan) -> dict[Pair, Estimate]:
    """The verdict on each pair of a table, in its order.

    The first seed is that of the run itself, whose images judge what involves no training.
    """
    own = replicates.seeds[0] if replicates.seeds else None
    rows = [row for row in replicates.rows if int(row["seed"]) == own and row["reference"] is not None]
    judged = verdict.judge([_with_interval(row) for row in rows], plan, replicates)
    return {(row["model"], row["reference"]): of for row, of in zip(rows, judged, strict=True)}


def _with_interval(row: verdict.Row) -> verdict.Row:
    """A row of replicates with what metrics/evaluation.csv and pairs.csv say of it over images."""
    gained, lost, n = (int(row[name]) for name in ("gained", "lost", "n"))
    low, high = paired_interval(gained, lost, n)
    return {**row, "difference_points_low": low, "difference_points_high": high, "mcnemar_p": mcnemar(gained, lost)}


def lines(first: dict[Pair, Estimate], second: dict[Pair, Estimate], plan: Plan) -> Iterator[str]:
    """How many verdicts are equal and how many turned round; those of each family; each gain, loss and change."""
    if not first or first.keys() != second.keys():
        raise UserError("both tables must compare the same models; one was made from other params or is empty")
    yield "| Judged over | Comparisons | Equal verdicts | Turned round |\n|---|--:|--:|--:|"
    for basis in ("all", *dict.fromkeys(of.basis for of in first.values())):
        pairs = [(of, second[pair]) for pair, of in first.items() if basis in ("all", of.basis)]
        yield _counted(basis, pairs)
    alone = [(replace(of, holm_p=of.p), replace(second[pair], holm_p=second[pair].p)) for pair, of in first.items()]
    yield _counted("all, each taken alone", alone)
    yield f"\n| {' | '.join(FAMILIES)} |\n|---|--:|--:|--:|--:|--:|"
    for family in dict.fromkeys(plan[model].family for model, _ in first):
        of_family = [pair for pair in first if plan[pair[0]].family == family]
        words = [[of[pair].words for pair in of_family] for of in (first, second)]
        counts = [said.count(word) for said in words for word in (GAIN, LOSS)]
        yield f"| {family} | {len(of_family)} | {' | '.join(map(str, counts))} |"
    if some := [pair for pair, of in first.items() if {of.words, second[pair].words} != {NO_DIFFERENCE}]:
        yield f"\n| {' | '.join(HEADER)} |\n|---|---|---|--:|---|--:|---|"
        yield from (_row(pair, first[pair], second[pair]) for pair in some)


def _counted(name: str, pairs: Sequence[tuple[Estimate, Estimate]]) -> str:
    equal = sum(one.words == other.words for one, other in pairs)
    turned = sum({one.words, other.words} == {GAIN, LOSS} for one, other in pairs)
    return f"| {name} | {len(pairs)} | {equal} ({100 * equal / len(pairs):.1f} %) | {turned} |"


def _row(pair: Pair, first: Estimate, second: Estimate) -> str:
    cells: list[Any] = [f"`{pair[0]}`", f"`{pair[1]}`", first.basis]
    for of in (first, second):
        ends = f" ({of.low:+.2f} to {of.high:+.2f})" if of.tested else ""
        cells += [f"{of.value:+.2f}{ends}", of.phrase]
    return f"| {' | '.join(cells)} |"


@click.command(cls=Command)
@click.argument("first", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--evaluation", type=Path, default=Path("metrics/evaluation.csv"), show_default=True)
def main(first: Path, second: Path, evaluation: Path) -> None:
    """Compare the verdicts of two tables of replicates; EVALUATION says of their models what was trained."""
    plan = Plan.of_table(files.read_rows(evaluation))
    both = [Replicates.read(path, [], []) for path in (first, second)]
    for path, replicates in zip((first, second), both, strict=True):
        if unknown := sorted({row["model"] for row in replicates.rows if row["model"] not in plan}):
            raise UserError(f"{path}: {evaluation} has no model {unknown[0]}; give the table of the same run")
    for line in lines(*(verdicts(replicates, plan) for replicates in both), plan):
        click.echo(line)


if __name__ == "__main__":
    main()
