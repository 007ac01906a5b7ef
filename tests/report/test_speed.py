"""What the page says of speed: from measured times alone, and no difference where quartiles overlap."""

from __future__ import annotations

import pandas as pd

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
        "int4 (quantized/ptq-int4) in ONNX Runtime: 1.2× at batch 1.",
    ]


def test_the_section_names_the_machine_and_every_time(data: Tables) -> None:
    built = section.build(data)
    assert built is not None
    assert "a CPU, 1 of 2 threads" in next(picture.caption for picture in built.pictures)
    *_, table = [block for block in built.blocks if isinstance(block, Table)]
    assert table.rows[2][:4] == ("baseline", "ONNX Runtime, int8", "4.00 (3.90 to 4.10)", "2.5×")


def test_every_sparsity_that_was_timed_has_its_sentence(data: Tables) -> None:
    rows = data.extra["benchmark/latency"]
    more = rows[rows["model"] == "pruned/structured-0.5"].assign(model="pruned/structured-0.75", speedup=3.0)
    said = [one for one in speed.findings(pd.concat([more, rows])) if one.startswith("Removed channels")]
    assert said == [
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "Removed channels (pruned/structured-0.75) in ONNX Runtime: 3.0× at batch 1.",
    ]


def test_the_papers_times_stand_beside_the_least_pruned_models(data: Tables) -> None:
    rows, theirs = data.extra["benchmark/latency"], {"baseline": 4.2, "unstructured": 4.0, "structured": 2.8}
    assert speed.beside_the_paper(rows, theirs)[1:] == ("", ())  # nothing pruned was timed in PyTorch
    rows = rows.assign(engine=rows["engine"].replace("onnxruntime", "pytorch")).drop_duplicates(["model", "engine"])
    paper, said, cells = speed.beside_the_paper(rows, theirs)
    assert paper.startswith("25 % zeros are 1.05× (unstructured), 1.50× (structured) as fast as the baseline")
    assert "pruned/unstructured-0.5 is not told apart from the baseline (1.01×)" in said
    assert "pruned/structured-0.5 is faster, told apart from it by their quartiles (2.00×)" in said
    assert cells[2] == ("structured", "2.80", "pruned/structured-0.5", "5.00 (4.90 to 5.10)", "1.50×", "2.00×")


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
