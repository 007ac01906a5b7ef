"""What the page says of speed: from measured times alone, and no difference where quartiles overlap."""

from __future__ import annotations

from deepcompress.report import speed
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.sections import speed as section
from deepcompress.report.sections import times
from deepcompress.report.tables import Tables


def test_zeros_bring_nothing_and_channels_and_int8_do(data: Tables) -> None:
    assert speed.findings(data.extra["benchmark/latency"]) == [
        "Zeros alone (pruned/unstructured-0.5) in ONNX Runtime: 1.0× at batch 1 (no difference).",
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "int8 (baseline) in ONNX Runtime: 2.5× at batch 1.",
    ]


def test_the_section_names_the_machine_and_every_time(data: Tables) -> None:
    built = section.build(data)
    assert built is not None
    assert "a CPU, 1 of 2 threads" in next(picture.caption for picture in built.pictures)
    (table,) = [block for block in built.blocks if isinstance(block, Table)]
    assert table.rows[2][:4] == ("baseline", "ONNX Runtime, int8", "4.00 (3.90 to 4.10)", "2.5×")


def test_nothing_timed_is_nothing_said(alone: Tables) -> None:
    assert section.build(alone) is None
    assert times.build(alone) is None


def test_the_longest_stage_comes_first(data: Tables) -> None:
    built = times.build(data)
    assert built is not None
    lead, table = built.blocks
    assert isinstance(lead, Paragraph)
    assert lead.text.startswith("2 stages took 1.0 minutes in all")
    assert isinstance(table, Table)
    assert [cells[0] for cells in table.rows] == ["finetune", "plan"]
