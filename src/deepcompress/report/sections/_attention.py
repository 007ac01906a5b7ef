"""Where compressed models look, and how they do under colour jitter, beside the baseline."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepcompress.report import charts, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Table
from deepcompress.report.sections import _maps, _parts
from deepcompress.report.tables import BASELINE, Tables

STRIP = (
    "Where each model sees the right class ({role}), on the same validation images; below each map its SSIM to the "
    "{teacher}'s, undefined where a map is empty."
)
FIGURE = (
    "Up to {n} validation images, maps of {role}; uniform window of {window} px, data range 1. The source report takes "
    "the last convolution; this is the finer of the two deepest blocks whose maps have 4 x 4 places or more."
)
OBJECT = "The object covers {share} % of the image: what a map without any aim would have inside it."
QUARTER = (("unstructured", 0.25), ("structured", 0.25))
# What is drawn of each family: figure 6 of the source report first, then a model of each kind, in this order.
DRAWN: tuple[dict[str, Any], ...] = (
    {"family": "baseline"},
    {"family": "pruned", "method": "unstructured", "sparsity": 0.25},
    {"family": "pruned", "method": "structured", "sparsity": 0.25},
    {"family": "shipped", "name": "pruned"},
    {"family": "quantized", "method": "ptq", "format": "int8"},
    {"family": "quantized", "method": "ptq", "format": "int4"},
    {"family": "shipped", "name": "quantized"},
    {"family": "combined", "name": "prune_distill"},
    {"family": "combined", "name": "distill_quantize"},
)


def attention(data: Tables) -> list[Block]:
    """Maps, SSIM and accuracy under colour jitter; nothing while no compressed model was looked at."""
    rows, jitter = queries.explained(data, "attention"), queries.explained(data, "colour")
    if rows.empty or jitter.empty:
        return []
    baseline = jitter[jitter["model"] == BASELINE].iloc[0]
    own = [name for name in jitter if name == "model" or name not in rows]
    rows = rows[rows["teacher"] == BASELINE].merge(jitter[own], on="model").reset_index(drop=True)
    made = rows[rows["family"] != "students"]
    if made.empty:
        return []
    title, first = _finding(made), rows.iloc[0]
    sentences = (_beside_control(made), _beside_independent(data, rows), _jittered(made, baseline))
    blocks: list[Block] = [Paragraph(words) for words in sentences if words]
    best = _best_student(rows)
    if not (drawn := _drawn(data, best)).empty:
        blocks.append(_maps.strip(data, drawn, "attention_strip", STRIP))
    apart = rows.loc[rows["model"] == queries.independent(data), "ssim"]
    levels = None if apart.empty else {"independent student": float(apart.iloc[0])}
    shown = pd.concat([made, rows[rows["model"] == best]])
    label = "SSIM to the baseline's maps; short strokes: to the map of another image"
    chart = charts.dots(shown.assign(name=shown["model"]), "ssim", label, levels=levels, null="ssim_other_image")
    seen = int((rows["n"] + rows["empty"]).max())
    caption = FIGURE.format(n=f"{seen:,}", role=first["role"], window=int(first["window_px"]))
    return [*blocks, Picture("attention", title, (chart,), caption), _table(rows, baseline)]


def _best_student(rows: pd.DataFrame) -> str | None:
    """The student with the highest top-1 on validation images; None if there is none."""
    learners = rows[rows["family"] == "students"]
    return None if learners.empty else str(learners.sort_values(["top1_pct", "model"])["model"].iloc[-1])


def _drawn(data: Tables, student: str | None) -> pd.DataFrame:
    """The maps to draw: those of DRAWN that there are, in that order, and the best student's."""
    images, rows = queries.explained(data, "strip_images"), queries.explained(data, "strips")
    if images.empty or rows.empty:
        return pd.DataFrame()
    rows = rows[rows["teacher"] == BASELINE]
    wanted = [*DRAWN, *([{"model": student}] if student else [])]
    matching = [rows[(rows[list(query)] == pd.Series(query)).all(axis=1)] for query in wanted]
    return pd.concat([models[models["model"] == name] for models in matching for name in models["model"].head(1)])


def _finding(rows: pd.DataFrame) -> str:
    """Which model looks most and least like the baseline, with n."""
    ordered = rows.dropna(subset="ssim").sort_values(["ssim", "model"])
    if ordered.empty:
        return "No map of a compressed model can be compared with the baseline's"
    least, most = ordered.iloc[0], ordered.iloc[-1]
    return (
        f"{most['model']} looks most like the baseline (SSIM {text.number(most['ssim'], 2)}), {least['model']} least "
        f"({text.number(least['ssim'], 2)}; n = {int(most['n']):,})"
    )


def _pruned(rows: pd.DataFrame, method: str, sparsity: float) -> pd.Series | None:
    models = rows[(rows["family"] == "pruned") & (rows["method"] == method) & (rows["sparsity"] == sparsity)]
    return None if models.empty else models.iloc[0]


def _beside_control(rows: pd.DataFrame) -> str:
    """Whether pruning at 25 % moves the maps further than fine-tuning alone does; empty without that control."""
    control = _pruned(rows, "unstructured", 0.0)
    if control is None:
        return ""
    moves = {
        "above": "moves them less far",
        "below": "moves them further",
        "within": "shows no significant difference from that",
    }
    moved = [
        f"{method} pruning at 25 % {moves[_place(row, control)]}"
        for method, sparsity in QUARTER
        if (row := _pruned(rows, method, sparsity)) is not None
    ]
    return "; ".join((f"Fine-tuning alone, without pruning, moves the maps to SSIM {_ssim(control)}", *moved)) + "."


def _beside_independent(data: Tables, rows: pd.DataFrame) -> str:
    """How alike to the baseline a network is that was trained apart from it, and who is closer; empty if unknown."""
    apart = rows[rows["model"] == queries.independent(data)]
    if apart.empty:
        return ""
    null, made = apart.iloc[0], rows[rows["family"] != "students"]
    closer = sum(_place(row, null) == "above" for _, row in made.iterrows())
    return (
        f"A network trained apart from the baseline, {null['model']}, comes to SSIM {_ssim(null)}; "
        f"{closer} of {text.count(len(made), 'compressed model')} lie above that, intervals apart."
    )


def _jittered(rows: pd.DataFrame, baseline: pd.Series) -> str:
    """What colour jitter takes from the baseline and from compressed models, and which differ from the baseline."""
    ordered = rows.sort_values(["jittered_top1_pct", "model"])
    ends = (ordered.iloc[0], ordered.iloc[-1])
    least, most = (f"{text.number(row['jittered_top1_pct'])} % ({row['model']})" for row in ends)
    low, high = baseline["jittered_top1_pct_low"], baseline["jittered_top1_pct_high"]
    apart = int(((ordered["jittered_top1_pct_low"] > high) | (ordered["jittered_top1_pct_high"] < low)).sum())
    before, after = (text.number(baseline[column]) for column in ("top1_pct", "jittered_top1_pct"))
    return (
        f"Under colour jitter the baseline's top-1 falls from {before} to {after} % (n = {int(baseline['n']):,}); "
        f"compressed models come to between {least} and {most}, {apart} of {len(ordered)} with an interval apart "
        "from the baseline's."
    )


def _table(rows: pd.DataFrame, baseline: pd.Series) -> Table:
    """A row per model, the baseline's first."""
    first = rows.iloc[0]
    own = pd.DataFrame([baseline]).assign(inside_pct=first["teacher_inside_pct"])
    every = pd.concat([own, rows])
    columns = {
        "Model": list(every["model"]),
        "SSIM (95 %)": [text.interval(row, "ssim", 2) for _, row in every.iterrows()],
        "To another image": [text.number(value, 2) for value in every["ssim_other_image"]],
        "Inside the object, %": [text.number(value) for value in every["inside_pct"]],
        "Jittered top-1 % (95 %)": [text.interval(row, "jittered_top1_pct") for _, row in every.iterrows()],
        "Drop, points (95 %)": [text.interval(row, "drop_points") for _, row in every.iterrows()],
    }
    share = first["object_pct"]
    caption = "" if pd.isna(share) else OBJECT.format(share=text.number(share))
    return _parts.whole(columns, caption, "Every model but teachers")


def _place(row: pd.Series, other: pd.Series) -> str:
    """Where one SSIM lies beside another: above, below, or within, where their intervals meet."""
    if row["ssim_low"] > other["ssim_high"]:
        return "above"
    return "below" if row["ssim_high"] < other["ssim_low"] else "within"


def _ssim(row: pd.Series) -> str:
    return text.interval(row, "ssim", 2)
