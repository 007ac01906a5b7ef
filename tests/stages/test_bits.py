"""The bits stage: both tables, the same bytes twice, the model untouched."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from click.testing import Result

from stages import bits
from tests.stages.commands import invoke, refused
from tests.stages.test_quantize import prepared, project, write_quant

__all__ = ["prepared", "project"]  # fixtures


def run(out: str) -> Result:
    paths = {"points": f"{out}/points.csv", "trends": f"{out}/trends.csv"}
    return invoke(bits.main, fit="data/fit", source="source.safetensors", **paths)


def test_points_and_trends_are_the_same_twice_whatever_is_shipped(project: Path) -> None:
    before = Path("source.safetensors").read_bytes()
    assert run("one").exit_code == 0
    write_quant(bits=4, mode="qat", first_bits=8)
    assert run("other").exit_code == 0
    points, trends = pd.read_csv("one/points.csv"), pd.read_csv("one/trends.csv")
    assert points["bits"].tolist() == 2 * list(range(2, 9))
    assert trends["cost"].nunique() == 3
    for name in ("points.csv", "trends.csv"):
        assert Path("one", name).read_bytes() == Path("other", name).read_bytes()
    assert Path("source.safetensors").read_bytes() == before


def test_a_missing_source_ends_in_one_line(project: Path) -> None:
    Path("source.safetensors").unlink()
    refused(run("out"), "source.safetensors: no such file")
