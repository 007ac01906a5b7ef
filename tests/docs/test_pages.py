"""What pages say is so: links lead somewhere; tables, messages and the picture of the graph are those of the code."""

import ast
import importlib.util
import itertools
import re
from pathlib import Path

import pytest
import yaml

from deepcompress import params, preset
from deepcompress.report import page, tables, text
from deepcompress.report.tables import Tables
from tests.docs import pages
from tests.house import FLOORS, ROOT, SOURCE, STAGES, tracked
from tests.report import made_up

LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")
MADE = ("plots/", "report.html", "models/")  # by a run; a fresh copy need not hold them
MOST_LINES = 180  # of at most 120 characters
LONG = "results.md"  # tables of numbers


PAGES = [ROOT / name for name in tracked("*.md")]
OURS = [place.name for place in PAGES if place.parent == pages.DOCS and place.name != LONG]


def anchors(place: Path) -> set[str]:
    """The names that a page's headings have in links: small letters, hyphens for spaces, no other signs."""
    headings = HEADING.findall(pages.prose(place.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def lost(place: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(pages.prose(place.read_text(encoding="utf-8"))):
        if link.startswith(ELSEWHERE):
            continue
        name, _, anchor = link.partition("#")
        target = (place.parent / name).resolve() if name else place
        made = target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix().startswith(MADE)
        if (not target.exists() and not made) or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("place", PAGES, ids=lambda place: place.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(place: Path) -> None:
    assert lost(place) == []


@pytest.mark.parametrize("name", OURS)
def test_a_page_is_short_and_in_the_index(name: str) -> None:
    assert len(pages.read(name).splitlines()) <= MOST_LINES
    assert name == "README.md" or f"]({name})" in pages.read("README.md")


# docs/how-it-works.md: its picture shows the stages that dvc.yaml has, its arrows follow what they read and write.

GRAPH = pages.read("how-it-works.md")


def arrows() -> list[tuple[str, str]]:
    """(from, to) of every arrow of the picture; `a & b --> c` is two."""
    picture = next(block["body"] for block in pages.FENCE.finditer(GRAPH) if block["language"] == "mermaid")
    found = []
    for line in picture.splitlines()[1:]:
        groups = [re.findall(r"\w+", group) for group in line.split("-->")]
        found += [pair for one, other in itertools.pairwise(groups) for pair in itertools.product(one, other)]
    return found


def paths(name: str, *keys: str) -> list[str]:
    """What stands under some keys of a stage: paths that it reads or writes, files of params, and keys of params."""
    listed = [entry for key in keys for entry in STAGES[name].get(key, [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in listed]


def feeds(one: str, other: str) -> bool:
    """Whether a path that the one writes can be, hold or lie in one that the other reads."""
    pairs = itertools.product(paths(one, "outs", "metrics", "plots"), paths(other, "deps", "params"))
    return any(_may_be(a, b) or _may_be(b, a) for a, b in pairs)


def _may_be(path: str, other: str) -> bool:
    pattern = re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(path))
    return re.fullmatch(f"{pattern}(/.*)?", other) is not None


def test_the_picture_shows_every_stage_and_no_other_and_an_arrow_is_a_path_that_is_written_and_read() -> None:
    assert {stage for arrow in arrows() for stage in arrow} == set(STAGES)
    assert [arrow for arrow in arrows() if not feeds(*arrow)] == []


def test_the_tables_tell_of_every_stage_and_of_every_package_on_its_floor() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", GRAPH.partition("| Stage |")[2].partition("\n\n")[0], flags=re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(rows))) == set(STAGES)
    floors = {int(number): said for number, said in re.findall(r"^\| (\d) \| (.*) \|$", GRAPH, flags=re.MULTILINE)}
    packages = {room: floor for room, floor in FLOORS.items() if (SOURCE / "deepcompress" / room).is_dir()}
    assert [room for room, floor in packages.items() if f"`{room}/`" not in floors[floor]] == []


# docs/paper.md: each value of the preset `paper` stands beside the source report's words, or is said to be assumed.

VALUE = re.compile(r"^\| `([^`]+)` \| `([^`]*)` \| (.+) \| (.+) \|$", flags=re.MULTILINE)
ROWS = VALUE.findall(pages.read("paper.md").partition("### Every value")[2])
VALUES = dict(params.leaves(preset.load("paper", ROOT / "presets")))


def test_the_table_holds_every_value_of_the_preset_and_no_other() -> None:
    listed = {}
    for key, value, _, _ in ROWS:
        pattern = re.compile(re.escape(key).replace(r"\*", r"\w+"))
        listed |= {name: yaml.safe_load(value) for name in VALUES if pattern.fullmatch(name)} or {key: value}
    assert listed == VALUES


def test_what_has_no_section_of_the_source_report_is_assumed_or_ours_and_the_preset_says_so() -> None:
    for key, _, words, section in ROWS:
        assert (section == "–") == words.startswith(("not stated; assumed", "ours")), key
    comments = re.findall(r"#.*ssumed", (ROOT / "presets/paper.yaml").read_text(encoding="utf-8"))
    assert len(comments) >= 12


# docs/reading-the-report.md: each section of the report in its order, and the columns that tables of models share.

READING = pages.read("reading-the-report.md")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables.read(made_up.write(Path(tmp_path_factory.mktemp("report"))))


def test_every_section_of_the_report_is_told_of_in_its_order(data: Tables) -> None:
    titles = [section.title for section in page.sections(data).values()]
    assert re.findall(r"^### (.+)$", READING, flags=re.MULTILINE) == titles


def test_every_shared_column_is_explained(data: Tables) -> None:
    shared = READING.partition("## Columns")[2].partition("## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", shared, flags=re.MULTILINE)
    explained = {name for cell in cells for name in (cell, *cell.split(", "))}
    assert set(text.models_table(data, data.models).columns) <= explained


# docs/troubleshooting.md: every message that it quotes exists, ours in the source, DVC's in its packages.

TROUBLES = pages.read("troubleshooting.md")
ANYTHING = "…"
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
FROM_THE_SYSTEM = {"No space left on device", "No such file or directory"}


def quoted(*, dvc: bool) -> list[str]:
    """First cells of the tables under the heading DVC, or of all others."""
    parts = re.split(r"^## ", TROUBLES, flags=re.MULTILINE)[1:]
    messages = {message for part in parts if part.startswith("DVC") == dvc for message in ROW.findall(part)}
    return sorted(messages - FROM_THE_SYSTEM)


def said(path: Path) -> list[str]:
    """Every text that a Python file may print, with `…` for what is filled in: no docstring, and no part of a text."""
    texts = []
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    within = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    within |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in within:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values)
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def exists(message: str, texts: list[str]) -> bool:
    """Whether some text holds the fixed words of a message in their order."""
    pattern = re.compile(".*".join(re.escape(words.strip()) for words in message.split(ANYTHING)), re.DOTALL)
    return any(pattern.search(text) for text in texts)


def test_every_quoted_message_of_ours_exists() -> None:
    ours = [text for path in (SOURCE / "deepcompress").rglob("*.py") for text in said(path)]
    messages = quoted(dvc=False)
    assert len(messages) > 40
    assert [message for message in messages if not exists(message, ours)] == []


def test_every_quoted_message_of_dvc_exists() -> None:
    texts: list[str] = []
    for package in ("dvc", "scmrepo", "hydra"):
        found = importlib.util.find_spec(package)
        assert found
        assert found.origin
        texts += [path.read_text(encoding="utf-8") for path in Path(found.origin).parent.rglob("*.py")]
    messages = quoted(dvc=True)
    assert messages
    assert [message for message in messages if not any(message in text for text in texts)] == []
