"""The benchmark of the whole protocol on tiny networks: equal models both ways, every stage in the table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import pipeline_setup
from benchmarks.pipeline import Pair, main, table
from benchmarks.pipeline_items import Item, Made, items
from benchmarks.plain import items as plain_items

IMAGES = 100


def pair(kind: str, *, right: int = 50, shift: float = 0.0, ours_s: float = 1.0) -> Pair:
    """An item whose plain way was right on 50 images, with a weight of norm 1."""
    weight = np.array([0.6, 0.8])
    ours = Made(ours_s, [40, right], {"w": weight + np.array([shift, 0.0])})
    return Pair(Item(f"{kind}s", kind), ours, Made(3.0, [40, 50], {"w": weight}), IMAGES)


@pytest.mark.parametrize(
    ("kind", "right", "shift", "equal"),
    [
        ("teacher", 50, 0.0, True),
        ("teacher", 51, 0.029, True),
        ("teacher", 52, 0.0, False),
        ("teacher", 50, 0.031, False),
        ("student", 45, 0.0, True),
        ("student", 44, 0.0, False),
        ("student", 50, 0.031, False),
    ],
)
def test_results_are_equal_up_to_one_image_or_a_students_standard_error_and_three_percent_of_the_weights(
    kind: str, right: int, shift: float, equal: bool
) -> None:
    assert pair(kind, right=right, shift=shift).equal is equal


def test_models_of_other_layers_are_not_equal() -> None:
    one = pair("prune")
    other = Made(1.0, one.ours.right, {"v": one.ours.weights["w"]})
    assert not Pair(one.item, one.ours, other, IMAGES).equal


def test_the_table_sums_items_and_takes_the_median_of_rounds() -> None:
    rounds = [[pair("prune", ours_s=s), pair("prune", ours_s=s), pair("teacher", ours_s=s)] for s in (1.0, 2.0, 9.0)]
    head, prune, teacher, total = table(rounds)
    assert "ratio" in head
    assert re.match(r"prunes +6\.00 +4\.00 +1\.50x  yes", prune)
    assert re.match(r"teachers +3\.00 +2\.00 +1\.50x  yes", teacher)
    assert re.match(r"total +9\.00 +6\.00 +1\.50x  yes", total)
    rounds[1].append(pair("teacher", right=60))
    assert table(rounds)[2].endswith("NO: 8 accuracies within 10 of 100 images, weights within 0e+00")


def test_another_seed_gives_no_equal_model(tmp_path: Path) -> None:
    pipeline_setup.write(tmp_path, pipeline_setup.QUICK)
    file, item, found = tmp_path / "params.yaml", items()[0], []
    for seed in (0, 0, 1):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"(?m)^seed: \d+", f"seed: {seed}", text), encoding="utf-8")
        found.append(plain_items.make(item, tmp_path, channels_last=False))
    assert Pair(item, found[0], found[1], 20).equal
    assert not Pair(item, found[0], found[2], 20).equal


def test_both_ways_end_with_equal_models_in_every_stage() -> None:
    result = CliRunner().invoke(main, ["--quick"], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for row in [*{item.row for item in items()}, "total"]:
        (line,) = (line for line in lines if re.match(rf"{row} +\d", line))
        assert "x  yes: " in line, line
