"""The picture of the graph shows the stages that dvc.yaml has, and its arrows follow what they read and write."""

from __future__ import annotations

import itertools
import re
from typing import Any

import yaml

from tests.docs import pages
from tests.house import FLOORS, ROOT, SOURCE

PAGE = (pages.DOCS / "how-it-works.md").read_text(encoding="utf-8")
STAGES: dict[str, Any] = {
    name: body.get("do", body)
    for name, body in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
}


def arrows() -> list[tuple[str, str]]:
    """(from, to) of every arrow of the picture; `a & b --> c` is two."""
    picture = next(block["body"] for block in pages.FENCE.finditer(PAGE) if block["language"] == "mermaid")
    found = []
    for line in picture.splitlines()[1:]:
        groups = [re.findall(r"\w+", group) for group in line.split("-->")]
        found += [pair for one, other in itertools.pairwise(groups) for pair in itertools.product(one, other)]
    return found


def outputs(name: str) -> list[str]:
    """Paths that a stage writes."""
    listed = [out for key in ("outs", "metrics", "plots") for out in STAGES[name].get(key, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


def inputs(name: str) -> list[str]:
    """Paths that a stage reads; a file of params by name, too."""
    params = [next(iter(entry)) for entry in STAGES[name].get("params", []) if isinstance(entry, dict)]
    return [*STAGES[name].get("deps", []), *params]


def feeds(one: str, other: str) -> bool:
    """Whether a path that the one writes can be, hold or lie in one that the other reads."""
    paths = itertools.product(outputs(one), inputs(other))
    return any(_may_be(a, b) or _may_be(b, a) for a, b in paths)


def _may_be(path: str, other: str) -> bool:
    pattern = re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(path))
    return re.fullmatch(f"{pattern}(/.*)?", other) is not None


def test_the_picture_shows_every_stage_and_no_other() -> None:
    assert {stage for arrow in arrows() for stage in arrow} == set(STAGES)


def test_every_arrow_is_a_path_that_is_written_and_read() -> None:
    assert [arrow for arrow in arrows() if not feeds(*arrow)] == []


def test_the_table_tells_of_every_stage() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE.partition("| Stage |")[2].partition("\n\n")[0], flags=re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(rows))) == set(STAGES)


def test_every_package_stands_on_its_floor() -> None:
    floors = {int(number): said for number, said in re.findall(r"^\| (\d) \| (.*) \|$", PAGE, flags=re.MULTILINE)}
    packages = {room: floor for room, floor in FLOORS.items() if (SOURCE / "deepcompress" / room).is_dir()}
    assert [room for room, floor in packages.items() if f"`{room}/`" not in floors[floor]] == []
