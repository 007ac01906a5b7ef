"""Charts: every name as it is written, every interval drawn, colours that stand out, equal bytes for equal numbers."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepcompress.report import charts, queries
from deepcompress.report.tables import Tables
from deepcompress.report.text import Picture

MARKS, WORDS = 3.0, 4.5  # contrasts that WCAG 2.2 asks for
THEMES = {"light": charts.LIGHT, "dark": charts.DARK}
ROWS = pd.DataFrame({"name": ["$1_$5", "$x_2$", "<b>&"], "family": ["pruned", "pruned", "odd"],
                     "top1_pct": [50.0, 60.0, 70.0], "top1_pct_low": [40.0, 50.0, 60.0],
                     "top1_pct_high": [60.0, 70.0, 80.0]})  # fmt: skip


def contrast(first: str, second: str) -> float:
    """1 (equal) to 21 (black on white); WCAG 2.2, "contrast ratio"."""
    part = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in (first, second)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return float((high + 0.05) / (low + 0.05))


@pytest.mark.parametrize("theme", THEMES)
def test_every_colour_stands_out_in_both_themes(theme: str) -> None:
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # the grey that just passes for words
    card, page = THEMES[theme]["card"], THEMES[theme]["page"]
    for colour in {*charts.COLOURS.values(), *charts.CYCLE, *charts.SHADES}:
        assert contrast(colour, card) >= MARKS, colour
    for words in ("text", "muted", "accent"):
        assert min(contrast(THEMES[theme][words], ground) for ground in (card, page)) >= WORDS


def test_names_are_drawn_as_they_are_written() -> None:
    chart = charts.dots(ROWS, "top1_pct", charts.TOP1)
    assert [row["name"] for row in chart["data"]["values"]] == list(ROWS["name"])
    picture = Picture("a", "Of $1_$5 <b>&", (chart,))
    first = charts.png(picture)
    assert first == charts._drawn(picture)
    assert not re.search(rb"Date|Software|tIME", first)


def test_a_legend_of_many_names_is_no_wider_than_its_panels() -> None:
    rows = pd.DataFrame([{"run": f"a_rather_long_name-{run}", "epoch": epoch, "loss": run * epoch}
                         for run in range(12) for epoch in (1, 2)])  # fmt: skip
    chart = charts.lines(rows, "epoch", "loss", ("epoch", "loss"), series="run")
    drawn = Image.open(io.BytesIO(charts._drawn(Picture("a", "Of many", (chart, chart), across=2))))
    assert drawn.width < 2 * 1.5 * charts.PNG_WIDTH  # two pixels a point


@pytest.mark.parametrize(("values", "whole"), [([1, 2, 3], True), ([0.25, 0.5, 1.0], False)])
def test_what_is_counted_has_ticks_at_whole_numbers(values: list[float], whole: bool) -> None:
    rows = pd.DataFrame({"x": values, "y": [0.1, 0.2, 0.3], "run": "a"})
    axis = charts.lines(rows, "x", "y", ("x", "y"), series="run")["layer"][0]["encoding"]["x"]["axis"]
    assert (axis.get("format") == "d" and axis["tickMinStep"] == 1) == whole


def test_no_axis_of_a_share_reaches_beyond_100_pct() -> None:
    for label, rounded in ((charts.TOP1, False), (charts.VALIDATION, False), ("training loss", True)):
        assert ("nice" not in charts._value("y", label)["scale"]) == rounded


def test_an_equal_picture_is_drawn_once_until_there_are_fonts_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(charts, "_drawn", lambda picture: drawn.append(picture.name) or b"made")
    once, other = Picture("once", "A", ({"mark": "bar"},)), Picture("once", "B", ({"mark": "bar"},))
    for picture, missing in ((once, "犬"), (once, "犬"), (other, "犬"), (once, ""), (once, "")):
        assert charts.png(picture, missing) == b"made"
    assert len(drawn) == 3


def test_each_point_has_its_interval_as_a_rule_and_as_words(data: Tables) -> None:
    spec = charts.front(queries.usable(data), "size_mib")
    (rule,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    assert (rule["encoding"]["y"]["field"], rule["encoding"]["y2"]["field"]) == ("top1_pct_low", "top1_pct_high")
    cells = {row["model"]: row for row in spec["data"]["values"]}
    assert set(cells) == set(data.candidates["model"])
    assert cells["baseline"]["top1_pct_text"] == "87.30 (85.09 to 89.22)"


def test_names_of_close_points_do_not_cover_each_other() -> None:
    rows = pd.DataFrame({"model": list("abcdefg"), "family": "pruned", "front": False, "named": [True] * 6 + [False],
                         "size_mib": [0.1] * 6 + [4.0], "top1_pct": [90.0] * 6 + [70.0]})  # fmt: skip
    values = charts.scatter(rows.assign(name="a_long_name"), "size_mib")["data"]["values"]
    places = {row["model"]: row["beside"] for row in values}
    shown = [place for place in places.values() if place >= 0]
    assert len(shown) == len(set(shown)) == 2  # above and below; to the left is no room, and all are at one place
    assert places["g"] < 0


@pytest.mark.parametrize(("chosen", "shown"), [("under", "under"), (None, "best")])
def test_the_chosen_model_has_its_name_first_though_another_is_better(chosen: str | None, shown: str) -> None:
    rows = pd.DataFrame({"model": ["best", "under", "baseline"], "family": "combined", "size_mib": [0.1, 0.1, 9.0],
                         "top1_pct": [90.0, 89.9, 70.0]})  # fmt: skip
    spec = charts.front(rows.assign(name="a_long_name"), "size_mib", chosen)
    assert {row["model"]: row["beside"] for row in spec["data"]["values"]}[shown] == 0
    assert spec["params"][0] == {"name": "marked", "value": chosen or ""}


def test_the_library_is_one_script_that_asks_nobody() -> None:
    assert "vegaEmbed" in charts.vega_script()
    assert "</script" not in charts.vega_script()
    assert "cdn" not in charts.vega_script()


def test_letters_that_no_font_has_are_named() -> None:
    assert charts.unreadable("Größe $1_$5 <b>&") == ""
    assert charts.unreadable(f"a{charts.NOT_A_LETTER}\u0378") == ""  # neither can be printed
    assert set(charts.unreadable("漢字")) <= {"漢", "字"}
    assert charts.unreadable("\U0001325f") in {"", "\U0001325f"}
