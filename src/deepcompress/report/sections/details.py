"""Everything else: all columns of all models, the baseline, training, attention, classes, and how it was made."""

from __future__ import annotations

import base64
import io
import platform
from importlib.metadata import distributions
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from deepcompress import params
from deepcompress.report import charts, estimates, queries, tables, text
from deepcompress.report.tables import BASELINE, Tables
from deepcompress.report.text import Block, Column, Paragraph, Picture, Section, Table, fold, interval_of

ENDS = 10  # classes that are shown of each end
LOWEST = 3  # classes that are named
MADE = "dvc repro makes all of this again, byte for byte on the same machine; nothing here was typed by hand."
PACKAGES = ("deepcompress", "torch", "torchvision", "lightning-fabric", "numpy", "pandas", "vl-convert-python", "dvc")
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
# What is drawn, by names in claims.yaml: figure 6 of the source report first, then a model of each kind, in this order.
DRAWN: tuple[str | estimates.Row, ...] = (
    *("baseline", "unstructured", "structured", "pruned", "ptq-int8", "ptq-int4", {"model": "shipped/quantized"}),
    *("prune_distill", "distill_quantize"),
)
SEEN: dict[str, Column] = {
    "Model": "model",
    "SSIM (95 %)": interval_of("ssim", 2),
    "To another image": ("ssim_other_image", 2),
    "Inside the object, %": ("inside_pct", 1),
    **{head: interval_of(f"{change}_top1_pct") for change, (_, head) in CHANGES.items()},
    "Jitter takes, points (95 %)": interval_of("drop_points"),
}
EVERY = "Every model but teachers"
PREFIX = "uint8:"
# A ramp of heat, dark to light, as red, green and blue at 0, a third, two thirds and 1.
HEAT = np.array([(20, 8, 60), (150, 30, 110), (235, 105, 40), (250, 240, 130)], float)


def details(data: Tables) -> Section:
    """Always there: every number that no question above asked for."""
    chosen = tables.selected(data, data.candidates)
    name = None if chosen is None else chosen["model"]
    # For README and DVC, which cannot run the page's chart.
    chart = charts.front(queries.usable(data), "size_mib", name)
    best, n = Picture(charts.OVERVIEW, text.of_all(data), (chart,)), len(data.models)
    models = f"All {text.count(n, 'model')}" if n > 1 else "The model"
    blocks = (
        *fold(f"{models}, every column", "overview", [best, text.models_table(data, data.models)]),
        *fold("The baseline", "baseline", _baseline(data)),
        *fold("Training curves", "training", _training(data)),
        *fold("Where compressed models look, and colour jitter", "attention", attention(data)),
        *fold("Accuracy per class", "classes", _classes(data)),
        *fold("How this was made", "provenance", _provenance(data)),
    )
    return Section("Details", blocks)


def _baseline(data: Tables) -> list[Block]:
    """Setting and accuracy of both baselines side by side, and whether the two accuracies can be compared at all."""
    here, theirs = dict(_written(data.params)), float(data.paper["baseline"]["top1_pct"])
    rows = [(name, there, here.get(key, text.MISSING)) for name, (there, key) in data.paper["setting"].items()]
    rows.append(("Top-1, %", text.number(theirs), text.accuracy(data.baseline)))
    rows.append(("Held-out images", "10,000", f"{int(data.baseline['n']):,}"))
    caption = f"The source report's accuracy is stated without interval; {data.paper['baseline']['note']}."
    table = Table(("Baseline", "Source report", "Here (95 % interval)"), tuple(rows), caption)
    return [Paragraph(_verdict(data, theirs), strong=True), table]


def _verdict(data: Tables, theirs: float) -> str:
    ours, note = text.estimate(data.baseline, "top1_pct"), estimates.setting_note(data)
    both = f"{text.number(ours.value)} % here, {text.number(theirs)} % in the source report"
    if not estimates.is_cifar100(data):
        return f"{both}: other data, so that this neither agrees with the source report nor contradicts it{note}."
    apart = estimates.combined((estimates.interval(theirs), ours), (1, -1))
    if apart.low <= 0 <= apart.high:
        return f"{both}: they agree within the error (95 %) of both ones' images, trainings aside{note}."
    side, points = "below" if apart.value < 0 else "above", text.spanned(apart, 1, text.signed)
    return f"{both}: the source report's lies {side} ours, {points} points (95 %, of images alone){note}."


def _training(data: Tables) -> list[Block]:
    """Validation accuracy and training loss against the epoch, a picture per family."""
    drawn = {"validation_top1_pct": "validation top-1 [%]", "train_loss": "training loss"}
    pictures: list[Block] = []
    for family in dict.fromkeys([*data.models["family"], *data.history["family"]]):
        runs = data.history[data.history["family"] == family]
        if not runs.empty:
            panels = [charts.lines(runs, "epoch", y, ("epoch", label), series="name") for y, label in drawn.items()]
            pictures.append(Picture(f"{family}_training", _of_training(runs), tuple(panels), across=2))
    return pictures


def _of_training(runs: pd.DataFrame) -> str:
    """Where the validation accuracy of the runs of one family ends."""
    last = runs.sort_values("epoch").groupby("model").tail(1)
    low, high = (text.number(end) for end in last["validation_top1_pct"].agg(["min", "max"]))
    if len(last) > 1:
        return f"{last['family'].iloc[0]}: {len(last)} runs end between {low} and {high} % on validation images"
    epochs = text.count(int(last["epoch"].max() - runs["epoch"].min()) + 1, "epoch")
    return f"{last['model'].iloc[0]}: {high} % on validation images after {epochs}"


def _classes(data: Tables) -> list[Block]:
    """The baseline's best and worst classes, the smallest good model beside it."""
    rows = data.named(data.per_class.dropna(subset=["top1_pct"]))
    dense = rows[rows["model"] == BASELINE].sort_values(["top1_pct", "class"], ascending=[False, True])
    if dense.empty:
        return []
    listed = [str(name) for name in dense["class"]]
    few = len(listed) <= 2 * ENDS
    shown = listed if few else listed[:ENDS] + listed[-ENDS:]
    best = tables.selected(data, data.candidates)
    models = [BASELINE] if best is None or best["model"] not in set(rows["model"]) else [BASELINE, best["model"]]
    which = "All classes" if few else f"The best and the worst {ENDS} of {len(listed):,} classes"
    images = " to ".join(f"{n:,}" for n in dict.fromkeys((int(dense["n"].min()), int(dense["n"].max()))))
    caption = f"{which}, in the baseline's order; {images} held-out images each. Bars: 95 % intervals."
    own = rows[rows["model"].isin(models) & rows["class"].isin(shown)].assign(name=lambda some: some["class"])
    own = own.sort_values("class", key=lambda names: names.map(shown.index), kind="stable")
    chart = charts.dots(queries.with_interval(own, "top1_pct"), "top1_pct", charts.TOP1, series="model")
    ends = dense.sort_values(["top1_pct", "class"]).iloc[[0, -1]]
    least, most = (f"{text.number(top1, 0)} %" for top1 in ends["top1_pct"])
    worst, best_class = ends["class"]
    found = f"{most} in every class" if least == most else f"from {least} ({worst}) to {most} ({best_class})"
    blocks: list[Block] = [Picture("class_accuracy", f"{BASELINE}: {found}", (chart,), caption)]
    if len(models) > 1:
        wide = data.per_class.pivot(index="class", columns="model", values="top1_pct")
        change = (wide[models[1]] - wide[BASELINE]).dropna().sort_values(kind="stable")
        lowest = change[change < 0].head(LOWEST)
        named = ", ".join(f"{name} ({text.signed(points, 0)})" for name, points in lowest.items())
        found = f", lowest three in points: {named}" if len(lowest) == LOWEST else f", in points: {named}"
        if lowest.empty:
            found = ": no class loses"
        sentence = f"{models[1]} against the baseline{found}; {images} images each."
        blocks.append(Paragraph(sentence))
    return blocks


def _provenance(data: Tables) -> list[Block]:
    """Data, versions, every parameter, and the headline that reviewers compare; the long tables folded away."""
    meta, counts, settings = data.meta, data.meta.get("counts", {}), _written(data.params)
    parts = {f"{name.capitalize()} images": counts.get(name) for name in ("train", "validation")}
    images = {
        "Source": meta.get("source", data.params.get("data", {}).get("source", text.MISSING)),
        "Classes": data.per_class["class"].nunique(),
        "Stored size, px": meta.get("image_size", text.MISSING),
        **{name: text.MISSING if n is None else f"{n:,}" for name, n in parts.items()},
        "Held-out images": f"{int(data.baseline['n']):,}",
        "Checksum": meta.get("checksum") or text.MISSING,
        "Models": len(data.models),
    }
    found = {package: next(iter(distributions(name=package)), None) for package in PACKAGES}
    versions = ((package, at.version if at else "not installed") for package, at in found.items())
    rows = tuple((name, str(value)) for name, value in images.items())
    return [
        Paragraph(MADE),
        Table(("Data", "Value"), rows, caption="Choices were made on validation images alone."),
        Table(("Software", "Version"), (("Python", platform.python_version()), *versions)),
        Table(("Parameter", "Value"), settings, folded=f"All {len(settings)} parameters (params.yaml)"),
        Table(("Number", "Value"), _written(data.headline), folded="Headline numbers (what dvc metrics diff compares)"),
    ]


def _written(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key, text.MISSING if value is None else str(value)) for key, value in params.leaves(values))


# Where models look: strips of maps; and what compressed models see and do on changed images beside the baseline.


def attention(data: Tables) -> list[Block]:
    """Maps, SSIM and accuracy on changed images; nothing while no compressed model was looked at."""
    rows, jitter = queries.explained(data, "attention"), queries.explained(data, "colour")
    if rows.empty or jitter.empty:
        return []
    others = _with_changes(data, jitter)
    baseline = others[others["model"] == BASELINE].iloc[0]
    rows = queries.joined(rows[rows["teacher"] == BASELINE], others)
    students = rows["family"] == "students"
    made, first = rows[~students], rows.head(1)
    if made.empty:
        return []
    best = rows[students].sort_values(["top1_pct", "model"]).tail(1)  # on validation images
    apart = rows[rows["model"] == queries.independent(data)]
    smaller = data.models.loc[data.models["times_smaller"] > 1, "model"]
    compressed = made[made["model"].isin(smaller)]  # without controls
    sentences = (_beside_independent(compressed, apart), *(_fall(compressed, baseline, change) for change in CHANGES))
    blocks: list[Block] = [Paragraph(words) for words in sentences if words]
    if not (drawn := _drawn(data, best["model"])).empty:
        blocks.append(strip(data, drawn, "attention_strip", STRIP))
    levels = {} if apart.empty else {"independent student": float(apart["ssim"].iloc[0])}
    label = "SSIM to the baseline's maps; short strokes: to the map of another image"
    shown = pd.concat([made, best]).assign(name=lambda some: some["model"])
    chart = charts.dots(shown, "ssim", label, levels=levels, null="ssim_other_image")
    seen, window = int((rows["n"] + rows["empty"]).max()), int(first["window_px"].iloc[0])
    caption = FIGURE.format(n=f"{seen:,}", role=first["role"].iloc[0], window=window)
    object_pct, inside_pct = first[["object_pct", "teacher_inside_pct"]].iloc[0]
    listed = pd.concat([pd.DataFrame([baseline]).assign(inside_pct=inside_pct), rows])
    return [
        *blocks,
        Picture("attention", _finding(compressed), (chart,), caption),
        Table.of(listed, SEEN, "" if pd.isna(object_pct) else OBJECT.format(share=text.number(object_pct)), EVERY),
    ]


def _drawn(data: Tables, students: pd.Series) -> pd.DataFrame:
    """The maps to draw: those of DRAWN that there are, in that order, and those of some students."""
    if (rows := queries.strips(data)).empty:
        return rows
    rows = rows[rows["teacher"] == BASELINE]
    wanted = [estimates.chosen(data, query)["model"] for query in (*DRAWN, *({"model": name} for name in students))]
    first = [rows.loc[rows["model"].isin(models), "model"].head(1) for models in wanted]
    return pd.concat([rows[rows["model"] == name] for names in first for name in names])


def _finding(rows: pd.DataFrame) -> str:
    """Which model looks most and least like the baseline, with n."""
    ordered = rows.dropna(subset="ssim").sort_values(["ssim", "model"])
    if ordered.empty:
        return "No map of a compressed model can be compared with the baseline's"
    least, most = ordered.iloc[0], ordered.iloc[-1]
    if len(ordered) == 1:
        return f"{most['model']} beside the baseline: SSIM {text.number(most['ssim'], 2)} ({text.sample(most['n'])})"
    return (
        f"{most['model']} looks most like the baseline (SSIM {text.number(most['ssim'], 2)}), {least['model']} least "
        f"({text.number(least['ssim'], 2)}; {text.sample(most['n'])})"
    )


def _beside_independent(made: pd.DataFrame, apart: pd.DataFrame) -> str:
    """How alike to the baseline a network is that was trained apart from it, and who is closer; empty if unknown."""
    if apart.empty or made.empty:
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
        names |= {f"changed_top1_pct{end}": f"{change}_top1_pct{end}" for end in text.ENDS}
        joined = joined.merge(of_change[["model", *names]].rename(columns=names), on="model", how="left")
    return joined


def _fall(rows: pd.DataFrame, baseline: pd.Series, change: str) -> str:
    """What a change of the images takes from the baseline, and between what compressed models lie; empty if untried.

    Whether two of them differ it does not say: trainings stand between most, and none is repeated here.
    """
    column = f"{change}_top1_pct"
    if column not in rows or (ordered := rows.dropna(subset=column).sort_values([column, "model"])).empty:
        return ""
    ends = [f"{text.number(row[column])} % ({row['model']})" for _, row in ordered.iloc[[0, -1]].iterrows()]
    reached = ends[0] if len(ordered) == 1 else f"between {' and '.join(ends)}"
    before, after = (text.number(baseline[name]) for name in (f"{change}_before_pct", column))
    opening = CHANGES[change][0].format(strength=baseline.get(f"{change}_strength"))
    goes = "falls" if baseline[column] < baseline[f"{change}_before_pct"] else "goes"
    return (
        f"{opening} the baseline's top-1 {goes} from {before} to {after} % ({text.sample(baseline[f'{change}_n'])}); "
        f"compressed models, one training each, come to {reached}."
    )


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
            heat, ssim = pixels(row["map"], row["side"], row["side"]), row["ssim"]
            note = "empty map" if not heat.any() else "" if pd.isna(ssim) else text.number(ssim, 2)
            shown.append((names[model], place, url(overlay(photo, heat)), note))
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


SECTIONS = {"details": (90, details)}
