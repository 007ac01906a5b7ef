"""Quantized models: fewer bits per weight, after training or in it. Figure 11, sections 3.3 and 4.4 of the report."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import quantization, quantization_figures, technique, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section
from deepcompress.report.claims import paragraphs
from deepcompress.report.source_report import is_cifar100, source_top1
from deepcompress.report.tables import Tables

FORMATS = "Counterpart of Figure 11 of the source report. Bars and bands: 95 % Wilson intervals."
BITS = "Rounded after training, every layer alike, on validation images. Bars: 95 % Wilson intervals."


def build(data: Tables) -> Section | None:
    """Accuracy of each mode and format, costs against bits, fp16 beside bf16, and the paper beside ours."""
    found = technique.section(
        data, quantization.FAMILY, "Quantization", order=20, paper=source_top1(data, quantization.FAMILY)
    )
    if found is None:
        return None
    lead, *rest = found.blocks
    rows = quantization.by_format(data)
    return Section(
        found.title, (lead, *_formats(data, rows), *_bits(data), *_floats(data, rows), *rest, *_coverage(data)),
        found.order,
    )  # fmt: skip


def _formats(data: Tables, rows: pd.DataFrame) -> list[Block]:
    twins, others = rows[rows["model"] == quantization.TWIN], rows[rows["model"] != quantization.TWIN]
    if others.empty:
        return []
    twin = None if twins.empty else twins.iloc[0]
    drawn = source_top1(data, quantization.FAMILY) if is_cifar100(data) else {}
    figure = quantization_figures.formats(others, data.baseline, twin, drawn, quantization.finding(others))
    return [
        Picture("quantization_formats", figure, FORMATS),
        *paragraphs(data, "Figure 11", strong=True),
        quantization.formats_table(data, others),
        Paragraph(quantization.verdict(data, rows), strong=True),
    ]


def _bits(data: Tables) -> list[Block]:
    points, trends = data.extra.get("bits/points"), data.extra.get("bits/trends")
    if points is None or trends is None or points.empty:
        return []
    error = trends[(trends["cost"] == "output_error_relative") & trends["slope_per_bit"].notna()]
    falls = ", ".join(f"{text.times(2 ** -r['slope_per_bit'])} per {r['granularity']}" for _, r in error.iterrows())
    finding = f"One bit more divides the error of the answers by {falls}" if falls else "Costs against bits"
    return [
        Picture("quantization_bits", quantization_figures.bits(points, finding), BITS),
        quantization.trends_table(trends),
        Paragraph(quantization.unsupported(points, trends)),
    ]


def _floats(data: Tables, rows: pd.DataFrame) -> list[Block]:
    models = rows[rows["format"].isin(("fp16", "bf16"))]
    measured = quantization.rounding(data, models["model"])
    if measured.empty:
        return []
    return [quantization.floats_table(measured, models), Paragraph(quantization.floats_words(measured))]


def _coverage(data: Tables) -> list[Block]:
    measured = quantization.rounding(data, data.models["model"])
    return [] if measured.empty else [quantization.coverage_table(measured)]
