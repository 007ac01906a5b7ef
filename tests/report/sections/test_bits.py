"""Words, tables and figures about quantized models, from made-up tables of every kind that stages write."""

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import tables
from deepcompress.report.sections import bits
from deepcompress.report.tables import Tables
from deepcompress.report.text import Section, Table
from tests.report import made_up
from tests.report.sections.looking import column, pictures_of, tables_of, text_of

FORMATS = ("fp16", "bf16", "int8", "int4")
RIGHT = {"fp16": (873, 880), "bf16": (873, 880), "int8": (871, 881), "int4": (798, 862)}
MODELS = made_up.BASELINE | {
    f"quantized/{mode}-{form}": (RIGHT[form][i], {"fp16": 2.0, "bf16": 2.0, "int8": 3.9, "int4": 6.9}[form])
    for i, mode in enumerate(("ptq", "qat"))
    for form in FORMATS
}
MODELS |= {"quantized/qat-fp32": (882, 1.0)}
PAIRS = {
    ("quantized/qat-int4", "quantized/ptq-int4"): made_up.apart(4.0, 8.8, 0.00001),
    ("quantized/qat-int4", "quantized/qat-fp32"): made_up.apart(-3.1, -0.9, 0.001),
    ("quantized/qat-int8", "quantized/ptq-int8"): made_up.apart(-0.2, 2.2),
    ("quantized/qat-int8", "quantized/qat-fp32"): made_up.apart(-0.6, 0.4),
}


def points() -> pd.DataFrame:
    """What the bits stage writes."""
    rows = []
    for granularity in ("channel", "group"):
        for width in range(2, 9):
            error = 0.8 * 2.0 ** (2 - width)
            rows.append(
                {
                    "bits": width, "granularity": granularity, "n": 500,
                    "validation_top1_pct": 96.0 if width > 3 else 80.0, "output_error_relative": error,
                    "output_error_relative_trend": error * 1.1, "accuracy_drop_points": 16.0 if width < 4 else 0.1,
                    "accuracy_drop_p": 0.001 if width < 4 else 0.02,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def trends() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("channel", "output_error_relative", 7, -1.0, 0.1),
            ("channel", "loss_increase", 3, -2.5, 0.4),
            ("channel", "accuracy_drop_points", 2, None, None),
            ("group", "output_error_relative", 7, -0.9, 0.05),
        ],
        columns=["granularity", "cost", "points", "slope_per_bit", "residual_log2_rms"],
    )


def rounding(model: str) -> pd.DataFrame:
    form = model.rpartition("-")[2]
    return pd.DataFrame(
        {
            "format": [form], "weight_error_largest": [1.2e-3],
            "weight_error_relative": [1.6e-3 if form == "bf16" else 2.0e-4], "overflows": [0], "underflows": [0],
            "subnormals": [512], "agreement_pct": [99.9], "bits_per_weight": [16.0],
            "weights_quantized_pct": [100.0], "macs_quantized_pct": [100.0], "output_error_relative": [1e-3],
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    data = tables.read(made_up.write(tmp_path_factory.mktemp("quantized"), MODELS))
    extra = {"bits/points": points(), "bits/trends": trends()}
    extra |= {f"rounding/{model}": rounding(model) for model in MODELS if model != "baseline"}
    return made_up.with_differences(dataclasses.replace(data, extra=extra), PAIRS)


@pytest.fixture(scope="module")
def section(everything: Tables) -> Section:
    built = bits.bits(everything)
    assert built is not None
    return built


def table(section: Section, column: str) -> Table:
    """The table that has a column."""
    return next(shown for shown in tables_of(section) if column in shown.columns)


def sentence(data: Tables, words: str) -> str:
    """The paragraph that holds some words; empty without any."""
    return next((shown for shown in text_of(bits.bits(data)) if words in shown), "")


def test_a_format_has_what_it_costs_and_both_comparisons(section: Section) -> None:
    rows = {row[0]: row for row in table(section, "Format").rows}
    assert list(rows) == list(FORMATS)
    assert rows["int4"][:4] == ("int4", "1.35", "79.8 (77.2 to 82.2)", "−7.5 (−8.6 to −6.4)")
    assert rows["int4"][6:] == ("+6.4 (+4.0 to +8.8), p < 0.001", "−2.0 (−3.1 to −0.9), p = 0.001")
    assert rows["fp16"][6:] == ("–", "–")


def test_the_float_control_is_drawn_as_a_line_and_not_as_a_format(section: Section) -> None:
    formats = pictures_of(section)[0]
    assert column(formats, "format") == list(FORMATS)
    (levels,) = [layer["data"]["values"] for layer in formats.panels[0]["layer"] if "data" in layer]
    assert [level["level"] for level in levels] == [87.3, pytest.approx(88.2)]


def test_the_verdict_counts_against_the_float_control(everything: Tables) -> None:
    verdict = sentence(everything, "Against an equally long float training")
    assert "of 2 formats trained with rounded weights, 0 are better and 1 worse than the float control" in verdict
    assert "The control itself is at +0.9 (−0.2 to +2.0) points to the baseline" in verdict


@pytest.mark.parametrize(
    ("model", "verdict"), [("none", "cannot be told from that"), ("quantized/qat-int8", "0 are better and 0 worse")]
)
def test_neither_a_missing_pair_nor_a_tie_is_called_a_gain(everything: Tables, model: str, verdict: str) -> None:
    pairs = {pair: of for pair, of in PAIRS.items() if pair[0] == model}
    assert sentence(made_up.with_differences(everything, pairs), verdict)


def test_a_trend_is_told_with_its_points_and_its_residual(section: Section) -> None:
    shown = table(section, "Fit residual (log2 RMS)")
    assert shown.rows[0] == ("relative error of the logits", "per channel", "7", "2.0×", "0.10")
    assert shown.rows[2] == ("drop of top-1", "per channel", "2", "–", "–")


def test_what_the_data_do_not_support_is_said(everything: Tables) -> None:
    assert sentence(
        everything, "Above 3 bits no drop of top-1 differs significantly from zero, by p (Holm) of all 14 (n = 500)."
    )
    none = points().assign(accuracy_drop_p=0.02)
    lossless = made_up.with_tables(everything, {"bits/points": none})
    assert sentence(lossless, "At no width a drop of top-1 differs significantly from zero")


def test_fp16_and_bf16_are_compared_by_counts(section: Section) -> None:
    rows = table(section, "Overflows").rows
    assert [row[0].partition("/")[2] for row in rows] == ["ptq-fp16", "qat-fp16", "ptq-bf16", "qat-bf16"]
    assert rows[0][1:6] == ("1.2e−03", "2.0e−04", "0", "0", "512")


def test_coverage_is_folded_away(section: Section) -> None:
    last = section.blocks[-1]
    assert isinstance(last, Table)
    assert last.folded.startswith("Coverage")
    assert len(last.rows) == 9


def test_without_further_tables_the_accuracies_are_shown_all_the_same(everything: Tables) -> None:
    built = bits.bits(made_up.with_differences(dataclasses.replace(everything, extra={}), {}))
    assert [picture.name for picture in pictures_of(built)] == ["quantization_formats"]
