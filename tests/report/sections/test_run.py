"""What it runs like: measured times alone, beside the source report's."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import queries
from deepcompress.report.sections import run
from deepcompress.report.tables import Tables
from tests.report.sections.looking import pictures_of, tables_of


@pytest.fixture(name="timed")
def with_both_halves(data: Tables) -> Tables:
    """The same, with the model of half the weights that was timed."""
    dense = data.models[data.models["model"] == "pruned/unstructured-0.25"]
    half = dense.assign(model="pruned/unstructured-0.5", name="unstructured-0.5", sparsity=0.5)
    return dataclasses.replace(data, models=pd.concat([data.models, half], ignore_index=True))


def test_zeros_bring_nothing_and_channels_and_integers_do(timed: Tables) -> None:
    assert run.speed_findings(queries.latency(timed)) == [
        "Zeros alone (pruned/unstructured-0.5) in ONNX Runtime: 1.0× at batch 1 (quartiles overlap).",
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "int8 (baseline) in ONNX Runtime: 2.5× at batch 1.",
        "int4 (quantized/ptq-int4) in ONNX Runtime: 1.2× at batch 1.",
    ]


def test_speed_names_the_machine_and_every_time(data: Tables) -> None:
    section = run.run(data)
    assert "a CPU, 1 of 2 threads" in pictures_of(section)[0].caption
    rows = tables_of(section)[0].rows
    assert rows[2] == ("baseline", "ONNX Runtime, int8", "1", "4.00 (3.90 to 4.10)", "2.5×")
