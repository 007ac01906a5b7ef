"""The table of networks says what the code does: names, blocks, heads, channels that can go, and what is tried."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

from deepcompress.models.build import FEATURES, outline, roles
from deepcompress.models.spec import TORCHVISION, TORCHVISION_NAMES, GraphSpec
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.layers import groups, unprunable
from tests import test_families, test_pipeline
from tests.docs import pages

PAGE = (pages.DOCS / "models.md").read_text(encoding="utf-8")
SLOW_GRAPHS = ("densenet161", "densenet169", "densenet201")  # seconds each
FEW = {name for names in TORCHVISION.values() for name in (names[0], names[-1]) if name not in SLOW_GRAPHS}


@dataclass(frozen=True)
class Row:
    """What the page says of a family."""

    family: str
    names: tuple[str, ...]
    blocks: str
    trainable: str
    channels: str
    tried: tuple[str, ...]


def rows(page: str) -> list[Row]:
    found = []
    for line in re.findall(r"^\| (.+) \|$", page.partition("| Family ")[2], flags=re.MULTILINE)[2:]:
        family, names, there, trainable, channels, tried = line.split(" | ")
        quoted = (tuple(pages.INLINE.findall(cell)) for cell in (names, tried))
        found.append(Row(family, next(quoted), there, trainable, channels, next(quoted)))
    return found


ROWS = rows(PAGE)
SAID = {name: row for row in ROWS for name in row.names}
EVERY = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in TORCHVISION_NAMES]


def test_every_network_is_in_one_row_with_its_whole_family() -> None:
    assert sorted(name for row in ROWS for name in row.names) == sorted(TORCHVISION_NAMES)
    for names in TORCHVISION.values():
        assert len({SAID[name].family for name in names}) == 1


def test_what_is_tried_is_what_the_slow_tests_run() -> None:
    assert [name for row in ROWS for name in row.tried] == list(test_families.ARCHS)
    assert all(set(row.tried) <= set(row.names) and row.tried for row in ROWS)
    assert f"`{test_pipeline.TORCHVISION}` also runs the whole pipeline" in PAGE


def test_heads_may_train_alone_but_where_plan_refuses_it() -> None:
    assert {name for name in TORCHVISION_NAMES if SAID[name].trainable == "all"} == set(TORCHVISION["squeezenet"])


@pytest.mark.parametrize("name", EVERY)
def test_a_network_has_the_blocks_of_its_row(name: str) -> None:
    there = [role for role in roles(GraphSpec(name, 4, 64)) if role != FEATURES]
    first, last = map(int, SAID[name].blocks.split(" to "))
    assert there == [f"block{number}" for number in range(first, last + 1)]


@pytest.mark.parametrize("name", EVERY)
def test_channels_go_from_the_layers_that_the_row_says(name: str) -> None:
    spec = GraphSpec(name, 4, 64)
    layers = prunable_layers(outline(spec))
    shrunk = {member for group in groups(spec).values() for member in group.members}
    *before, last = layers
    assert last not in shrunk
    assert SAID[name].channels == ("all layers" if shrunk == {*before} else "some layers")
    assert shrunk
    assert isinstance(layers[last], nn.Linear) == ("head" in SAID[name].trainable)


WHOLE = [
    pytest.param(*line.split(" | "), marks=() if "mynet" in line else pytest.mark.slow)
    for line in re.findall(r"^\| (.+) \|$", PAGE.partition("| Network ")[2].partition("##")[0], flags=re.MULTILINE)[2:]
]


def test_networks_that_run_whole_are_those_of_the_table_and_the_small_one_is_shown() -> None:
    named = {row.values[0].strip("`"): int(row.values[1]) for row in WHOLE}
    assert named == test_pipeline.ARCHS
    assert test_pipeline.OWN in PAGE


@pytest.mark.parametrize(("name", "pixels", "blocks", "channels"), WHOLE)
def test_a_network_that_runs_whole_is_as_its_row_says(
    name: str, pixels: str, blocks: str, channels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "timm:" in name:
        pytest.importorskip("timm")
    (tmp_path / "mynet.py").write_text(test_pipeline.OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = GraphSpec(name.strip("`"), 4, int(pixels))
    there = [role.removeprefix("block") for role in roles(spec) if role != FEATURES]
    assert blocks == (f"{there[0]} to {there[-1]}" if there else "none")
    if channels == "all layers":
        assert groups(spec)
        assert not unprunable(spec)
    else:
        assert channels == "heads, hidden units of MLPs"
        assert [name.split(".", 2)[2] for name in groups(spec)] == ["attn.qkv", "mlp.fc1"] * 12
