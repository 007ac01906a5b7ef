"""report.html: one file that needs no network and no other file, for phones and desktops, light and dark.

The first screen holds every model; behind it a section per question, each a file of sections/, drawn when the tables
hold something for it. Charts are Vega-Lite, drawn in the browser by the library that is written into the page once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from deepcompress import registry
from deepcompress.errors import UserError
from deepcompress.report import charts, first_screen, text
from deepcompress.report.blocks import Section
from deepcompress.report.tables import Tables

ROOM = "report.sections"
ASSETS = Path(__file__).with_name("assets")
BAD_TABLE_ERRORS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError)  # of odd cells and notes
LONGEST_REASON = 200  # characters
log = logging.getLogger(__name__)


def sections(data: Tables) -> dict[str, Section]:
    """The sections that have something to say, by key, in the order of the page.

    Raises:
        UserError: If a section cannot be made of the tables: one of them is damaged.
    """
    built = {name: _built(name, build, data) for name, build in builders().items()}
    return {name: section for name, section in built.items() if section is not None}


def builders() -> dict[str, Callable[[Tables], Section | None]]:
    """What makes each section, by its anchor, in the order of the page.

    Every file of sections/ lists its own in SECTIONS: anchor -> (order, function).
    """
    listed = {key: entry for file in registry.names(ROOM) for key, entry in registry.find(ROOM, file).SECTIONS.items()}
    in_order = sorted(listed.items(), key=lambda item: (item[1][0], item[0]))
    return {key: build for key, (_, build) in in_order}


def _built(name: str, build: Callable[[Tables], Section | None], data: Tables) -> Section | None:
    try:
        return build(data)
    except BAD_TABLE_ERRORS as error:
        log.debug("section %s", name, exc_info=True)
        reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
        raise UserError(f"the report's section {name} does not fit these tables; is one damaged? ({reason})") from error


def render(parts: Mapping[str, Section], data: Tables) -> str:
    """The whole page as HTML, from what `sections` found."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(kind=lambda block: type(block).__name__.lower(), breakable=_breakable)
    return environment.get_template("page.html.j2").render(
        parts=parts,
        anchors={*parts, *(key for part in parts.values() for key in part.keys)},
        first=first_screen.build(data),
        subtitle=_subtitle(data),
        themes={"light": charts.LIGHT, "dark": charts.DARK},
        configs={"light": charts.config(charts.LIGHT), "dark": charts.config(charts.DARK)},
        **{name: Markup((ASSETS / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")},
        library=Markup(charts.vega_script()),
    )


def _subtitle(data: Tables) -> str:
    source = data.params.get("data", {}).get("source", "unknown data")
    classes = text.count(data.per_class["class"].nunique(), "class")
    images = text.count(int(data.baseline["n"]), "held-out image")
    return f"{text.count(len(data.models), 'model')}, measured on {images} of {classes} ({source})."


def _breakable(cell: str) -> Markup:
    """A model's id that may wrap where a reader would break it."""
    return Markup(re.sub(r"([/_-])(?=\w)", r"\1<wbr>", str(escape(cell))))
