"""What the explain stage found of each model, as three more columns of metrics/evaluation.csv.

They are measured on validation images, unlike the others: results/explain has their n and their intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress import files
from deepcompress.errors import UserError
from deepcompress.measure.rows import decimals, significant
from deepcompress.plan_table import BASELINE

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.measure.rows import Row

ATTENTION, ATTENTION_TEACHER, JITTERED = "attention_ssim", "attention_ssim_teacher", "jittered_top1_pct"
COLUMNS = (ATTENTION, ATTENTION_TEACHER, JITTERED)


def joined(rows: list[Row], folder: Path) -> list[Row]:
    """The rows, each with COLUMNS behind its own; None where explain did not look at the model.

    Args:
        rows: Of the evaluation table.
        folder: What the explain stage wrote.

    Returns:
        `attention_ssim`: the mean SSIM of a model's attention maps with the baseline's, at the finer layer;
        `attention_ssim_teacher`: the same with those of the student's own teacher; `jittered_top1_pct`: accuracy in
        other colours [%].

    Raises:
        UserError: If a table is missing or damaged, or lacks a column.
    """
    found = _found(folder)
    return [{**row, **dict.fromkeys(COLUMNS), **found.get(row["model"], {})} for row in rows]


def _found(folder: Path) -> dict[str, Row]:
    attention, colour = folder / "attention.csv", folder / "colour.csv"
    found: dict[str, Row] = {}
    try:
        rows = files.read_rows(attention)
        for row in rows:
            column = _column(row["model"], row["teacher"])
            if row["role"] == rows[0]["role"] and column:
                found.setdefault(row["model"], {})[column] = significant(row["ssim"])
    except KeyError as missing:
        raise _lacks(attention, missing) from None
    try:
        for row in files.read_rows(colour):
            found.setdefault(row["model"], {})[JITTERED] = decimals(row[JITTERED])
    except KeyError as missing:
        raise _lacks(colour, missing) from None
    return found


def _column(model: str, reference: str) -> str | None:
    """Where a comparison belongs; that of a control with a teacher, which it never saw, nowhere."""
    if reference == BASELINE:
        return ATTENTION
    own = model.startswith("students/") and reference == f"teachers/{model.rpartition('-')[2]}"
    return ATTENTION_TEACHER if own else None


def _lacks(path: Path, missing: KeyError) -> UserError:
    return UserError(f"{path}: lacks the column {missing.args[0]}; run the explain stage again")
