"""How few bits: accuracy of each mode and format, costs against bits, fp16 beside bf16, and what is quantized."""

from __future__ import annotations

import pandas as pd

from deepcompress.measure.statistics import ALPHA, holm
from deepcompress.measure.verdict import GAIN, LOSS, Estimate
from deepcompress.report import charts, queries, text
from deepcompress.report.tables import Tables, between
from deepcompress.report.text import Block, Column, Paragraph, Picture, Section, Table, fold, lead

FORMATS = "PTQ rounds after training, QAT trains with rounded weights. Bars: 95 % intervals."
BITS = "Rounded after training, every layer alike, on validation images. Bars: 95 % intervals; dashed: fitted trend."
COSTS = {
    "output_error_relative": "relative error of the logits",
    "loss_increase": "increase of the cross-entropy",
    "accuracy_drop_points": "drop of top-1",
}
TRENDS = (
    "A straight line through the logarithm of each cost, over the points whose 95 % interval leaves out zero; "
    "none through fewer than three. Fit residual: root mean square, 1 = a factor of two."
)
SIXTEEN_BITS = (
    "Errors are those of the cast alone, after any training. Overflows: weights beyond the format's largest "
    "number; underflows: weights that became zero; subnormal: weights stored with fewer digits than the format "
    "has; same answer: on validation images, before and after the cast."
)
CAST: dict[str, Column] = {
    "Model": "model",
    "Largest weight error": ("weight_error_largest", text.scientific),
    "Relative weight error": ("weight_error_relative", text.scientific),
    "Overflows": ("overflows", 0),
    "Underflows": ("underflows", 0),
    "Subnormal": ("subnormals", 0),
    "Same answer, %": ("agreement_pct", 2),
    "Top-1 % (95 %)": text.accuracy,
}
COVERED: dict[str, Column] = {
    "Model": "model",
    "Bits per weight": ("bits_per_weight", 2),
    "Weights quantized %": ("weights_quantized_pct", 1),
    "MACs quantized %": ("macs_quantized_pct", 1),
    "Relative weight error": ("weight_error_relative", 4),
    "Relative logit error": ("output_error_relative", 4),
}
COVERAGE = "Bits include scales and masks. Errors: of rounding alone, relative, the logits' on validation images."


def bits(data: Tables) -> Section | None:
    """None where nothing was quantized."""
    models = data.of("quantized")
    if models.empty:
        return None
    rows, rounding = queries.by_format(data), queries.of_models(data, "rounding", data.models["model"])
    sixteen = rows[rows["format"].isin(("fp16", "bf16"))]
    cast = rounding if rounding.empty else queries.joined(sixteen, rounding)
    blocks = (
        lead(data, models),
        *_formats(data, rows),
        *fold("What each bit costs", "bits_trend", _trend(data)),
        *fold("fp16 beside bf16", "sixteen_bits", [] if cast.empty else [Table.of(cast, CAST, SIXTEEN_BITS)]),
        *([] if rounding.empty else [Table.of(rounding, COVERED, COVERAGE, "Coverage and errors of every model")]),
    )
    return Section("How few bits", blocks)


def _formats(data: Tables, rows: pd.DataFrame) -> list[Block]:
    """Both modes at every format, beside the baseline and the float control, and what the paired tests say."""
    is_control = rows["model"].isin(rows["control"])
    control, others = next((row for _, row in rows[is_control].iterrows()), None), rows[~is_control]
    if others.empty:
        return []
    integers = others[~others["format"].isin(queries.FLOATS)]
    title = "Accuracy at every format"
    if not integers.empty:
        narrowest = others[others["format"] == integers["format"].iloc[-1]]
        accuracies = [f"{row['method'].upper()} {text.number(row['top1_pct'])} %" for _, row in narrowest.iterrows()]
        title = f"{narrowest['format'].iloc[0]}: {', '.join(accuracies)} ({text.sample(others['n'].iloc[0])})"
    levels = {"baseline": float(data.baseline["top1_pct"])}
    if control is not None:
        levels["float control: as long, not rounded"] = float(control["top1_pct"])
    drawn = others.assign(mode=others["method"].str.upper())
    chart = charts.lines(drawn, "format", "top1_pct", ("format", charts.TOP1), series="mode", levels=levels)
    return [
        Picture("quantization_formats", title, (chart,), FORMATS),
        _formats_table(data, others),
        Paragraph(_verdict(data, rows, control), strong=True),
    ]


def _formats_table(data: Tables, rows: pd.DataFrame) -> Table:
    """A row per format: both accuracies, what they cost, QAT against PTQ and against the float control."""
    cells = []
    for name, some in rows.groupby("format", sort=False):
        modes = {row["method"]: row for _, row in some.iterrows()}
        found = [modes.get(mode) for mode in queries.MODES]
        ours = []
        for row in found:
            ours += [text.MISSING] * 2 if row is None else [text.accuracy(row), text.difference(row["difference"])]
        ptq, qat = found
        gains = [text.MISSING] * 2
        if qat is not None:
            references = (None if ptq is None else ptq["model"], qat["control"])
            gains = [_gain(data.differences.get((qat["model"], other))) for other in references]
        size = next(row["size_mib"] for row in found if row is not None)
        cells.append((str(name), text.mebibytes(size), *ours, *gains))
    heads = ("Format", "MiB", "PTQ, top-1 % (95 %)", "Points to baseline", "QAT, top-1 % (95 %)", "Points to baseline",
             "QAT to PTQ, points", "QAT to float control, points")  # fmt: skip
    return Table(heads, tuple(cells), f"Points: 95 % {text.intervals(data)}")


def _gain(of: Estimate | None) -> str:
    """Points with interval and p: +0.4 (−0.2 to +1.0), p = 0.213."""
    if of is None or not of.tested:
        return text.difference(of)
    p = text.probability(of.p)
    return f"{text.difference(of)}, p {'' if p.startswith('<') else '= '}{p}"


def _verdict(data: Tables, rows: pd.DataFrame, control: pd.Series | None) -> str:
    """Whether training with rounded weights brings more than training alone, by the paired tests."""
    trained = rows[(rows["method"] == "qat") & rows["control"].notna()]
    compared = between(data.differences, trained, trained["control"]).dropna()
    tested = [of.words for of in compared if of.tested]
    if compared.empty:
        return "QAT was not compared with an equally long float training, so its gains cannot be told from that."
    if not tested:
        return text.untested(compared, "training with rounded weights brings")
    better, worse = (tested.count(word) for word in (GAIN, LOSS))
    own = "" if control is None else (
        f" The control itself is at {text.difference(control['difference'], phrase=True)} points to the baseline: what "
        "fine-tuning brings by itself, and no gain of quantization."
    )  # fmt: skip
    return (
        f"Against an equally long float training, of {text.count(len(tested), 'format')} trained with rounded weights, "
        f"{better} {'is' if better == 1 else 'are'} better and {worse} worse than the float control, by p (Holm).{own}"
    )


def _trend(data: Tables) -> list[Block]:
    """Costs against the number of bits, the lines through them, and what they do not say."""
    points, trends = data.further("bits/points"), data.further("bits/trends")
    if points.empty or trends.empty:
        return []
    columns: dict[str, Column] = {
        "Cost": lambda row: COSTS.get(row["cost"], str(row["cost"])),
        "Scales": lambda row: f"per {row['granularity']}",
        "Points that differ from 0": ("points", 0),
        "Falls per bit": ("slope_per_bit", _falls),
        "Fit residual (log2 RMS)": ("residual_log2_rms", 2),
    }
    error = trends[(trends["cost"] == "output_error_relative") & trends["slope_per_bit"].notna()]
    factors = ", ".join(f"{_falls(row['slope_per_bit'])} per {row['granularity']}" for _, row in error.iterrows())
    title = f"One bit more divides the error of the logits by {factors}" if factors else "Costs against bits"
    drops = pd.Series(holm(list(points["accuracy_drop_p"])), points.index)
    lossy = points.loc[(drops < ALPHA) & (points["accuracy_drop_points"] > 0), "bits"]
    where = "At no width a" if lossy.empty else f"Above {int(lossy.max())} bits no"
    n = text.sample(points["n"].iloc[0])
    words = f"{where} drop of top-1 differs significantly from zero, by p (Holm) of all {len(points)} ({n})."
    rows = points.assign(scales="one scale per " + points["granularity"].astype(str))
    trend = rows.dropna(subset=["output_error_relative_trend"])
    fitted = trend.assign(output_error_relative=trend["output_error_relative_trend"], line="fitted")
    both, label = pd.concat([rows.assign(line="measured"), fitted]), "bits per weight, without scales"
    errors, top1 = (label, COSTS["output_error_relative"]), "validation_top1_pct"
    panels = (
        charts.lines(both, "bits", "output_error_relative", errors, series="scales", dash="line", log=True),
        charts.lines(queries.with_interval(rows, top1), "bits", top1, (label, charts.VALIDATION), series="scales"),
    )
    picture = Picture("quantization_bits", title, panels, BITS, across=2)
    return [picture, Table.of(trends, columns, TRENDS), Paragraph(words)]


def _falls(slope_per_bit: float) -> str:
    return text.times(2**-slope_per_bit)


SECTIONS = {"quantized": (30, bits)}
