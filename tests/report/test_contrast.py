"""Colours of figures stand out from paper and from the dark page, and families stay apart."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from deepcompress.report import contrast, page, pruning_figures, quantization_figures, speed, style
from deepcompress.report.tables import Tables

FAMILIES = {**style.COLOURS, "other": style.OTHER_COLOUR}
ONE_SCALE = [colour for _, colour, _ in quantization_figures.SCALES.values()]
ENGINES = [colour for _, colour in speed.MARKS.values()]


def themes() -> list[dict[str, str]]:
    """The page's colours by name, light and dark."""
    text = Path(page.__file__).with_name(page.TEMPLATE).read_text(encoding="utf-8")
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL)]


def shown(colour: str, theme: dict[str, str]) -> str:
    """What the page makes of a drawing's colour."""
    themed = page.THEME.get(colour, colour)
    return theme["text"] if themed == "currentColor" else theme[themed[6:-1]] if themed.startswith("var(") else themed


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast.ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast.ratio("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # the grey that just passes AA
    assert contrast.ratio("#abcdef", "#abcdef") == 1


def test_the_grounds_are_the_page_s() -> None:
    assert tuple(theme["card"] for theme in themes()) == contrast.GROUNDS


@pytest.mark.parametrize("colour", sorted({*FAMILIES.values(), *ONE_SCALE, *ENGINES, style.MUTED}))
def test_every_colour_stands_out_from_paper_and_in_both_themes(colour: str) -> None:
    assert contrast.ratio(colour, "#ffffff") >= contrast.ENOUGH
    for theme in themes():
        assert contrast.ratio(shown(colour, theme), theme["card"]) >= contrast.ENOUGH


def test_lines_of_layers_stand_out_and_differ(data: Tables) -> None:
    rows = data.extra["sensitivity/unstructured"]
    many = rows[rows["layer"] == "features.0"]
    layers = [many.assign(layer=f"features.{i}") for i in range(11)]
    figure = pruning_figures.sensitivity_curves(pd.concat(layers), "The finding")
    used = [line.get_color() for line in figure.axes[0].lines if line.get_marker() not in {"None", "_", "|"}]
    assert len(set(used)) == 11
    assert all(contrast.ratio(colour, ground) >= contrast.ENOUGH for colour in used for ground in contrast.GROUNDS)


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#6a00a8", "#fb9f3a"])
def test_any_colour_becomes_legible(colour: str) -> None:
    found = contrast.legible(colour)
    assert all(contrast.ratio(found, ground) >= contrast.ENOUGH for ground in contrast.GROUNDS)
    assert contrast.legible(found) == found
