"""The palette stands out on paper and in both themes; names find room; a layout is final."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.text import Text

from deepcompress.report import figures, page, style
from deepcompress.report.tables import Tables

PAPER, MARKS, WORDS = "#ffffff", 3.0, 4.5  # contrasts that WCAG 2.2 asks for
LINES = [*style.COLOURS.values(), style.OTHER_COLOUR, style.MUTED, *style.SHADES]


def themes() -> list[dict[str, str]]:
    """The page's colours by name, light and dark."""
    text = Path(page.__file__).with_name(page.TEMPLATE).read_text(encoding="utf-8")
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL)]


def contrast(first: str, second: str) -> float:
    """1 (equal) to 21 (black on white); WCAG 2.2, "contrast ratio"."""
    part = np.array([colors.to_rgb(first), colors.to_rgb(second)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return float((high + 0.05) / (low + 0.05))


def shown(colour: str, theme: dict[str, str]) -> str:
    """What the page makes of a drawing's colour."""
    themed = page.THEME.get(colour, colour)
    return theme["text"] if themed == "currentColor" else theme[themed[6:-1]] if themed.startswith("var(") else themed


@pytest.mark.parametrize("colour", sorted(set(LINES)))
def test_every_colour_stands_out_from_paper_and_in_both_themes(colour: str) -> None:
    assert contrast("#767676", PAPER) == pytest.approx(4.54, abs=0.005)  # the grey that just passes for words
    assert contrast(colour, PAPER) >= MARKS
    for theme in themes():
        assert contrast(shown(colour, theme), theme["card"]) >= MARKS


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
def test_words_of_the_page_stand_out_from_their_ground(theme: dict[str, str]) -> None:
    for ground in ("card", "page"):
        assert all(contrast(theme[words], theme[ground]) >= WORDS for words in ("text", "muted", "accent"))


def test_lines_of_many_layers_differ() -> None:
    assert len(set(style.SHADES)) == len(style.SHADES) >= 11


def test_names_cover_neither_points_nor_each_other(data: Tables) -> None:
    figure = figures.accuracy_size(data.models, "")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    written = [text for text in axes.texts if isinstance(text, Text)]
    assert "baseline" in {text.get_text() for text in written}
    boxes = [text.get_window_extent() for text in written]
    points = axes.transData.transform(data.models[["size_mib", "top1_pct"]].to_numpy())
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert box.count_contains(points) == 0


def test_a_name_without_room_is_left_out() -> None:
    _, (axes,) = style.figure("")
    names = [f"a rather long name {i}" for i in range(40)]
    axes.plot([0.5] * 40, [0.5] * 40, "o")
    style.write_names(axes, names, [0.5] * 40, [0.5] * 40)
    assert 0 < len(axes.texts) < 20


def test_no_two_known_families_share_a_colour() -> None:
    assert len(set(style.COLOURS.values()) | {style.OTHER_COLOUR}) == len(style.COLOURS) + 1
    assert style.colour("unheard of") == style.OTHER_COLOUR


def test_variants_of_a_family_get_their_own_markers() -> None:
    assert style.markers(["ptq", "qat", "ptq"]) == {"ptq": "o", "qat": "s"}


def test_the_style_holds_inside_a_figure_only(data: Tables) -> None:
    before = dict(matplotlib.rcParams)
    figures.differences(data.of("pruned"), {}, "")
    assert dict(matplotlib.rcParams) == before


def test_a_figure_is_laid_out_once_as_it_would_be_on_writing(data: Tables) -> None:
    laid_out = []

    @style.styled
    def draw() -> Figure:
        figure, (axes,) = style.figure("A finding")
        axes.set(xlabel="label", ylabel="label")
        laid_out.append(axes.get_position().bounds)
        return figure

    frozen = draw()
    assert frozen.get_layout_engine() is None
    with style.context():
        fresh, (axes,) = style.figure("A finding")
        axes.set(xlabel="label", ylabel="label")
        fresh.draw_without_rendering()
    assert frozen.axes[0].get_position().bounds == axes.get_position().bounds != laid_out[0]
