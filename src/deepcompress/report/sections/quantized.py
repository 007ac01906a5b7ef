"""Quantized models: fewer bits per weight, after training or with training aware of it."""

from __future__ import annotations

from deepcompress.report import technique
from deepcompress.report.blocks import Section
from deepcompress.report.tables import BASELINE, Tables


def build(data: Tables) -> Section | None:
    """Cost in accuracy of each mode and format; the source report's task 2 has its own baseline."""
    theirs = data.paper["quantized"]
    paper = {BASELINE: theirs["baseline"]} | {
        f"quantized/{mode}-{form}": top1 for mode in ("ptq", "qat") for form, top1 in theirs[mode].items()
    }
    return technique.section(data, "quantized", "Quantization", order=20, paper=paper)
