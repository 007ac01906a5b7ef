"""Whether verdicts survive a rerun: `python -m benchmarks.verdicts A.csv B.csv` compares two tables of replicates.

Both are metrics/replicates.csv of the same models on the same images, made by `make seeds`, say with another number of
threads or on another processor. Every pair is judged in each as the report judges it, and told where it differs.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepcompress import files
from deepcompress.errors import UserError, one_line_errors
from deepcompress.measure import verdict
from deepcompress.measure.statistics import ALPHA, holm, mcnemar, paired_interval
from deepcompress.measure.verdict import GAIN, LOSS, NO_DIFFERENCE, Replicates, Verdict
from deepcompress.plan_table import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[str, str]  # a model and its reference
HEADER = ("Model", "Against", "Judged over", "First: points (95 %)", "First", "Second: points (95 %)", "Second")


def verdicts(replicates: Replicates, plan: Plan) -> dict[Pair, Verdict]:
    """The verdict on each pair of a table, in its order.

    Args:
        replicates: The first seed is that of the run itself, whose images judge what involves no training.
        plan: Of the run.
    """
    own = replicates.seeds[0] if replicates.seeds else None
    rows = (row for row in replicates.rows if int(row["seed"]) == own and row["reference"] is not None)
    return {(row["model"], row["reference"]): verdict.judge(_with_interval(row), plan, replicates) for row in rows}


def _with_interval(row: verdict.Row) -> verdict.Row:
    """A row of replicates with what metrics/evaluation.csv and pairs.csv say of it over images."""
    gained, lost, n = (int(row[name]) for name in ("gained", "lost", "n"))
    low, high = paired_interval(gained, lost, n)
    return {**row, "difference_points_low": low, "difference_points_high": high, "mcnemar_p": mcnemar(gained, lost)}


def corrected(verdicts: dict[Pair, Verdict], plan: Plan) -> dict[Pair, str]:
    """The words of each verdict after Holm's correction within the family of the model, as `p (Holm)` of the page."""
    families: dict[str, list[Pair]] = {}
    for pair in verdicts:
        families.setdefault(plan[pair[0]].family, []).append(pair)
    words = {}
    for pairs in families.values():
        for pair, p in zip(pairs, holm([verdicts[pair].p for pair in pairs]), strict=True):
            words[pair] = verdicts[pair].words if p is not None and p < ALPHA else NO_DIFFERENCE
    return words


def lines(first: dict[Pair, Verdict], second: dict[Pair, Verdict], plan: Plan) -> Iterator[str]:
    """How many verdicts are equal and how many turned round, by what they rest on; then a table of the changed ones.

    Raises:
        UserError: If the two hold other pairs.
    """
    if not first or first.keys() != second.keys():
        raise UserError("both tables must compare the same models; one was made from other params or is empty")
    changed = [pair for pair, of in first.items() if of.words != second[pair].words]
    turned = [pair for pair in changed if {first[pair].words, second[pair].words} == {GAIN, LOSS}]
    one, other = (corrected(of, plan) for of in (first, second))
    counts = (Counter(first[pair].basis for pair in pairs) for pairs in (first, changed, turned))
    of_all, of_changed, of_turned = (Counter({"all": counted.total()}) + counted for counted in counts)
    yield "| Judged over | Comparisons | Equal verdicts | Turned round |\n|---|--:|--:|--:|"
    for basis, count in of_all.items():
        equal = count - of_changed[basis]
        yield f"| {basis} | {count} | {equal} ({100 * equal / count:.1f} %) | {of_turned[basis]} |"
    equal = sum(words == other[pair] for pair, words in one.items())
    round_ = sum({words, other[pair]} == {GAIN, LOSS} for pair, words in one.items())
    yield f"| all, by Holm within families | {len(one)} | {equal} ({100 * equal / len(one):.1f} %) | {round_} |"
    if changed:
        yield f"\n| {' | '.join(HEADER)} |\n|---|---|---|--:|---|--:|---|"
        yield from (_changed(pair, first[pair], second[pair]) for pair in changed)


def _changed(pair: Pair, first: Verdict, second: Verdict) -> str:
    cells: list[Any] = [f"`{pair[0]}`", f"`{pair[1]}`", first.basis]
    for of in (first, second):
        ends = "" if of.low is None or of.high is None else f" ({of.low:+.2f} to {of.high:+.2f})"
        cells += [f"{of.points:+.2f}{ends}", of.words]
    return f"| {' | '.join(cells)} |"


@click.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--evaluation", type=Path, default=Path("metrics/evaluation.csv"), show_default=True)
@one_line_errors
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
