"""report.html: one file that needs no network and no other file, for phones and desktops, light and dark.

Every file in sections/ adds its parts when the tables hold something for them. Figures are inlined as SVG whose ink
follows the page's colours, so that they are sharp and legible in both themes.
"""

from __future__ import annotations

import io
import itertools
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup, escape

from deepcompress import registry
from deepcompress.errors import UserError
from deepcompress.report import style, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

    from deepcompress.report.blocks import Block, Section
    from deepcompress.report.tables import Tables

ROOM = "report.sections"
TEMPLATE = "template.html.j2"
BAD_TABLE_ERRORS = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
)  # what odd cells and notes cause
LONGEST_REASON = 200  # characters
log = logging.getLogger(__name__)
# A drawing's exact colours -> the page's.
THEME = {
    style.INK: "currentColor",
    style.MUTED: "var(--muted)",
    style.GRID: "var(--grid)",
    style.CARD: "var(--card)",
    style.GREY: "var(--grey)",
    style.BLUE: "var(--blue)",
}


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
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(svg=svg, kind=_kind, breakable=_breakable)
    environment.filters["alt"] = lambda figure: " ".join(figure.get_suptitle().split())
    return environment.get_template(TEMPLATE).render(parts=parts, subtitle=_subtitle(data))


def svg(figure: Figure, name: str) -> Markup:
    """A figure as an SVG element that scales with the page and takes its colours from it.

    Args:
        figure: What to draw; its own background is left out.
        name: Unique on the page; every id of the drawing starts with it.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with style.context():
        figure.savefig(buffer, format="svg", metadata=nothing, facecolor="none")
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    number = itertools.count()  # pixels are named by what they show, so equal pictures have one name
    drawing = re.sub(r'(\bid="[^"]*-image\w+)"', lambda found: f'{found[1]}-{next(number)}"', drawing)
    for drawn, themed in THEME.items():
        drawing = drawing.replace(drawn, themed)
    return Markup(drawing.strip())


def _subtitle(data: Tables) -> str:
    source = data.params.get("data", {}).get("source", "unknown data")
    classes = text.count(data.per_class["class"].nunique(), "class")
    images = text.count(int(data.baseline["n"]), "held-out image")
    return f"{text.count(len(data.models), 'model')}, measured on {images} of {classes} ({source})."


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _breakable(cell: str) -> Markup:
    """A model's id that may wrap where a reader would break it."""
    return Markup(re.sub(r"([/_-])(?=\w)", r"\1<wbr>", str(escape(cell))))
