"""What the page says of attention: by intervals, beside the source report, and nothing where nobody looked."""

from __future__ import annotations

import dataclasses

from deepcompress.report import attention
from deepcompress.report.sections import attention as section
from deepcompress.report.tables import Tables


def test_the_finding_names_both_ends(data: Tables) -> None:
    assert attention.finding(attention.table(data)) == (
        "quantized/ptq-int8 looks most like the baseline (SSIM 0.99), pruned/structured-0.25 least (0.60; n = 190)"
    )


def test_the_verdict_on_figure_6_follows_the_intervals(data: Tables) -> None:
    rows = attention.table(data)
    assert "Here the same is seen: SSIM 0.90 (0.88 to 0.91) unstructured" in attention.verdict(rows)
    near = rows.assign(ssim_low=0.1, ssim_high=0.99)
    assert "not told apart" in attention.verdict(near)
    turned = rows.assign(ssim=1 - rows["ssim"], ssim_low=1 - rows["ssim_high"], ssim_high=1 - rows["ssim_low"])
    assert "the opposite is seen" in attention.verdict(turned)
    assert "no counterpart" in attention.verdict(rows[rows["model"] != "pruned/structured-0.25"])


def test_the_baseline_s_maps_come_first(data: Tables) -> None:
    assert attention.maps(data)["model"].tolist()[0] == "baseline"
    built = section.build(data)
    assert built is not None
    assert [picture.name for picture in built.pictures] == ["attention_strip", "attention"]


def test_without_maps_there_is_no_section(data: Tables) -> None:
    extra = {key: rows for key, rows in data.extra.items() if key != "explain/attention"}
    assert section.build(dataclasses.replace(data, extra=extra)) is None
