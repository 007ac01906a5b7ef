"""What the report stage writes: report.html, the README's block of results, and plots/ for DVC.

report.html is one file that needs no network and no other file, for phones and desktops, light and dark. Its first
screen holds every model; behind it a section per question, each a file of sections/, drawn when the tables hold
something for it. Charts are Vega-Lite, drawn in the browser by the library that is written into the page once.
"""

from __future__ import annotations

import logging
import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from deepcompress import files
from deepcompress.errors import UserError
from deepcompress.measure.verdict import Estimate
from deepcompress.report import charts, queries, tables, text
from deepcompress.report.tables import BASELINE, TEACHERS, Tables
from deepcompress.report.text import Section

ASSETS = Path(__file__).with_name("assets")
BAD_TABLE_ERRORS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError)  # of odd cells and notes
LONGEST_REASON = 200  # characters
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"  # in the README
MOST_ROWS = 6  # of the README's table
MOST_COLUMNS = 120  # of a line of prose
CHOSEN = (
    "Rows are chosen on validation images, numbers are of held-out ones; a control was trained as long without the "
    "technique."
)
LIMITED = "Ship the baseline: no smaller model keeps to all limits of deploy."
AGAIN = "A model that was trained again has the control of the one that it builds on, with a training fewer."
INTERVAL = ("top1_pct", "top1_pct_low", "top1_pct_high")
POINTS = {"difference_points": "value", "difference_points_low": "low", "difference_points_high": "high"}
LIBRARY = "vega.js"  # what .dvc/plots/page.html loads
log = logging.getLogger(__name__)


def sections(data: Tables) -> dict[str, Section]:
    """The sections that have something to say, by key, in the order of the page.

    Raises:
        UserError: If a section cannot be made of the tables: one of them is damaged. If two have a picture of one name.
    """
    built: dict[str, Section] = {}
    for name, build in text.builders().items():
        try:
            if (section := build(data)) is not None:
                built[name] = section
        except BAD_TABLE_ERRORS as error:
            log.debug("section %s", name, exc_info=True)
            reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
            refused = f"the report's section {name} does not fit these tables; is one damaged? ({reason})"
            raise UserError(refused) from error
    owners: dict[str, str] = {}
    for name, section in built.items():
        for picture in section.pictures:
            if (first := owners.setdefault(picture.name, name)) != name:
                raise UserError(f"the report's sections {first} and {name} both have a picture {picture.name}")
    return built


def render(parts: Mapping[str, Section], data: Tables) -> str:
    """The whole page as HTML, from what `sections` found."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    environment.filters.update(kind=lambda block: type(block).__name__.lower(), breakable=_breakable,
                               number=text.number, signed=text.signed, mebibytes=text.mebibytes)  # fmt: skip
    source = data.params.get("data", {}).get("source", "unknown data")
    classes = text.count(data.per_class["class"].nunique(), "class")
    images = text.count(int(data.baseline["n"]), "held-out image")
    return environment.get_template("page.html.j2").render(
        parts=parts,
        anchors={*parts, *(key for part in parts.values() for key in part.keys)},
        first=_first_screen(data),
        baseline=BASELINE,
        subtitle=f"{text.count(len(data.models), 'model')}, measured on {images} of {classes} ({source}).",
        themes={"light": charts.LIGHT, "dark": charts.DARK},
        configs={"light": charts.config(charts.LIGHT), "dark": charts.config(charts.DARK)},
        **{name: Markup((ASSETS / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")},
        library=Markup(charts.vega_script()),
    )


def _breakable(cell: str) -> Markup:
    """A model's id that may wrap where a reader would break it."""
    return Markup(re.sub(r"([/_-])(?=\w)", r"\1<wbr>", str(escape(cell))))


# The first screen: one sentence, one chart of every model, one table that sorts and filters.


def _first_screen(data: Tables) -> dict[str, Any]:
    """What the template draws of it.

    Returns:
        `sentence`: what to take away; `evidence`: how sure that is, empty where the sentence says so; `choices`: column
        of a cost -> its name and its chart, without costs that were not measured; `rows`: a row per model for the
        table, from the smallest file to the largest, with `words` to be found by, its difference's `points` and `ends`;
        `families` of these models, in order; `recommended`: id of the recommended model, empty without one; `limit`:
        points that a compressed model may lose.
    """
    rows = queries.usable(data)
    told = rows[["model", "family", "method", "format", "teacher"]]
    words = [" ".join(cells.dropna().astype(str)).lower() for _, cells in told.iterrows()]
    found = [of if isinstance(of, Estimate) else Estimate(math.nan) for of in rows["difference"]]
    ends = ["" if math.isnan(of.low) else text.difference(of).partition(" (")[2].rstrip(")") for of in found]
    listed = rows.assign(words=words, points=[of.value for of in found], ends=ends)
    recommended = str((data.notes.get("recommendation") or {}).get("model", ""))
    sentence, evidence = _first_sentence(data, recommended)
    measured = {cost: name for cost, (name, _) in charts.COSTS.items() if cost in rows and rows[cost].count() > 1}
    return {
        "sentence": sentence,
        "evidence": evidence,
        "choices": {cost: (name, charts.front(rows, cost, recommended)) for cost, name in measured.items()},
        "rows": [row for _, row in listed.sort_values(["size_mib", "model"]).iterrows()],
        "families": list(dict.fromkeys(rows["family"])),
        "recommended": recommended,
        "limit": data.max_drop_points,
    }


def _first_sentence(data: Tables, chosen: str) -> tuple[str, str]:
    rows = data.models[data.models["model"] == chosen]
    if rows.empty or chosen == BASELINE:
        if len(data.candidates) == 1:
            return f"{text.of_all(data)}.", ""
        found = text.of_models(data.candidates, data, name="model")
        limited = chosen == BASELINE and tables.selected(data, data.candidates) is not None
        return f"{LIMITED} {found}" if limited else found, ""
    row = rows.iloc[0]
    size = f"{text.mebibytes(row['size_mib'])} MiB, {text.smaller(row)} than the baseline"
    right = f"{text.number(row['top1_pct'])} % right on {int(row['n']):,} held-out images"
    return f"Ship {chosen}: {size}, {right}.", f"{text.change(row)}."


# The README's block: one measured sentence, the picture, a short table; never typed by hand.


def updated_readme(path: Path, data: Tables) -> str:
    """The text of the README at `path` with today's results.

    Raises:
        UserError: If there is no such file, or not each marker once, in order.
    """
    files.require_file(path)
    try:
        document = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8 ({error})") from None
    begin, end = document.find(BEGIN), document.find(END)
    if document.count(BEGIN) != 1 or document.count(END) != 1 or end < begin:
        raise UserError(f"{path}: needs the lines {BEGIN} and {END}, once each and in this order")
    return f"{document[: begin + len(BEGIN)]}\n{readme_block(data)}{document[end:]}"


def readme_block(data: Tables) -> str:
    """What stands between the markers, from tables that are in git alone."""
    base, source = data.baseline, data.params.get("data", {}).get("source", "unknown")
    classes = text.count(data.per_class["class"].nunique(), "class")
    sentence = f"The baseline reaches {text.accuracy(base)} % top-1 in {text.mebibytes(base['size_mib'])} MiB."
    shown, note = _readme_rows(data), ""
    table = _readme_table(shown)
    if len(data.candidates) > 1:
        sentence += f" {text.of_models(data.candidates, data, name='model')}"
        seeds = len(data.replicates.seeds)
        trained = f"Differences between trainings are means of {seeds} seeds." if data.replicates else text.ONE_TRAINING
        again = f"{AGAIN} " if (shown["to_control"].notna() & (shown["more_trainings"] > 0)).any() else ""
        note = f"{CHOSEN} {again}{trained}{text.ns([table])}"
    paragraph = f"**{sentence}** ({classes} of `{source}`, {int(base['n']):,} held-out images)"
    picture = f"![{text.of_all(data)}](plots/figures/{charts.OVERVIEW}.png)"
    parts = (_wrapped(paragraph), picture, table, _wrapped(note))
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, MOST_COLUMNS, break_long_words=False, break_on_hyphens=False)


def _readme_rows(data: Tables) -> pd.DataFrame:
    """The baseline and smaller models that none beats on validation images: the sentence's, the most accurate ones."""
    front = data.choice[data.choice["on_front"].astype(bool)].sort_values("validation_top1_pct", ascending=False)
    models = data.candidates.set_index("model", drop=False)
    best = models.loc[[model for model in front["model"] if model in models.index]]
    best = best[best["times_smaller"] > 1]
    if (named := tables.selected(data, data.candidates)) is not None:
        best = pd.concat([models.loc[[named["model"]]], best[best["model"] != named["model"]]])
    shown = best.head(MOST_ROWS - 1).sort_values("top1_pct", ascending=False)
    return pd.concat([models.loc[[BASELINE]], shown])


def _readme_table(rows: pd.DataFrame) -> str:
    lines = [
        "| Model | Top-1 % (95 % interval) | Points to baseline | Points to control | MiB | Smaller |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for _, row in rows.iterrows():
        size, times = text.mebibytes(row["size_mib"]), text.times(row["times_smaller"])
        points = f"{text.difference(row['difference'])} | {text.difference(row['to_control'])}"
        lines.append(f"| `{row['model']}` | {text.accuracy(row)} | {points} | {size} | {times} |")
    return "\n".join(lines)


# plots/: the tables behind DVC's own plots, the library that draws them offline, each figure of the report as a file.


def write_plots(folder: Path, data: Tables, sections: Iterable[Section]) -> None:
    """Write a table per plot of dvc.yaml, vega.js and figures/<name>.png; remove the figures of a former run."""
    for name, table in plot_tables(data).items():
        files.write_csv(folder / f"{name}.csv", table)
    files.write_text(folder / LIBRARY, charts.vega_script())
    figures = folder / "figures"
    pictures = {picture.name: picture for section in sections for picture in section.pictures}
    for old in figures.glob("*.png"):
        if old.stem not in pictures:
            old.unlink()
    if missing := charts.unreadable("".join(data.per_class["class"].unique())):
        log.warning("no font of this machine has %s: boxes in %s, letters in the page", missing[:20], figures)
    for name, picture in pictures.items():
        files.write_bytes(figures / f"{name}.png", charts.png(picture, missing))


def plot_tables(data: Tables) -> dict[str, pd.DataFrame]:
    """By name of the plot: what DVC draws, coloured by the column `series`."""
    models = data.models.assign(series=data.models["family"], size_mib=data.models["size_mib"].round(4))
    for name, end in POINTS.items():
        models[name] = [getattr(of, end, math.nan) for of in models["difference"]]
    columns = {
        "models": ["model", "size_mib", *INTERVAL, *POINTS],
        "history": ["epoch", "validation_top1_pct", "validation_loss", "train_loss", "learning_rate"],
        "pruning": ["sparsity_pct", *INTERVAL],
        "bits": ["bits", "validation_top1_pct", "output_error_relative"],
        "students": ["student", *INTERVAL],
    }
    curves = [queries.curve(data, "pruned", method).assign(series=method) for method in queries.METHODS]
    pruned = pd.concat(curves).assign(sparsity_pct=lambda rows: 100 * rows["sparsity"])
    rounded = data.further("bits/points", "granularity", *columns["bits"])
    teachers, learners = data.of(TEACHERS).set_index("model")["name"], queries.students(data)
    rows = {
        "models": models,
        "history": data.history.assign(series=data.history["model"]),
        "pruning": pruned.sort_values(["series", "sparsity_pct"]),
        "bits": rounded.assign(series=rounded["granularity"]),
        "students": learners.assign(series=learners["teacher"].map(teachers).fillna("none"), student=learners["name"]),
    }
    return {name: table[["series", *columns[name]]] for name, table in rows.items()}
