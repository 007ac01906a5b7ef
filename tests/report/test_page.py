"""report.html: whole in one file, sound HTML; the README's block; what DVC plots, and the templates that read it."""

import dataclasses
import itertools
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from deepcompress.errors import UserError
from deepcompress.report import page
from deepcompress.report.tables import Tables
from deepcompress.report.text import Fold, Paragraph, Picture, Section, Table
from tests.report import made_up

SHOWN = ("baseline", "pruned/structured-0.25", "pruned/unstructured-0.25", "students/dkd-vgg16")
VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}
TEMPLATES = Path(__file__).parents[2] / ".dvc" / "plots"
DOCUMENT = f"# Title\n\n{page.BEGIN}\nold\n{page.END}\n\nThe rest.\n"
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


def test_words_from_outside_are_escaped(data: Tables) -> None:
    nasty = '<b onclick="x">&'
    blocks = (Paragraph(nasty), Table((nasty,), ((nasty,),), caption=nasty, folded=nasty))
    picture = Picture("one", nasty, ({"data": {"values": [{"name": f"</script>{nasty}"}]}},), nasty)
    html = page.render({"one": Section(nasty, (*blocks, Fold(nasty, (picture,), "key")))}, data)
    assert "<b" not in html.partition("<body>")[2].partition("<script>")[0].replace("<button", "")
    assert html.count("&lt;b onclick=") >= 9


def test_the_baseline_is_shipped_where_a_limit_forbids_what_keeps_the_accuracy(data: Tables) -> None:
    note = {**data.notes["recommendation"], "model": "baseline"}
    sentence, _ = page._first_sentence(dataclasses.replace(data, notes={"recommendation": note}), "baseline")
    assert sentence.startswith("Ship the baseline: no smaller model keeps to all limits of deploy. ")
    nothing = dataclasses.replace(data, extra={"recommendation": data.choice.assign(drop_points=9.0)})
    assert not page._first_sentence(nothing, "baseline")[0].startswith("Ship")


def test_a_single_model_has_no_chart_to_choose(alone: Tables) -> None:
    html = page.render(page.sections(alone), alone)
    assert "<legend>Top-1 against</legend>" not in html
    assert "The model, every column" in html


# The README's block.


def test_block_of_the_baseline_alone(alone: Tables) -> None:
    assert page.readme_block(alone) == (
        "**The baseline reaches 87.3 (85.1 to 89.2) % top-1 in 9.35 MiB.** "
        "(24 classes of `shapes`, 1,000 held-out images)\n\n"
        "![The baseline: 87.3 % top-1 in 9.35 MiB (n = 1,000)](plots/figures/accuracy_size.png)\n\n"
        "| Model | Top-1 % (95 % interval) | Points to baseline | Points to control | MiB | Smaller |\n"
        "|---|--:|--:|--:|--:|--:|\n"
        "| `baseline` | 87.3 (85.1 to 89.2) | – | – | 9.35 | 1.0× |\n"
    )


def test_table_holds_the_baseline_the_sentence_s_model_and_the_front_on_validation_images(data: Tables) -> None:
    rows = [line.split("`")[1] for line in page.readme_block(data).splitlines() if line.startswith("| `")]
    assert rows[0] == "baseline"
    assert set(rows[1:]) == {
        "combined/prune_quantize", "quantized/ptq-int8", "quantized/ptq-int4", "pruned/structured-0.5"
    }  # fmt: skip
    assert len(rows) <= page.MOST_ROWS


def test_the_note_says_what_was_chosen_where_and_how_many_trainings_there_are(data: Tables, single: Tables) -> None:
    assert page.readme_block(data).endswith("Differences between trainings are means of 3 seeds.\n")
    assert page.readme_block(single).endswith("one of each says nothing of chance: no interval.\n")
    row = next(line for line in page.readme_block(single).splitlines() if line.startswith("| `pruned/structured-0.5`"))
    assert "| −3.1 (one training each) |" in row


def test_the_note_tells_of_controls_with_fewer_trainings(data: Tables) -> None:
    assert page.AGAIN not in page.readme_block(data).replace("\n", " ")
    models = data.models.assign(to_control=data.models["difference"], more_trainings=1)
    assert page.AGAIN in page.readme_block(dataclasses.replace(data, models=models)).replace("\n", " ")


def test_only_what_lies_between_the_markers_changes(alone: Tables, tmp_path: Path) -> None:
    readme, block = tmp_path / "README.md", page.readme_block(alone)
    for before in ("old\n", block):
        readme.write_text(DOCUMENT.replace("old\n", before))
        assert page.updated_readme(readme, alone) == DOCUMENT.replace("old\n", block)


@pytest.mark.parametrize(
    "document",
    ["", page.BEGIN, page.END, f"{page.END}\n{page.BEGIN}", DOCUMENT + DOCUMENT],
    ids=["none", "no end", "no begin", "wrong order", "twice"],
)
def test_a_missing_readme_or_marker_is_refused(document: str, alone: Tables, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"README\.md: no such file"):
        page.updated_readme(tmp_path / "README.md", alone)
    (tmp_path / "README.md").write_text(document)
    with pytest.raises(UserError, match=r"README\.md: needs the lines"):
        page.updated_readme(tmp_path / "README.md", alone)
    (tmp_path / "README.md").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"README\.md: is no text in UTF-8"):
        page.updated_readme(tmp_path / "README.md", alone)


# What DVC plots.


def test_tables_and_figures_are_written_and_old_figures_go(alone: Tables, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of_a_family_that_left.png").write_bytes(b"")
    page.write_plots(tmp_path, alone, page.sections(alone).values())
    tables = [f"{name}.csv" for name in page.plot_tables(alone)]
    assert {path.name for path in tmp_path.iterdir()} == {*tables, "figures", "vega.js"}
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "accuracy_size", "baseline_training", "class_accuracy"
    }  # fmt: skip
    models = pd.read_csv(tmp_path / "models.csv")
    assert models.loc[0, ["series", "model", "size_mib", "top1_pct"]].tolist() == ["baseline", "baseline", 9.346, 87.3]
    assert pd.read_csv(tmp_path / "history.csv")["series"].unique().tolist() == ["baseline"]


def test_the_pruning_curve_rises_by_sparsity_and_students_have_a_series_per_teacher(data: Tables) -> None:
    drawn = page.plot_tables(data)
    curve = drawn["pruning"]
    assert set(curve["series"]) == {"unstructured", "structured"}
    assert curve["sparsity_pct"].between(0, 100).all()
    assert curve.groupby("series")["sparsity_pct"].apply(lambda one: one.is_monotonic_increasing).all()
    assert "vgg16" in set(drawn["students"]["series"])


@pytest.mark.parametrize("name", ["points", "dots", "sweep"])
def test_templates_colour_by_series_and_tell_revisions_apart(name: str) -> None:
    text = (TEMPLATES / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads(text)["data"] == {"values": "<DVC_METRIC_DATA>"}
    assert '"field": "series"' in text
    assert '"field": "rev"' in text
    assert {"<DVC_METRIC_X>", "<DVC_METRIC_Y>"} <= set(text.split('"'))


def test_dvc_draws_its_plots_with_the_library_that_the_report_wrote() -> None:
    html = (TEMPLATES / "page.html").read_text(encoding="utf-8")
    config = (TEMPLATES.parent / "config").read_text(encoding="utf-8")
    assert "html_template = plots/page.html" in config
    assert {"{refresh_tag}", "{scripts}", "{plot_divs}"} <= set(re.findall(r"\{\w+\}", html))
    assert f'<script src="../plots/{page.LIBRARY}"></script>' in html
