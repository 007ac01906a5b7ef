"""A pull request's report in Markdown: what the working tree changes against a revision, and what of it may be chance.

    python -m deepcompress.report.pr_report BASE [PLOT.png] > report.md

It needs git history and the small files that git holds: no data, no DVC remote, no torch, no pandas. It works in DVC's
root, which may be a folder of a larger repository. A command that fails, fails the report: no answer is never read as
no change.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from deepcompress import files, params, stale
from deepcompress.errors import Command, UserError
from deepcompress.measure import verdict
from deepcompress.measure.statistics import mcnemar, paired_interval
from deepcompress.measure.verdict import Estimate, Replicates
from deepcompress.plan_table import BASELINE, Plan

EVALUATION, PAIRS, REPLICATES = (f"metrics/{name}.csv" for name in ("evaluation", "pairs", "replicates"))
PLOT = "Accuracy against size"
ANSWERS = ("top1_pct", "top5_pct", "cross_entropy_loss")  # equal in both revisions: it is the same training
AGREEMENT = "agreement_with_baseline_pct"
NO_CHANGE = "No change."
LONGEST = 300  # characters of what a failing command said
KEY = (
    "A change is marked where it exceeds chance after Holm's correction for all that are tested; intervals are those "
    "of each alone. Two trainings of one model differ by chance: without replicates (`make seeds`) their difference is "
    "not tested."
)
Row = dict[str, Any]
Change = tuple[Row, Row, Estimate]  # a model in both revisions, and what is known of the difference


def changes(before: Sequence[Row], after: Sequence[Row], replicates: Replicates) -> list[Change]:
    """Every model of two revisions of metrics/evaluation.csv whose accuracy differs, in the order of the newer one.

    All are judged as one family; `replicates` are of the newer revision.
    """
    old, plan = {row["model"]: row for row in before}, Plan.of_table(after)
    both = [(old[row["model"]], row) for row in after if row["model"] in old]
    changed = [(was, new) for was, new in both if was["top1_pct"] != new["top1_pct"]]
    same = {new["model"] for was, new in both if all(was.get(key) == new.get(key) for key in ANSWERS)}
    alone = [_alone(was, new, plan, same, replicates) for was, new in changed]
    return [(was, new, of) for (was, new), of in zip(changed, verdict.corrected(alone), strict=True)]


def _alone(was: Row, new: Row, plan: Plan, same: set[str], replicates: Replicates) -> Estimate:
    """By seeds; by images where no training that the model rests on has changed, as after another rounding."""
    model, n = new["model"], int(new["n"])
    trained = [row.id for row in plan.chain(model) if row.recipe] if model in plan else [model]
    if n != was["n"] or not same.issuperset([BASELINE, *trained]):
        return verdict.change(was["top1_pct"], new["top1_pct"], model, n, replicates)
    # Each revision tells on how many images its model and the one baseline differ; the two differ on no more than both.
    apart = min(n, round(n * sum(100 - row[AGREEMENT] for row in (was, new)) / 100))
    net = round(n * (new["top1_pct"] - was["top1_pct"]) / 100)
    gained = (max(apart, abs(net)) + net) // 2
    lost = gained - net
    low, high = paired_interval(gained, lost, n)
    return Estimate(100 * net / n, low, high, mcnemar(gained, lost), n=n)


def accuracy_section(found: Sequence[Change], models: int) -> str:
    """How many accuracies changed and which of them by more than chance; the marked ones first."""
    if not found:
        return NO_CHANGE
    marked: list[Sequence[str]] = []
    others: list[Sequence[str]] = []
    for was, new, of in found:
        before, after = was["top1_pct"], new["top1_pct"]
        ends = f" ({of.low:+.2f} to {of.high:+.2f})" if of.tested else ""
        beyond = of.words in (verdict.GAIN, verdict.LOSS)
        (marked if beyond else others).append(
            (f"`{new['model']}`", f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}{ends}",
             f"**{of.words}**" if beyond else of.phrase)
        )  # fmt: skip
    heads = ("Model", "Top-1 % before", "After", "Points (95 %)", "Beyond chance?")
    rest = f"{len(others)} {'other' if marked else 'change'}{'' if len(others) == 1 else 's'}"
    folded = f"<details><summary>{rest}</summary>\n\n{_table(heads, others)}\n\n</details>"
    tables = [*([_table(heads, marked)] if marked else []), *([folded] if others else [])]
    accuracies = "accuracy" if models == 1 else "accuracies"
    of_them = f"{len(marked) or 'none'} of them " if len(found) > 1 else "" if marked else "not "
    count = f"{len(found)} of {models} {accuracies} changed, {of_them}by more than chance."
    return "\n\n".join([f"{count} {KEY}", *tables])


def difference_section(answer: Any, *, change: bool) -> str:
    """The answer of `dvc metrics diff --json` or `dvc params diff --json` as a table.

    It is: file -> key -> `old`, `new` and, of two numbers, `diff`, which is shown where `change` is asked for.
    """
    columns = {"Before": "old", "After": "new"} | ({"Change": "diff"} if change else {})
    values = [(key, of) for keys in answer.values() for key, of in keys.items()]
    rows = [(f"`{key}`", *(_shown(of.get(column)) for column in columns.values())) for key, of in values]
    return _table(("Key", *columns), rows) if rows else NO_CHANGE


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


# What git and DVC say.


def _answer(*command: str, folder: Path | None = None, refused: str = "") -> str:
    """What a command prints; a UserError, in the words of `refused` if there are any, if it cannot be run, or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(refused or f"{command[0]} is not installed") from None
    # DVC ends well where it could not read a file, and shows its values as gone.
    unread = [line for line in done.stderr.splitlines() if "failed to load" in line and "workspace" in line]
    if done.returncode or unread:
        lines = unread or [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "error", "fatal"))]
        said = f"{' '.join(command)}: {(lines or [f'exit code {done.returncode}'])[-1][:LONGEST]}"
        raise UserError(refused or said)
    return done.stdout


def _dvc(folder: Path, *arguments: str) -> Any:
    """The JSON that a command of DVC prints; also where only a part of it could be answered, it fails."""
    answer = json.loads(_answer("dvc", *arguments, "--json", folder=folder) or "null")
    if not isinstance(answer, dict) or answer.get("errors"):
        raise UserError(f"dvc {' '.join(arguments)}: no whole answer ({str(answer)[:LONGEST]})")
    return answer.get("diff", answer)


def _rows(text: str, name: str) -> list[Row]:
    """A CSV as one mapping per row: numbers, text, None for an empty cell."""

    def cell(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text or None

    try:
        table = csv.DictReader(io.StringIO(text), strict=True)
        return [{key: cell(value) for key, value in row.items()} for row in table]
    except (csv.Error, TypeError) as error:
        raise UserError(f"{name}: damaged table ({error})") from None


def _accuracies(root: Path, base: str) -> str:
    listed = _answer("git", "ls-tree", "--name-only", base, "--", EVALUATION, folder=root)
    here = root / EVALUATION
    if not listed.strip() or not here.is_file():
        return f"`{EVALUATION}` is not in both revisions: no accuracy was compared."
    before = _rows(_answer("git", "show", f"{base}:./{EVALUATION}", folder=root), f"{base}:{EVALUATION}")
    after = _rows(here.read_text(encoding="utf-8", errors="replace"), EVALUATION)
    pairs = root / PAIRS
    compared = _rows(pairs.read_text(encoding="utf-8", errors="replace"), PAIRS) if pairs.is_file() else []
    replicates = Replicates.read(root / REPLICATES, after, compared)
    try:
        found = accuracy_section(changes(before, after, replicates), len(after))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{EVALUATION}: damaged table ({error})") from None
    stale_file = (replicates.stale or "").replace(str(root / REPLICATES), REPLICATES)  # the same on every machine
    return f"{found}\n\n{stale_file}" if stale_file else found


def _root(base: str) -> Path:
    _answer("git", "rev-parse", "--show-toplevel", refused="not inside a git repository")
    unknown = f"{base} is no revision here; a shallow clone needs: git fetch --depth=1 origin BRANCH"
    _answer("git", "rev-parse", "--quiet", "--verify", f"{base}^{{commit}}", refused=unknown)
    return Path(_answer("dvc", "root").strip()).resolve()


def _draw(root: Path, base: str, path: Path) -> None:
    """Accuracy against size of both revisions as a PNG."""
    import vl_convert

    chart = _answer("dvc", "plots", "diff", base, "--targets", PLOT, "--show-vega", folder=root)
    try:
        files.write_bytes(path, vl_convert.vegalite_to_png(chart, scale=2))
    except ValueError:
        raise UserError("the plot was not drawn") from None


@click.command(cls=Command)
@click.argument("base")
@click.argument("plot", required=False, type=click.Path(path_type=Path))
def main(base: str, plot: Path | None) -> None:
    """Print what the working tree changes against the revision BASE; draw both revisions into PLOT, a PNG."""
    root, drawing = _root(base), plot and plot.absolute()
    if drawing:
        _draw(root, base, drawing)
    metrics = difference_section(_dvc(root, "metrics", "diff", base), change=True)
    changed = difference_section(_dvc(root, "params", "diff", base, "--targets", params.PARAMS_FILE), change=False)
    accuracies = _accuracies(root, base)
    lines, error = stale.check(root)  # stale results are a finding of the report, not a failure of it
    results = "\n".join([*lines, *([error] if error else [])])
    click.echo(f"## Results against `{base}`\n\n### Accuracies\n\n{accuracies}\n\n### Metrics\n\n{metrics}\n")
    click.echo(f"### Params\n\n{changed}\n\n### Do the results belong to the code?\n\n```\n{results}\n```")


if __name__ == "__main__":
    main()
