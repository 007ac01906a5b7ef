"""report.html: whole in one file, sound HTML, readable in both themes, made without torch."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from deepcompress.report import figures, page
from deepcompress.report.blocks import Paragraph, Picture, Section, Table
from deepcompress.report.tables import Tables

SHOWN = ("baseline", "pruned/structured-0.25", "pruned/unstructured-0.25", "students/dkd-vgg16")
VOID = {"meta", "link", "br", "wbr", "img", "hr"}


class Tree(HTMLParser):
    """Counts ids and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.update([values["id"]] if "id" in values else [])
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def small(data: Tables) -> Tables:
    return dataclasses.replace(
        data,
        models=data.models[data.models["model"].isin(SHOWN)],
        history=data.history[data.history["model"] == "baseline"],
    )


@pytest.fixture(scope="module")
def html(small: Tables) -> str:
    return page.render(page.sections(small), small)


@pytest.fixture(scope="module")
def tree(html: str) -> Tree:
    parsed = Tree()
    parsed.feed(html)
    return parsed


def test_tags_close_and_ids_are_unique(tree: Tree) -> None:
    assert tree.open == []
    assert [name for name, times in tree.ids.items() if times > 1] == []


def test_links_stay_inside_the_page(tree: Tree) -> None:
    assert all(link.startswith(("#", "data:image/png;base64,")) or link == "data:," for link in tree.links)
    assert {link[1:] for link in tree.links if link.startswith("#")} <= set(tree.ids)


def test_nothing_is_fetched_and_nothing_runs(html: str) -> None:
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in without_namespaces
    assert not re.search(r"<script|@import|url\((?!#)", html)


def test_sections_come_in_order_and_only_where_there_is_something(small: Tables) -> None:
    names = list(page.sections(small))
    pruning = ["sensitivity", "pruned", "pruned_weights", "pruned_storage"]
    assert names == [
        "overview",
        "recommendation",
        "baseline",
        *pruning,
        "students",
        "attention",
        "cost",
        "speed",
        "claims",
        "training",
        "classes",
        "deploy",
        "times",
        "provenance",
    ]


def test_equal_tables_give_an_equal_page(html: str, small: Tables) -> None:
    assert page.render(page.sections(small), small) == html


def test_drawings_take_the_theme_s_colours(alone: Tables) -> None:
    drawing = page.svg(figures.accuracy_size(alone.models, ""), "one")
    assert "currentColor" in drawing
    assert "var(--grid)" in drawing
    assert not any(colour in drawing for colour in page.THEME)
    assert not re.search(r"<svg[^>]* (width|height)=", drawing)


def test_words_from_outside_are_escaped(data: Tables) -> None:
    nasty = '<b onclick="x">&'
    blocks = (Paragraph(nasty), Table((nasty,), ((nasty,),), caption=nasty, folded=nasty))
    html = page.render({"one": Section(nasty, blocks)}, data)
    assert "<b" not in html.split("<body>")[1]
    assert html.count("&lt;b onclick=") >= 7


def test_pictures_next_to_each_other_share_a_row(alone: Tables) -> None:
    figure = figures.accuracy_size(alone.models, "")
    blocks = (Picture("a", figure), Picture("b", figure), Paragraph("between"), Picture("c", figure))
    parsed = Tree()
    html = page.render({"one": Section("One", blocks)}, alone)
    parsed.feed(html)
    assert parsed.open == []
    assert html.count('<div class="pictures">') == 2


def test_the_report_is_made_without_torch() -> None:
    code = (
        "import sys; from deepcompress.report import page, plots, readme, tables; "
        "print(sorted({'torch', 'torchvision', 'lightning_fabric', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
