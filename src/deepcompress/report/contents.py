"""Which sections the page has, in its order; `plan` reads it, too, so that a wrong file stops the run at its start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deepcompress import params
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables
    from deepcompress.report.text import Section

ROOM = "report.sections"


def builders() -> dict[str, Callable[[Tables], Section | None]]:
    """What makes each section, by its anchor, in the order of the page.

    Every file of sections/ lists its own in SECTIONS: anchor -> (order, function). A UserError names a file that is not
    as it must be, or two that have the same anchor.
    """
    files: dict[str, str] = {}  # anchor -> the file that lists it
    listed = {}
    for file in params.plugins(ROOM):
        for anchor, entry in params.plugin(ROOM, file).SECTIONS.items():
            if (first := files.setdefault(anchor, file)) != file:
                raise UserError(
                    f"src/deepcompress/report/sections/{file}.py: SECTIONS: {anchor!r} is a section of {first}.py "
                    "already; give yours another anchor"
                )
            listed[anchor] = entry
    in_order = sorted(listed.items(), key=lambda item: (item[1][0], item[0]))
    return {anchor: build for anchor, (_, build) in in_order}
