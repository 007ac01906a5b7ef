"""Every link of every page leads somewhere: relative paths exist, anchors name a heading."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import pages
from tests.house import ROOT

LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")
MADE = ("plots/", "report.html", "models/")  # by a run; a fresh copy need not hold them
MOST_LINES = 180  # of at most 120 characters
LONG = {"docs/results.md"}  # tables of numbers


def markdown() -> list[Path]:
    """Pages that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in sorted(listed.split("\0")) if name and (ROOT / name).is_file()]


PAGES = markdown()
OURS = [page for page in PAGES if page.parent == pages.DOCS and page.relative_to(ROOT).as_posix() not in LONG]


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have in links: small letters, hyphens for spaces, no other signs."""
    headings = HEADING.findall(pages.prose(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def lost(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(pages.prose(page.read_text(encoding="utf-8"))):
        if link.startswith(ELSEWHERE):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        made = target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix().startswith(MADE)
        if (not target.exists() and not made) or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert lost(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n[one](page.md#a-page) [two](none.md) [three](#nothing) `[four](code)`\n")
    assert lost(page) == ["none.md", "#nothing", "code"]


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_a_page_is_short_and_in_the_index(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    if page.name != "README.md":
        assert f"]({page.name})" in (pages.DOCS / "README.md").read_text(encoding="utf-8")
