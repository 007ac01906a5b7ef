"""What the report says of students and teachers: who taught whom, who gained, from measured tables alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import text

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

INDEPENDENT = "students/independent"
DIFFERENCES = ("difference_points", "difference_points_low", "difference_points_high", "mcnemar_p")
SEEDS = "seeds/"  # in front of a student's id: the table of its seeds


def teachers(data: Tables) -> list[str]:
    """Names of the teachers, without the family."""
    return list(data.of("teachers")["name"])


def table(data: Tables) -> pd.DataFrame:
    """The students' rows of the evaluation, controls first, with `method`, `teacher` and what they gained.

    `difference_points` and its neighbours compare with the independent student on the same images; NaN for
    the independent one itself, and where no such pair was measured.
    """
    rows = data.of("students").copy()
    known = teachers(data)
    parts = [str(name).rpartition("-") for name in rows["name"]]
    rows["teacher"] = [last if first and last in known else "" for first, _, last in parts]
    rows["method"] = [
        name.removesuffix(f"-{teacher}") if teacher else name
        for name, teacher in zip(rows["name"], rows["teacher"], strict=True)
    ]
    pairs = data.pairs[data.pairs["reference"] == INDEPENDENT].set_index("model")
    for column in DIFFERENCES:
        rows[column] = rows["model"].map(pairs[column].astype(float))
    return rows.sort_values(["teacher", "method"], ignore_index=True)


def taught(data: Tables) -> pd.DataFrame:
    """The students that have a teacher."""
    rows = table(data)
    return rows[rows["teacher"] != ""]


def told_apart(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Students above the independent one, below it, and not told apart from it, each by its 95 % interval."""
    tested = rows.dropna(subset=["difference_points_low", "difference_points_high"])
    above, below = tested["difference_points_low"] > 0, tested["difference_points_high"] < 0
    return tested[above], tested[below], tested[~above & ~below]


def verdict(data: Tables) -> str:
    """One sentence: how many students gained from their teacher, and by how much the best."""
    rows = taught(data)
    above, below, same = told_apart(rows)
    tested = pd.concat([above, below, same])
    if tested.empty:
        return "No student was compared with the independent one."
    best = tested.sort_values(["difference_points", "model"]).iloc[-1]
    all_of_them = text.count(len(tested), "student")
    counts = [f"{len(above)} of {all_of_them} with a teacher {_come(above)} out above the independent one"]
    counts += [f"{len(same)} {'is' if len(same) == 1 else 'are'} not told apart from it"] if len(same) else []
    counts += [f"{len(below)} {_come(below)} out below it"] if len(below) else []
    return f"{', '.join(counts)}; {best['name']} is best: {text.difference(best)} points (95 % interval)."


def finding(data: Tables) -> str:
    """The best student against its teacher and the independent one, as a title."""
    rows = taught(data)
    if rows.empty:
        return "Students and teachers"
    best = rows.sort_values(["top1_pct", "model"]).iloc[-1]
    share = _share_of_teacher(data, best)
    gain = best["difference_points"]
    more = "" if math.isnan(gain) else f", {text.signed(gain)} points to the independent student"
    return f"{best['name']}: {text.number(best['top1_pct'])} %{share}{more} (n = {int(best['n']):,})"


def explained(data: Tables, name: str) -> pd.DataFrame:
    """A table of the explain stage, such as `alignment`; empty when it did not run."""
    return data.extra.get(f"explain/{name}", pd.DataFrame())


def alignment(data: Tables, teacher: str) -> pd.DataFrame:
    """What students of a teacher, and the controls, share with it: answers and, if seen, attention.

    Attention is that of the finest layer; without that table its columns are missing.
    """
    rows, maps = explained(data, "alignment"), explained(data, "attention")
    if rows.empty:
        return rows
    if not maps.empty:
        finest = maps[maps["role"] == maps["role"].iloc[0]].drop(columns=["n"])
        rows = rows.merge(finest, on=["model", "teacher"])
    rows = rows[rows["teacher"] == f"teachers/{teacher}"]
    return rows.assign(name=rows["model"].str.partition("/")[2]).reset_index(drop=True)


def seeds(data: Tables) -> pd.DataFrame:
    """Mean and deviation over seeds of each student on validation images: a row per student of several seeds."""
    found = [
        frame.iloc[:1].assign(model=key.removeprefix(SEEDS))
        for key, frame in data.extra.items()
        if key.startswith(SEEDS) and len(frame) > 1
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _come(rows: pd.DataFrame) -> str:
    return "comes" if len(rows) == 1 else "come"


def _share_of_teacher(data: Tables, row: pd.Series) -> str:
    own = data.models[data.models["model"] == f"teachers/{row['teacher']}"]
    return "" if own.empty else f", {text.percent(row['top1_pct'], own['top1_pct'].iloc[0])} % of its teacher"
