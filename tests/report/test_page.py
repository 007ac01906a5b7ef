"""report.html: whole in one file, sound HTML, readable in both themes, made without torch."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from deepcompress.report import page
from deepcompress.report.blocks import Fold, Paragraph, Picture, Section, Table
from deepcompress.report.tables import Tables
from tests.report import made_up

SHOWN = ("baseline", "pruned/structured-0.25", "pruned/unstructured-0.25", "students/dkd-vgg16")
VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}
CELLS = {"th": {"columnheader", "rowheader"}, "td": {"cell"}, "tr": {"row"}, "table": {"table"}}


class Tree(HTMLParser):
    """Every tag with its attributes, and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, *tags: str) -> list[dict[str, str]]:
        """Attributes of the tags of some kinds, in order."""
        return [attributes for tag, attributes in self.tags if tag in tags]

    def all(self, name: str) -> list[str]:
        """Values of an attribute, in order."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]


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
    assert [name for name, times in Counter(tree.all("id")).items() if times > 1] == []


def test_links_stay_inside_the_page_and_nothing_is_fetched(tree: Tree, html: str) -> None:
    assert all(link.startswith("#") or link == "data:," for link in tree.all("href"))
    assert {link[1:] for link in tree.all("href") if link.startswith("#")} <= set(tree.all("id"))
    assert not tree.all("src")
    assert not re.search(r"@import|url\((?!#)", html.partition("</style>")[0])


def test_headings_come_in_order_and_there_is_one_of_the_first(tree: Tree) -> None:
    levels = [int(tag[1]) for tag, _ in tree.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_cell_field_and_chart_can_be_read_out(tree: Tree) -> None:
    assert all(attributes["scope"] in {"col", "row"} for attributes in tree.of("th"))
    for tag, roles in CELLS.items():
        assert all(attributes["role"] in roles for attributes in tree.of(tag))
    assert all(attributes["aria-label"] for attributes in tree.of("div") if attributes.get("role") in {"img", "region"})
    charts = {attributes["data-chart"] for attributes in tree.of("script") if "data-chart" in attributes}
    assert charts == {a["id"] for a in tree.of("div") if a.get("role") == "img"}


def test_the_first_table_holds_every_model_with_the_numbers_that_its_filters_compare(tree: Tree, small: Tables) -> None:
    rows = {attributes["data-model"]: attributes for attributes in tree.of("tr") if "data-model" in attributes}
    assert set(rows) == set(small.candidates["model"])
    assert rows["baseline"]["data-lost"] == "0.0"
    assert float(rows["students/dkd-vgg16"]["data-lost"]) == pytest.approx(0.5)
    assert float(rows["students/dkd-vgg16"]["data-mib"]) == pytest.approx(made_up.BASELINE_BYTES / 4 / 2**20)


def test_sections_come_in_order_and_only_where_there_is_something(small: Tables) -> None:
    assert list(page.sections(small)) == ["ship", "pruned", "students", "cost", "speed", "claims", "details"]


def test_words_from_outside_are_escaped(data: Tables) -> None:
    nasty = '<b onclick="x">&'
    blocks = (Paragraph(nasty), Table((nasty,), ((nasty,),), caption=nasty, folded=nasty))
    picture = Picture("one", nasty, ({"data": {"values": [{"name": f"</script>{nasty}"}]}},), nasty)
    html = page.render({"one": Section(nasty, (*blocks, Fold(nasty, (picture,), "key")))}, data)
    assert "<b" not in html.partition("<body>")[2].partition("<script>")[0].replace("<button", "")
    assert html.count("&lt;b onclick=") >= 9
