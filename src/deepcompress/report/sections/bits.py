"""How few bits: accuracy of each mode and format, costs against bits, fp16 beside bf16, and what is quantized."""

from __future__ import annotations

import math

import pandas as pd

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import charts, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table, fold
from deepcompress.report.sections import _parts
from deepcompress.report.tables import Tables

FORMATS = "PTQ rounds after training, QAT trains with rounded weights. Bars: 95 % intervals."
BITS = "Rounded after training, every layer alike, on validation images. Bars: 95 % intervals; dashed: fitted trend."
COSTS = {
    "output_error_relative": "relative error of the logits",
    "loss_increase": "increase of the cross-entropy",
    "accuracy_drop_points": "drop of top-1",
}
TREND_HEADS = ("Cost", "Scales", "Points that differ from 0", "Falls per bit", "Fit residual (log2 RMS)")
TRENDS = (
    "A straight line through the logarithm of each cost, over the points whose 95 % interval leaves out zero; "
    "none through fewer than three. Fit residual: root mean square, 1 = a factor of two."
)
LOOSE = 0.25  # a fit residual above this is a fifth or more off the line
SIXTEEN_BITS = (
    "Errors are those of the cast alone, after any training. Overflows: weights beyond the format's largest "
    "number; underflows: weights that became zero; subnormal: weights stored with fewer digits than the format "
    "has; same answer: on validation images, before and after the cast."
)
WRITTEN = (text.accuracy, text.difference)  # of each mode
COVERAGE = "Bits include scales and masks. Errors: of rounding alone, relative, the logits' on validation images."


def bits(data: Tables) -> Section | None:
    """None where nothing was quantized."""
    models = data.of("quantized")
    if models.empty:
        return None
    rows, rounding = queries.by_format(data), queries.of_models(data, "rounding", data.models["model"])
    blocks = (
        _parts.lead(data, models),
        *_formats(data, rows),
        *fold("What each bit costs", "bits_trend", _trend(data)),
        *fold("fp16 beside bf16", "sixteen_bits", _sixteen_bits(rows, rounding)),
        *([] if rounding.empty else [_coverage(rounding)]),
    )
    return Section("How few bits", blocks)


def _formats(data: Tables, rows: pd.DataFrame) -> list[Block]:
    """Both modes at every format, beside the baseline and the float control, and what the paired tests say."""
    is_control = rows["model"].isin(rows["control"])
    controls, others = rows[is_control], rows[~is_control]
    if others.empty:
        return []
    control = None if controls.empty else controls.iloc[0]
    integers = others[~others["format"].isin(queries.FLOATS)]
    title = "Accuracy at every format"
    if not integers.empty:
        narrowest = others[others["format"] == integers["format"].iloc[-1]]
        accuracies = [f"{row['method'].upper()} {text.number(row['top1_pct'])} %" for _, row in narrowest.iterrows()]
        title = f"{narrowest['format'].iloc[0]}: {', '.join(accuracies)} (n = {int(others['n'].iloc[0]):,})"
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
    for name in dict.fromkeys(rows["format"]):
        modes = {row["method"]: row for _, row in rows[rows["format"] == name].iterrows()}
        qat, ptq = modes.get("qat"), modes.get("ptq")
        sizes = [text.number(row["size_mib"], 2) for row in (ptq, qat) if row is not None][:1]
        ours = [write(modes[mode]) if mode in modes else text.MISSING for mode in queries.MODES for write in WRITTEN]
        references = (None if ptq is None else ptq["model"], None if qat is None else qat["control"])
        gains = [text.MISSING if qat is None else _gain(data, qat["model"], other) for other in references]
        cells.append((str(name), *sizes, *ours, *gains))
    heads = ("Format", "MiB", "PTQ, top-1 % (95 %)", "Points to baseline", "QAT, top-1 % (95 %)", "Points to baseline",
             "QAT to PTQ, points", "QAT to float control, points")  # fmt: skip
    return Table(heads, tuple(cells), "Points: 95 % interval; p: McNemar's test.")


def _gain(data: Tables, model: str, reference: object) -> str:
    """Points with interval and p: +0.4 (−0.2 to +1.0), p = 0.213."""
    row = queries.pair(data, model, reference)
    if row is None:
        return text.MISSING
    p = text.probability(row["mcnemar_p"])
    return f"{text.difference(row)}, p {p if p.startswith('<') else f'= {p}'}"


def _verdict(data: Tables, rows: pd.DataFrame, control: pd.Series | None) -> str:
    """Whether training with rounded weights brings more than training alone, by the paired tests."""
    trained = rows[(rows["method"] == "qat") & rows["control"].notna()]
    tested = queries.to_control(data, trained).dropna(subset=["difference_points"])
    if tested.empty:
        return "QAT was not compared with an equally long float training, so its gains cannot be told from that."
    better = int((tested["difference_points_low"] > 0).sum())
    worse = int((tested["difference_points_high"] < 0).sum())
    sentence = (
        f"Against an equally long float training, of {text.count(len(tested), 'format')} trained with rounded weights, "
        f"{better} {'is' if better == 1 else 'are'} better and {worse} worse than the float control beyond the 95 % "
        "interval of the pair."
    )
    if control is None:
        return sentence
    return (
        f"{sentence} The control itself is at {text.difference(control)} points to the baseline: what fine-tuning "
        "brings by itself, and no gain of quantization."
    )


def _trend(data: Tables) -> list[Block]:
    """Costs against the number of bits, the lines through them, and what they do not say."""
    points, trends = data.extra.get("bits/points"), data.extra.get("bits/trends")
    if points is None or trends is None or points.empty:
        return []
    falls = [text.MISSING if math.isnan(slope) else text.times(2**-slope) for slope in trends["slope_per_bit"]]
    trends = trends.assign(falls=falls, name=[COSTS.get(str(cost), str(cost)) for cost in trends["cost"]])
    cells = [
        (row["name"], f"per {row['granularity']}", str(int(row["points"])), row["falls"],
         text.number(row["spread_doublings"], 2))
        for _, row in trends.iterrows()
    ]  # fmt: skip
    error = trends[(trends["cost"] == "output_error_relative") & trends["slope_per_bit"].notna()]
    factors = ", ".join(f"{row['falls']} per {row['granularity']}" for _, row in error.iterrows())
    title = f"One bit more divides the error of the logits by {factors}" if factors else "Costs against bits"
    return [
        Picture("quantization_bits", title, _trend_panels(points), BITS, across=2),
        Table(TREND_HEADS, tuple(cells), TRENDS),
        Paragraph(_unsupported(points, trends)),
    ]


def _trend_panels(points: pd.DataFrame) -> tuple[charts.Spec, ...]:
    """Error of the logits with its trend, and validation accuracy, against the bits."""
    rows = points.assign(scales="one scale per " + points["granularity"].astype(str))
    trend = rows.dropna(subset=["output_error_relative_trend"])
    fitted = trend.assign(output_error_relative=trend["output_error_relative_trend"], line="fitted")
    both = pd.concat([rows.assign(line="measured"), fitted])
    bounds = [
        wilson_interval(round(top1 * n / 100), int(n))
        for top1, n in zip(rows["validation_top1_pct"], rows["n"], strict=True)
    ]
    ends = {f"validation_top1_pct_{end}": [100 * bound[i] for bound in bounds] for i, end in enumerate(("low", "high"))}
    label = "bits per weight, without scales"
    errors = (label, "relative error of the logits")
    return (
        charts.lines(both, "bits", "output_error_relative", errors, series="scales", dash="line", log=True),
        charts.lines(rows.assign(**ends), "bits", "validation_top1_pct", (label, charts.VALIDATION), series="scales"),
    )


def _unsupported(points: pd.DataFrame, trends: pd.DataFrame) -> str:
    """What these measurements do not say, in plain words."""
    weak, loose = trends[trends["slope_per_bit"].isna()], trends[trends["spread_doublings"] > LOOSE]
    n = int(points["n"].iloc[0])
    sentences = [
        f"One model on one data set, {n:,} validation images: how the cost depends on the size of either is open"
    ]
    reasons = {"Too few points differ from zero to carry a trend": weak, "The line fits poorly": loose}
    for reason, rows in reasons.items():
        if not rows.empty:
            names = ", ".join(f"{row['name']} per {row['granularity']}" for _, row in rows.iterrows())
            sentences.append(f"{reason}: {names}")
    lossy = points.loc[points["accuracy_drop_points_told_apart"].astype(bool), "bits"]
    where = "At no width" if lossy.empty else f"Above {int(lossy.max())} bits no"
    drop = "a drop of top-1 differs" if lossy.empty else "drop of top-1 differs"
    sentences.append(f"{where} {drop} significantly from zero, so a claim of more or less accuracy there has no ground")
    return ". ".join(sentences) + "."


def _sixteen_bits(rows: pd.DataFrame, rounding: pd.DataFrame) -> list[Block]:
    """fp16 beside bf16: what rounding did to the weights, and what became of the accuracy."""
    models = rows[rows["format"].isin(("fp16", "bf16"))].set_index("model")
    if rounding.empty or models.empty or not rounding["model"].isin(models.index).any():
        return []
    written = rounding.set_index("model")
    written = written.loc[[model for model in models.index if model in written.index]]
    counts = {"Overflows": "overflows", "Underflows": "underflows", "Subnormal": "subnormals"}
    errors = {"Largest weight error": "weight_error_largest", "Relative weight error": "weight_error_relative"}
    columns = {"Model": list(written["name"])}
    columns |= {head: [f"{value:.1e}".replace("-", "−") for value in written[name]] for head, name in errors.items()}
    columns |= {head: [f"{int(n):,}" for n in written[name]] for head, name in counts.items()}
    columns["Same answer, %"] = [text.number(share, 2) for share in written["agreement_pct"]]
    columns["Top-1 % (95 %)"] = [text.accuracy(models.loc[model]) for model in written.index]
    return [Table.of(columns, SIXTEEN_BITS), Paragraph(_ranges(written))]


def _ranges(written: pd.DataFrame) -> str:
    """What the counts say of the claim that the wider range of bf16 makes it the more stable one."""
    lost = written.groupby("format")[["overflows", "underflows"]].sum().sum(axis=1)
    error = written.groupby("format")["weight_error_relative"].mean()
    if set(lost.index) != {"fp16", "bf16"}:
        return "Only one of the two 16-bit formats was measured."
    weights = "no weight" if not lost.any() else text.count(int(lost.sum()), "weight")
    return (
        f"bf16 errs {text.number(error['bf16'] / error['fp16'])} times as much as fp16, whose mantissa is 3 bits "
        f"longer; the range, which is what bf16 has more of, cost {weights} in either. Nothing here bears on "
        "the stability of training in 16 bits: masters, activations and the optimizer are float32."
    )


def _coverage(rows: pd.DataFrame) -> Table:
    """How much of each model is quantized, and how many bits a weight takes in the file."""
    numbers = {
        "Bits per weight": ("bits_per_weight", 2),
        "Weights quantized %": ("weights_quantized_pct", 1),
        "MACs quantized %": ("macs_quantized_pct", 1),
        "Relative weight error": ("weight_error_relative", 4),
        "Relative logit error": ("output_error_relative", 4),
    }
    columns = {"Model": list(rows["model"])}
    columns |= {head: [text.number(value, digits) for value in rows[name]] for head, (name, digits) in numbers.items()}
    return Table.of(columns, COVERAGE, folded="Coverage and errors of every quantized model")


SECTIONS = {"quantized": (30, bits)}
