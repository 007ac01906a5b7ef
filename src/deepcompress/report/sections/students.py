"""Students: models that learn from a teacher, and the controls that learn alone. Figures 12 to 14 of the report."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from deepcompress.report import strips, student_figures, students, technique, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.claims import paragraphs
from deepcompress.report.source_report import is_cifar100, source_top1
from deepcompress.report.tables import Tables

GAINS = (
    "Counterpart of Figure 13 of the source report, accuracy. Points and p compare with the independent student on the "
    "same held-out images."
)
LIKENESS = (
    "Counterpart of Figure 13 of the source report, likeness to the teacher: KL is KL(teacher || student) at "
    "temperature 1 in nats, SSIM that of Grad-CAM maps, both on validation images. The source report states neither "
    "direction nor temperature of its KL, nor window nor null of its SSIM."
)
ACCURACY = (
    "Counterpart of Figure 12 (left) of the source report. Bars: 95 % Wilson intervals; dotted: the independent "
    "student."
)
ALIGNMENT = (
    "Counterpart of Figure 12 (middle) of the source report: students of {teacher} and the controls, on {n} "
    "validation images; maps of {maps}, SSIM with a uniform window of {window} px and data range 1."
)
COLOUR = (
    "Counterpart of Figure 12 (right) of the source report: validation images as they are and in random colours, "
    "the same for all models. Bars: 95 % Wilson intervals."
)


def build(data: Tables) -> Section | None:
    """Accuracy, alignment and colour invariance of every student; what was not measured is left out."""
    if data.of("students").empty:
        return None
    rows = students.table(data)
    blocks: list[Block] = [Paragraph(students.verdict(data), strong=True), _accuracies(data, rows)]
    blocks += [
        *paragraphs(data, "Figure 12 (left)"),
        *_summary(data, rows),
        *paragraphs(data, "Figure 13", "Figure 12 (middle)"),
        *_alignments(data),
        *paragraphs(data, "Figure 12 (right)"),
        *_colours(data),
        *paragraphs(data, "Figure 14"),
        *strips.pictures(data),
        *_seeds(data),
    ]
    blocks.append(technique.table(_against_baseline(data, rows), folded="Size and cost of every student"))
    return Section("Knowledge distillation", tuple(blocks), order=40)


def _accuracies(data: Tables, rows: pd.DataFrame) -> Picture:
    shown = pd.concat([data.of("teachers"), rows])
    theirs = source_top1(data, "students") if is_cifar100(data) else {}
    return Picture("students_accuracy", student_figures.accuracies(shown, theirs, students.finding(data)), ACCURACY)


def _summary(data: Tables, rows: pd.DataFrame) -> list[Table]:
    """What students gained, and how like their teacher they are: a row each; columns without any value are left out."""
    own = _own_teacher(data)
    joined = rows if own.empty else rows.merge(own, on="model", how="left")
    theirs, nothing = _paper(data), [None] * len(joined)
    gains = {
        "Paper: top-1 %": [_cell(theirs["top1"].get(m)) for m in joined["model"]],
        "Top-1 % (95 %)": [text.accuracy(row) for _, row in joined.iterrows()],
        "Points to independent (95 %)": [text.difference(row) for _, row in joined.iterrows()],
        "p": [text.probability(p) for p in joined["mcnemar_p"]],
    }
    likeness = {
        "Paper: KL": [_cell(theirs["kl"].get(m), 3) for m in joined["model"]],
        "KL": [_cell(v, 3) for v in joined.get("kl_nats", nothing)],
        "Same answer, %": [_cell(v) for v in joined.get("agreement_pct", nothing)],
        "Paper: SSIM": [_cell(theirs["ssim"].get(m), 3) for m in joined["model"]],
        "SSIM": [_cell(v, 3) for v in joined.get("ssim", nothing)],
        "SSIM over independent (95 %)": [_gain(row) for _, row in joined.iterrows()],
    }
    measured = GAINS, gains
    seen = [(LIKENESS, likeness)] if "kl_nats" in joined else []
    return [_said(list(joined["name"]), columns, caption) for caption, columns in (measured, *seen)]


def _said(names: list[str], columns: dict[str, list[str]], caption: str) -> Table:
    said = {"Student": names} | {head: cells for head, cells in columns.items() if set(cells) != {text.MISSING}}
    return Table(tuple(said), tuple(zip(*said.values(), strict=True)), caption)


def _own_teacher(data: Tables) -> pd.DataFrame:
    """Alignment of each taught student with its own teacher; of controls with the first one."""
    found = [rows for teacher in students.teachers(data) if not (rows := students.alignment(data, teacher)).empty]
    if not found:
        return pd.DataFrame()
    return pd.concat(found).drop_duplicates("model").drop(columns=["name", "teacher", "n"])


def _alignments(data: Tables) -> list[Block]:
    blocks: list[Block] = []
    for teacher in students.teachers(data):
        rows = students.alignment(data, teacher)
        if not rows.empty and "ssim" in rows:
            best = rows.sort_values(["kl_nats", "name"]).iloc[0]
            finding = f"{teacher}: {best['name']} answers most like it ({text.number(best['kl_nats'], 3)} nats)"
            caption = ALIGNMENT.format(
                teacher=teacher, n=f"{int(best['n']):,}", maps=best["role"], window=int(best["window_px"])
            )
            blocks.append(Picture(f"students_alignment_{teacher}", student_figures.alignment(rows, finding), caption))
    return blocks


def _colours(data: Tables) -> list[Block]:
    rows = students.explained(data, "colour")
    if rows.empty:
        return []
    rows = rows[rows["model"].str.startswith(("students/", "teachers/"))]
    if rows.empty:
        return []
    rows = rows.assign(name=rows["model"].str.partition("/")[2])
    learners = rows[rows["model"].str.startswith("students/")]
    best = learners.sort_values(["jittered_top1_pct", "model"]).iloc[-1]
    drop = f"{text.number(best['jittered_top1_pct'])} % in other colours, {text.number(best['top1_pct'])} % before"
    finding = f"{best['name']} holds most: {drop} (n = {int(best['n']):,})"
    cells = [_colour_cells(data, row) for _, row in rows.iterrows()]
    heads = (
        "Model",
        "Paper: jittered %",
        "Top-1 % (95 %)",
        "Jittered % (95 %)",
        "Drop, points (95 %)",
        "Same answer, %",
    )
    table = Table(heads, tuple(cells), folded="Accuracy in other colours")
    return [Picture("students_colour", student_figures.colours(rows, finding), COLOUR), table]


def _colour_cells(data: Tables, row: pd.Series) -> tuple[str, ...]:
    """The paper's students of its jittered teacher, and that teacher, beside ours."""
    theirs = {f"students/{m}-vgg16_jitter": v for m, v in data.paper["students"]["jittered_top1_pct"].items()}
    theirs["teachers/vgg16_jitter"] = data.paper["teachers"]["vgg16_jitter_on_jittered"]
    return (
        str(row["name"]),
        _cell(theirs.get(row["model"])),
        *(_interval(row, column, text.number) for column in ("top1_pct", "jittered_top1_pct")),
        _interval(row, "drop_points", text.signed),
        text.number(row["consistency_pct"]),
    )


def _interval(row: pd.Series, column: str, spell: Callable[[float], str]) -> str:
    return f"{spell(row[column])} ({spell(row[f'{column}_low'])} to {spell(row[f'{column}_high'])})"


def _seeds(data: Tables) -> list[Block]:
    rows = students.seeds(data)
    if rows.empty:
        return []
    cells = [
        (
            str(row["model"]),
            text.number(row["mean_pct"], 2),
            text.number(row["deviation_points"], 2),
            str(int(row["n_seeds"])),
        )
        for _, row in rows.iterrows()
    ]
    heads = ("Student", "Validation top-1 %: mean", "Standard deviation, points", "Seeds")
    return [Table(heads, tuple(cells), "How much is chance: the same training from other seeds.")]


def _against_baseline(data: Tables, rows: pd.DataFrame) -> pd.DataFrame:
    return data.models[data.models["model"].isin(rows["model"])]


def _paper(data: Tables) -> dict[str, dict[str, float]]:
    theirs = data.paper["students"]
    one = {f"students/{m}-vgg16": m for m in theirs["vgg16"]}
    named = {"kl": "kl_to_teacher", "ssim": "cam_ssim"}
    found = {short: {k: theirs[key][m] for k, m in one.items() if m in theirs[key]} for short, key in named.items()}
    return {**found, "top1": source_top1(data, "students")}


def _gain(row: pd.Series) -> str:
    if "ssim_gain" not in row or math.isnan(row["ssim_gain"]):
        return text.MISSING
    low, high = (text.signed(row[f"ssim_gain_{side}"], 3) for side in ("low", "high"))
    return f"{text.signed(row['ssim_gain'], 3)} ({low} to {high})"


def _cell(value: float | None, digits: int = 1) -> str:
    return text.MISSING if value is None else text.number(value, digits)
