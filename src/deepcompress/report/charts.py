"""Charts as Vega-Lite specifications: tables in, plain data out, drawn by the browser in the page and `png` in files.

A column such as `top1_pct` stands for itself, `top1_pct_low` and `top1_pct_high`, its 95 % interval. Names are data,
never markup. Colour = family, grey = baseline. The colours are Okabe and Ito's, which differ for any colour vision, but
for those that vanish on white or on the dark page: each has a contrast of 3 : 1 with both (WCAG 2.2, 1.4.11).

Source: Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/; Vega-Lite 6,
https://vega.github.io/vega-lite/docs/
"""

from __future__ import annotations

import functools
import io
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pandas as pd
from PIL import Image

from deepcompress import files, runtime
from deepcompress.report import tables, text
from deepcompress.report.text import Picture

Spec = dict[str, Any]

LIGHT = {"page": "#f3f5f7", "card": "#ffffff", "text": "#1f2328", "muted": "#57606b", "line": "#d0d7de",
         "grid": "#e3e7ec", "accent": "#0058a3"}  # fmt: skip
DARK = {"page": "#0f1318", "card": "#1b2129", "text": "#e8ecf1", "muted": "#a9b4c0", "line": "#3a444f",
        "grid": "#303a45", "accent": "#7cc0ff"}  # fmt: skip
GREY, BLUE, RED, GREEN, ORANGE, PINK = "#767c85", "#0072b2", "#c8442a", "#009e73", "#c08500", "#cc79a7"
PURPLE, OLIVE = "#9b5fd0", "#999933"
COLOURS = {"baseline": GREY, "pruned": BLUE, "quantized": ORANGE, "teachers": PINK, "students": GREEN, "combined": RED,
           "shipped": PURPLE}  # fmt: skip
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, PINK, OLIVE, GREY)
# Lines in an order, such as layers: matplotlib's plasma, its ends mixed with white or black.
SHADES = ("#8057bd", "#8d4bc0", "#9b43bf", "#a63cb4", "#b138a0", "#bc3587", "#cd4a76", "#dc5d67", "#e77156", "#dc7a42",
          "#ce842f", "#be8b21")  # fmt: skip
TOP1 = "top-1 on held-out images [%]"
VALIDATION = "top-1 on validation images [%]"
COSTS = {  # of a model -> its name and its axis
    "size_mib": ("File size", "file size [MiB], logarithmic"),
    "macs_million": ("MACs", "multiply-accumulates for one image [million], logarithmic"),
    "latency_ms": ("Latency", "one image in its fastest engine here [ms], logarithmic"),
    "total": ("Cost to make", "cost to make, with all it builds on [10¹² MACs], logarithmic"),
}
OVERVIEW = "accuracy_size"  # the picture that the README shows
MOST_NAMES = 7  # of models on the front, written beside their points
PNG_WIDTH, TITLE_LETTERS = 640, 84
FADED = 0.07
PLOT, NAME = (480, 320), (5.6, 13)  # px: a scatter in the page; a letter of a name, and a line of it
BESIDE = (("left", 7, -8), ("right", -7, -8), ("left", 7, 14), ("right", -7, 14))  # align, dx, dy of a point's name
LAST_COMMON, NOT_A_LETTER = 0x24F, chr(0x10FFFD)  # the end of Latin; a place that no font fills
FIT = {"type": "fit-x", "contains": "padding"}  # of charts whose height follows from their lines


def front(rows: pd.DataFrame, cost: str, chosen: str | None = None) -> Spec:
    """Accuracy against one of COSTS with the Pareto front: no model is both cheaper and more accurate.

    The front's names stand beside their points, and first of all that of the chosen model, which is marked: it was
    chosen on other images and may lie below.
    """
    rows = rows[rows[cost] > 0]
    best = tables.pareto(rows, cost)["model"]
    named = rows["model"].isin([*best[-MOST_NAMES:], tables.BASELINE]).astype(int) + 2 * (rows["model"] == chosen)
    spec = scatter(rows.assign(front=rows["model"].isin(best), named=named).sort_values(cost), cost)
    marked, *others = spec["params"]
    return {**spec, "params": [{**marked, "value": chosen or ""}, *others]}


def scatter(rows: pd.DataFrame, x: str, *, y: str = "top1_pct", limit: float | None = None) -> Spec:
    """Accuracy with its interval against one of COSTS, a logarithmic axis; upwards and leftwards is better.

    A click on the legend shows one family; the page sets `marked`, a model's id, and `hidden`, a list of them. Rows
    with `front` true are joined by a line, those with `named` above 0 have their name beside them where it covers no
    other, the highest first; those without the cost are left out. `limit` is the lowest accuracy that is allowed [%],
    as a line.
    """
    label = COSTS[x][1]
    rows = _beside(rows[rows[x] > 0], x, y, over=60 if limit is None else 0)
    tips = {"model": "model", "family": "family", f"{y}_text": "top-1 % (95 %)", x: label.partition(",")[0]}
    seen = {"condition": {"test": "datum.model === marked || width > 420", "value": 1}, "value": 0}
    shown = [
        {"test": "datum.model === marked", "value": 1},
        {"test": "indexof(hidden, datum.model) >= 0", "value": FADED},
        {"param": "family", "value": 0.85},
    ]
    colour = _colours(rows, "family")
    place = {"x": _value(x, label, log=True), "y": _value(y, VALIDATION if y.startswith("v") else TOP1)}
    opacity = {"opacity": {"condition": shown, "value": FADED}}
    click: Spec = {"name": "family", "select": {"type": "point", "fields": ["family"]}, "bind": "legend"}
    front: Spec = {"mark": {"type": "line", "interpolate": "step-after", "style": "front"}, "encoding": place,
                   "transform": [{"filter": "datum.front"}]}  # fmt: skip
    layers: list[Spec] = [
        *([front] if rows["front"].any() else []),
        *_interval(rows, y, "y", {**place, "color": colour, **opacity}, strokeWidth=1.2),
        {"mark": {"type": "point", "filled": True, "cursor": "pointer"}, "params": [click],
         "encoding": {**place, "color": colour, **opacity, "tooltip": _tips(tips),
                      "size": {"condition": {"test": "datum.model === marked", "value": 260}, "value": 75}}},
        *({"mark": {"type": "text", "align": align, "dx": dx, "dy": dy, "limit": 170, "style": "name"},
           "encoding": {**place, "text": {"field": "name"}, "opacity": seen},
           "transform": [{"filter": f"datum.beside === {number}"}]} for number, (align, dx, dy) in enumerate(BESIDE)),
        {"mark": {"type": "text", "dy": -12, "limit": 170, "style": "name"},
         "encoding": {**place, "text": {"field": "name"}},
         "transform": [{"filter": "datum.beside < 0 && datum.model === marked"}]},
        *([] if limit is None else _levels({"lowest allowed": limit}, "y", beside=True)),
    ]  # fmt: skip
    spec = _spec(_said(rows, y), ("model", "name", "family", "front", "beside", x, y), layers)
    return {**spec, "height": 380, "params": [{"name": "marked", "value": ""}, {"name": "hidden", "value": []}]}


def dots(
    rows: pd.DataFrame, column: str, label: str, *, series: str = "family", levels: Mapping[str, float] | None = None,
    null: str = "", low: float | None = None,
) -> Spec:  # fmt: skip
    """A line per `name`: values of a column with intervals where there are any, one per series beside each other.

    Colours tell apart what the column `series` holds. The axis starts at `low`, if it must hold more than the values.
    `levels` to compare with, by name, are dashed lines; `null` is a column, too: the value without any effect, as a
    short stroke.
    """
    names = list(dict.fromkeys(rows["name"]))
    colour, several = _colours(rows, series), rows.groupby("name").size().max() > 1
    # Vega-Lite has no offset for a single series: it would move the dots off their names.
    beside = {"yOffset": {"field": series, "sort": None}} if several else {}
    line = {"y": {"field": "name", "type": "nominal", "sort": names, "title": None}, **beside}
    place = {"x": _value(column, label, low=low), **line, "color": colour}
    tips = {"name": "name", series: series, f"{column}_text": label}
    none = {"x": {"field": null, "type": "quantitative"}, **line}
    layers: list[Spec] = [
        *_interval(rows, column, "x", place, strokeWidth=2),
        {"mark": {"type": "point", "filled": True, "size": 60},
         "encoding": {**place, "shape": _shapes(rows, series), "tooltip": _tips(tips)}},
        *([{"mark": {"type": "tick", "style": "null"}, "encoding": none}] if null else []),
        *_levels(levels or {}, "x"),
    ]  # fmt: skip
    spec = _spec(_said(rows, column), ("name", series, column, null), layers)
    return {**spec, "height": {"step": 13 if several else 22}, "autosize": FIT}


def lines(
    rows: pd.DataFrame, x: str, y: str, labels: tuple[str, str], *, series: str, dash: str = "",
    levels: Mapping[str, float] | None = None, log: bool = False, shades: bool = False,
) -> Spec:  # fmt: skip
    """Values y against x, a number or, where x holds words, a place: a line per series, with intervals.

    Colours tell apart what the column `series` holds, of one scale in its order with `shades`; dashes, what `dash`
    holds. `labels` are those of both axes, of which y's may be `log`; `levels`, by name, are dashed lines.
    """
    words = not rows[x].map(lambda value: isinstance(value, int | float)).all()
    across = _value(x, labels[0])
    if not words and (rows[x] % 1 == 0).all():
        across["axis"] |= {"tickMinStep": 1, "format": "d"}
    if words:
        across = {"field": x, "type": "ordinal", "sort": None, "title": labels[0], "axis": {"labelAngle": 0}}
    colour = _colours(rows, series, shades=shades)
    place = {"x": across, "y": _value(y, labels[1], log=log), "color": colour}
    if words:
        place["xOffset"] = {"field": series, "sort": None}
    line = {**place, "strokeDash": {"field": dash, "type": "nominal", "sort": None, "title": None}} if dash else place
    tips = {series: series, dash: dash, x: labels[0], f"{y}_text": labels[1]}
    layers: list[Spec] = [
        *_interval(rows, y, "y", place),
        *([] if words else [{"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": line}]),
        {"mark": {"type": "point", "filled": True, "size": 50},
         "encoding": {**place, "shape": _shapes(rows, series), "tooltip": _tips(tips)}},
        *_levels(levels or {}, "y"),
    ]  # fmt: skip
    return {**_spec(_said(rows, y), (series, dash, x, y), layers), "height": 300}


def histogram(rows: pd.DataFrame, title: str, *, family: str) -> Spec:
    """Counts by bin, from the columns `low`, `high` and `count`."""
    bar = {"mark": {"type": "bar", "color": COLOURS[family], "binSpacing": 0}, "encoding": {
        "x": {"field": "low", "bin": {"binned": True}, "title": None, "axis": {"tickCount": 3, "format": "~g"}},
        "x2": {"field": "high"}, "y": {"field": "count", "type": "quantitative", "axis": None}}}  # fmt: skip
    spec = _spec(rows, ("low", "high", "count"), [bar])
    return {**spec, "height": 70, "title": {"text": title, "fontSize": 11, "fontWeight": "normal", "anchor": "start"}}


def strip(rows: pd.DataFrame, *, side: int = 84) -> Spec:
    """A grid of pictures, `side` px high: columns `name` (the line), `image` (the column), `url`, `note` (below it)."""
    names, size = list(dict.fromkeys(rows["name"])), {"expr": f"min({side}, width / {rows['image'].nunique()} - 4)"}
    place = {
        "x": {"field": "image", "type": "nominal", "axis": None, "scale": {"type": "band", "paddingInner": 0.06}},
        "y": {"field": "name", "type": "nominal", "sort": names, "title": None,
              "scale": {"type": "band"}, "axis": {"domain": False, "ticks": False, "labelLimit": 130}},
    }  # fmt: skip
    below = {"type": "text", "fontSize": 9, "baseline": "bottom", "yOffset": side / 2 + 8}
    layers: list[Spec] = [
        {"mark": {"type": "image", "width": size, "height": size, "yOffset": -6, "smooth": False, "aria": False},
         "encoding": {**place, "url": {"field": "url"}, "tooltip": _tips({"name": "model", "note": "SSIM"})}},
        {"mark": below, "encoding": {**place, "text": {"field": "note"}}},
    ]  # fmt: skip
    spec = _spec(rows, ("name", "image", "url", "note"), layers)
    return {**spec, "height": {"step": side + 16}, "view": {"stroke": None}, "autosize": FIT}


def config(theme: Mapping[str, str]) -> Spec:
    """Vega's configuration for a theme, LIGHT or DARK."""
    words = {"labelColor": theme["text"], "titleColor": theme["text"], "labelFontSize": 12, "titleFontSize": 12}
    thin = {"domainColor": theme["line"], "tickColor": theme["line"], "gridColor": theme["grid"]}
    return {
        "background": None,
        "view": {"stroke": None},
        "axis": {**words, **thin, "titleFontWeight": "normal", "labelLimit": 220},
        "legend": {**words, "orient": "top", "direction": "horizontal", "title": None, "symbolOpacity": 1,
                   "symbolLimit": 16, "labelLimit": 240},
        "title": {"color": theme["text"]},
        "text": {"color": theme["text"], "fill": theme["text"]},
        "style": {
            "front": {"color": theme["muted"], "stroke": theme["muted"], "strokeDash": [2, 3], "strokeWidth": 1.3},
            "level": {"color": theme["muted"], "stroke": theme["muted"], "strokeDash": [6, 4]},
            "level-name": {"fill": theme["muted"], "fontSize": 11},
            "null": {"color": theme["text"], "thickness": 2, "size": 14},
            "name": {"fill": theme["text"], "fontSize": 11},
        },
    }  # fmt: skip


@functools.cache
def vega_script() -> str:
    """Vega, Vega-Lite and vega-embed as one script that sets `vegaEmbed` and needs no network."""
    import vl_convert

    bundle = _kept(lambda: vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode(), "vega.js").decode()
    return f"(() => {{{bundle}}})();"


def png(picture: Picture, missing: str = "") -> bytes:
    """A picture as PNG on white, its title above; the same bytes for the same picture and fonts.

    One that was drawn before is found again in scratch, since drawing takes a third of a second. With `missing`, what
    `unreadable` says of the words in pictures: once fonts have these letters, all are drawn anew.
    """
    return _kept(functools.partial(_drawn, picture), picture, missing)


def _kept(make: Callable[[], bytes], *parts: object) -> bytes:
    versions = (version(name) for name in ("vl-convert-python", "pillow"))
    return files.kept_bytes(runtime.scratch("report", *parts, *versions) / "made.npz", make)


def _drawn(picture: Picture) -> bytes:
    import vl_convert

    wide = (PNG_WIDTH - 30 * (picture.across - 1)) // picture.across
    panels = [{**panel, "width": wide} for panel in picture.panels]
    whole = panels[0]
    if len(panels) > 1:
        apart = {"scale": {"color": "independent", "shape": "independent"}}
        whole = {"concat": panels, "columns": picture.across, "resolve": apart}
    wrapped = textwrap.wrap(picture.title.replace("n = ", "n\u00a0=\u00a0"), TITLE_LETTERS)
    title = {"text": wrapped, "anchor": "start", "fontSize": 14, "offset": 12}
    colours = [layer.get("encoding", {}).get("color", {}) for panel in panels for layer in panel["layer"]]
    letters = max((len(name) for colour in colours for name in colour.get("scale", {}).get("domain", ())), default=0)
    theme = config(LIGHT)
    legend = {**theme["legend"], "columns": max(1, (wide - 40) // (35 + 6 * letters))}  # as page.js wraps it
    whole = {**whole, "title": title, "config": {**theme, "legend": legend, "background": LIGHT["card"]}}
    drawn, small = Image.open(io.BytesIO(vl_convert.vegalite_to_png(whole, scale=2))), io.BytesIO()
    fewer = drawn.convert("RGB").quantize(128, Image.Quantize.FASTOCTREE)  # a tenth of the bytes; git keeps them all
    fewer.save(small, "PNG", optimize=True)
    return small.getvalue()


def unreadable(words: str) -> str:
    """Letters that no font of this machine has, so that `png` draws boxes in their place."""
    import vl_convert

    def drawn(letter: str) -> bytes:
        letters = f'<text y="30" font-size="20" font-family="sans-serif">{letter}</text>'
        return vl_convert.svg_to_png(f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{letters}</svg>')

    rare = sorted({letter for letter in words if ord(letter) > LAST_COMMON and letter.isprintable()})
    return "".join(letter for letter in rare if drawn(letter) == drawn(NOT_A_LETTER))


def _beside(rows: pd.DataFrame, x: str, y: str, *, over: int) -> pd.DataFrame:
    """Rows with `beside`: which place of BESIDE a named point's name has, the highest point first; -1: none is free.

    Names may end `over` px to the right of the plot.
    """
    if rows.empty:
        return rows.assign(beside=-1)
    across, up = rows[x].map(math.log), rows[y]
    lowest, highest = rows.get(f"{y}_low", up).min(), rows.get(f"{y}_high", up).max()
    right = (across - across.min()) / ((across.max() - across.min()) or 1) * PLOT[0]
    down = (highest - up) / ((highest - lowest) or 1) * PLOT[1]
    points = list(zip(right, down, strict=True))
    taken: list[tuple[float, float, float]] = []  # left, right and middle of a name
    places = dict.fromkeys(rows.index, -1)
    named = rows[rows["named"] > 0].sort_values(["named", y, x], ascending=[False, False, True], kind="stable")
    for index, name in named["name"].items():
        found = []
        for number, (align, dx, dy) in enumerate(BESIDE):
            start = right[index] + dx - (NAME[0] * len(name) if align == "right" else 0)
            box = (start, start + NAME[0] * len(name), down[index] + dy)
            inside = box[0] >= 0 and box[1] <= PLOT[0] + over
            free = all(box[0] > b or a > box[1] or abs(middle - box[2]) >= NAME[1] for a, b, middle in taken)
            covered = sum(box[0] <= a <= box[1] and abs(b - box[2]) < NAME[1] / 2 + 4 for a, b in points)
            found += [(covered, number, box)] if inside and free else []
        if found:
            _, places[index], box = min(found)
            taken.append(box)
    return rows.assign(beside=rows.index.map(places))


def _spec(rows: pd.DataFrame, columns: Sequence[str], layers: list[Spec]) -> Spec:
    """A chart as wide as its container, with the columns that it needs and no other."""
    wanted = dict.fromkeys(f"{name}{end}" for name in columns for end in ("", "_low", "_high", "_text"))
    values = rows[[name for name in wanted if name in rows]].to_json(orient="records", double_precision=6)
    return {"data": {"values": json.loads(values)}, "width": "container", "layer": layers}


def _said(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows with the value and its interval as words, for who points at it."""
    if f"{column}_low" in rows:
        return rows.assign(**{f"{column}_text": [text.interval(row, column, 2) for _, row in rows.iterrows()]})
    return rows.assign(**{f"{column}_text": [f"{value:.4g}" for value in rows[column].astype(float)]})


def _value(column: str, label: str, *, log: bool = False, low: float | None = None) -> Spec:
    # A share has no rounded ends: they would lie above 100 %.
    linear: Spec = {"zero": False, "padding": 10, **({"nice": False} if label.endswith("[%]") else {})}
    scale: Spec = {"type": "log", "nice": False, "padding": 18} if log else linear
    if low is not None:
        scale = {"domainMin": low}
    axis = {"format": "~g", "tickCount": 6} if log else {"tickCount": 6}
    return {"field": column, "type": "quantitative", "title": label, "scale": scale, "axis": axis}


def _colours(rows: pd.DataFrame, series: str, *, shades: bool = False) -> Spec:
    names = [str(name) for name in dict.fromkeys(rows[series])]
    last = max(1, len(names) - 1)
    spread = [SHADES[round(i * (len(SHADES) - 1) / last)] for i in range(len(names))]
    own = [COLOURS.get(name, OLIVE if series == "family" else CYCLE[i % len(CYCLE)]) for i, name in enumerate(names)]
    return _told_apart(series, names, spread if shades else own)


def _shapes(rows: pd.DataFrame, series: str) -> Spec:
    shapes = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")
    names = [str(name) for name in dict.fromkeys(rows[series])]
    return _told_apart(series, names, [shapes[i % len(shapes)] for i in range(len(names))])


def _told_apart(series: str, names: list[str], by: list[str]) -> Spec:
    legend = {} if len(names) > 1 else {"legend": None}
    return {"field": series, "type": "nominal", "title": None, "scale": {"domain": names, "range": by}, **legend}


def _interval(rows: pd.DataFrame, column: str, axis: str, place: Spec, **mark: float) -> list[Spec]:
    """A rule along each interval; nothing where a column has none."""
    if f"{column}_low" not in rows:
        return []
    span = {axis: {"field": f"{column}_low", "type": "quantitative"}, f"{axis}2": {"field": f"{column}_high"}}
    return [{"mark": {"type": "rule", **mark}, "encoding": {**place, **span}}]


def _levels(levels: Mapping[str, float], axis: str, *, beside: bool = False) -> list[Spec]:
    """A dashed line with its name for each; nothing without any."""
    if not levels:
        return []
    values = [{"level": value, "label": label} for label, value in levels.items()]
    at = {axis: {"field": "level", "type": "quantitative"}}
    words: Spec = {"type": "text", "style": "level-name", "align": "left", "dx": 4, "baseline": "bottom", "dy": -3}
    words |= {"x": 0} if axis == "y" else {"y": 0}
    if beside:  # the plot, where points cover no word
        words |= {"x": "width", "lineBreak": " ", "baseline": "middle", "dy": -6}
    rule = {"mark": {"type": "rule", "style": "level"}, "encoding": at}
    named = {"mark": words, "encoding": {**at, "text": {"field": "label"}}}
    return [{"data": {"values": values}, "layer": [rule, named]}]


def _tips(fields: Mapping[str, str]) -> list[Spec]:
    return [{"field": field, "title": title} for field, title in fields.items() if field]
