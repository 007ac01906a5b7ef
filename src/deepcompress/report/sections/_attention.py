"""Where models look: strips of maps; and what compressed models see and do on changed images beside the baseline."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from deepcompress.report import charts, queries, text
from deepcompress.report.tables import BASELINE, Tables
from deepcompress.report.text import Block, Column, Paragraph, Picture, Table, interval_of

STRIP = (
    "Where each model sees the right class ({role}), on the same validation images; below each map its SSIM to the "
    "{teacher}'s, undefined where a map is empty."
)
FIGURE = (
    "Up to {n} validation images, maps of {role}; uniform window of {window} px, data range 1. The source report takes "
    "the last convolution; this is the finer of the two deepest blocks whose maps have 4 x 4 places or more."
)
OBJECT = "The object covers {share} % of the image: what a map without any aim would have inside it."
# Changes of the images: how the sentence on one begins, and the head of its column.
CHANGES = {
    "jittered": ("Under colour jitter", "Jittered top-1 % (95 %)"),
    "noise": ("With Gaussian noise of {strength} (pixels lie in 0 to 1)", "With noise (95 %)"),
    "fgsm": ("After a step of {strength} in every pixel against the model itself (FGSM)", "Under FGSM (95 %)"),
}
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

PREFIX = "uint8:"
# A ramp of heat, dark to light, as red, green and blue at 0, a third, two thirds and 1.
HEAT = np.array([(20, 8, 60), (150, 30, 110), (235, 105, 40), (250, 240, 130)], float)


def attention(data: Tables) -> list[Block]:
    """Maps, SSIM and accuracy on changed images; nothing while no compressed model was looked at."""
    rows, jitter = queries.explained(data, "attention"), queries.explained(data, "colour")
    if rows.empty or jitter.empty:
        return []
    others = _with_changes(data, jitter)
    baseline = others[others["model"] == BASELINE].iloc[0]
    own = [name for name in others if name == "model" or name not in rows]
    rows = rows[rows["teacher"] == BASELINE].merge(others[own], on="model").reset_index(drop=True)
    made = rows[rows["family"] != "students"]
    if made.empty:
        return []
    title, first = _finding(made), rows.iloc[0]
    sentences = (_beside_independent(data, rows), *(_fall(made, baseline, change) for change in CHANGES))
    blocks: list[Block] = [Paragraph(words) for words in sentences if words]
    best = _best_student(rows)
    if not (drawn := _drawn(data, best)).empty:
        blocks.append(strip(data, drawn, "attention_strip", STRIP))
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


def _beside_independent(data: Tables, rows: pd.DataFrame) -> str:
    """How alike to the baseline a network is that was trained apart from it, and who is closer; empty if unknown."""
    apart, made = rows[rows["model"] == queries.independent(data)], rows[rows["family"] != "students"]
    if apart.empty:
        return ""
    null = apart.iloc[0]
    closer = int((made["ssim_low"] > null["ssim_high"]).sum())
    return (
        f"A network trained apart from the baseline, {null['model']}, comes to SSIM {text.interval(null, 'ssim', 2)}; "
        f"{closer} of {text.count(len(made), 'compressed model')} lie above that, intervals over images apart."
    )


def _with_changes(data: Tables, jitter: pd.DataFrame) -> pd.DataFrame:
    """Rows on colour jitter, beside them those on other changes: columns `<change>_<column>`, empty where untried."""
    rows = queries.explained(data, "robustness")
    joined = jitter.assign(jittered_before_pct=jitter["top1_pct"], jittered_n=jitter["n"])
    for change, of_change in rows.groupby("change") if len(rows) else ():
        names = {"top1_pct": f"{change}_before_pct", "n": f"{change}_n", "strength": f"{change}_strength"}
        names |= {f"changed_top1_pct{end}": f"{change}_top1_pct{end}" for end in ("", "_low", "_high")}
        joined = joined.merge(of_change[["model", *names]].rename(columns=names), on="model", how="left")
    return joined


def _fall(rows: pd.DataFrame, baseline: pd.Series, change: str) -> str:
    """What a change of the images takes from the baseline, and between what compressed models lie; empty if untried.

    Whether two of them differ it does not say: trainings stand between most, and none is repeated here.
    """
    column = f"{change}_top1_pct"
    if column not in rows or (ordered := rows.dropna(subset=column).sort_values([column, "model"])).empty:
        return ""
    least, most = (f"{text.number(row[column])} % ({row['model']})" for _, row in ordered.iloc[[0, -1]].iterrows())
    before, after = (text.number(baseline[name]) for name in (f"{change}_before_pct", column))
    opening = CHANGES[change][0].format(strength=baseline.get(f"{change}_strength"))
    return (
        f"{opening} the baseline's top-1 falls from {before} to {after} % (n = {int(baseline[f'{change}_n']):,}); "
        f"compressed models, one training each, come to between {least} and {most}."
    )


def _table(rows: pd.DataFrame, baseline: pd.Series) -> Table:
    """A row per model, the baseline's first."""
    first = rows.iloc[0]
    own = pd.DataFrame([baseline]).assign(inside_pct=first["teacher_inside_pct"])
    columns: dict[str, Column] = {
        "Model": "model",
        "SSIM (95 %)": interval_of("ssim", 2),
        "To another image": ("ssim_other_image", 2),
        "Inside the object, %": ("inside_pct", 1),
        **{head: interval_of(f"{change}_top1_pct") for change, (_, head) in CHANGES.items()},
        "Jitter takes, points (95 %)": interval_of("drop_points"),
    }
    share = first["object_pct"]
    caption = "" if pd.isna(share) else OBJECT.format(share=text.number(share))
    return Table.of(pd.concat([own, rows]), columns, caption, "Every model but teachers")


# Strips: the images, and below them where each model sees the right class.


def strip(data: Tables, rows: pd.DataFrame, name: str, caption: str) -> Picture:
    """The images, and below them the maps of some models, the one that they are compared with first.

    The rows are some of the table `strips`, with one `teacher`; the caption has places for {teacher} and {role}.
    """
    images = queries.explained(data, "strip_images").sort_values("image")
    photos = [pixels(row["pixels"], row["side"], row["side"], 3) for _, row in images.iterrows()]
    teacher = str(rows["teacher"].iloc[0])
    # Among students and teachers the family says no more than the heading does.
    names = dict(zip(rows["model"], rows["model" if teacher == BASELINE else "name"], strict=True))
    shown = [("image", place, url(photo), "") for place, photo in enumerate(photos)]
    for model, own in rows.groupby("model", sort=False):
        maps = own.sort_values("image").iterrows()
        for place, (photo, (_, row)) in enumerate(zip(photos, maps, strict=True)):
            heat = pixels(row["map"], row["side"], row["side"])
            shown.append((names[model], place, url(overlay(photo, heat)), _note(heat, row["ssim"])))
    alike = rows[rows["model"] != teacher].groupby("model")["ssim"].mean().dropna()
    theirs = f"{'the ' * (teacher == BASELINE)}{names[teacher]}'s"
    most = "" if alike.empty else f": mean SSIM at most {text.number(alike.max(), 2)}, {names[alike.idxmax()]}'s"
    title = f"Maps beside {theirs} on {len(photos)} images{most}"
    chart = charts.strip(pd.DataFrame(shown, columns=["name", "image", "url", "note"]))
    return Picture(name, title, (chart,), caption.format(teacher=names[teacher], role=rows["role"].iloc[0]))


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map over the picture in grey: 0..255, (side, side, 3); the hotter, the more of it."""
    share = heat.astype(float)[..., None] / 255
    ends = np.linspace(0, 1, len(HEAT))
    hot = np.concatenate([np.interp(share, ends, HEAT[:, channel]) for channel in range(3)], axis=2)
    grey, weight = photo.mean(2, keepdims=True), 0.25 + 0.5 * share
    return ((1 - weight) * grey + weight * hot).round().astype(np.uint8)


def url(picture: np.ndarray) -> str:
    """A picture of (side, side, 3) as a PNG within a link."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pixels(written: str, *shape: int) -> np.ndarray:
    """Bytes that were written as text, in their shape.

    Raises:
        ValueError: If they are not there, or too many or too few.
    """
    if not written.startswith(PREFIX):
        raise ValueError(f"pixels must start with {PREFIX!r}, got {written[:10]!r}")
    return np.frombuffer(base64.b64decode(written.removeprefix(PREFIX)), np.uint8).reshape(shape)


def _note(heat: np.ndarray, ssim: float) -> str:
    """What stands below a map."""
    if not heat.any():
        return "empty map"
    return "" if np.isnan(ssim) else text.number(ssim, 2)
