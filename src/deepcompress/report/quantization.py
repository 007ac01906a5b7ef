"""What the report says of quantization: rows by format and mode, comparisons by pairs, words about trends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import text
from deepcompress.report.blocks import Table

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

FAMILY, MODES, TWIN = "quantized", ("ptq", "qat"), "quantized/qat-fp32"
FLOATS = ("fp32", "fp16", "bf16")
COSTS = {
    "output_error_relative": "relative error of the answers",
    "loss_increase": "increase of the cross-entropy",
    "accuracy_drop_points": "drop of top-1",
}
MANY_DOUBLINGS = 0.25  # a spread above this is a fifth or more off the line


def by_format(data: Tables) -> pd.DataFrame:
    """The models of the family with `mode` and `format`, floats first, then integers of falling width."""
    rows = data.of(FAMILY).copy()
    parts = rows["name"].str.partition("-")
    rows["mode"], rows["format"] = parts[0], parts[2]
    rows = rows[rows["mode"].isin(MODES)]
    return rows.sort_values("format", key=lambda column: column.map(_place), kind="stable")


def pair(data: Tables, model: str, reference: str) -> pd.Series | None:
    """The measured difference between two models on the same images, if it was asked for."""
    rows = data.pairs[(data.pairs["model"] == model) & (data.pairs["reference"] == reference)]
    return None if rows.empty else rows.iloc[0]


def compared(data: Tables, model: str, reference: str) -> str:
    """Points with interval and p: +0.4 (−0.2 to +1.0), p = 0.213."""
    row = pair(data, model, reference)
    if row is None:
        return text.MISSING
    p = text.probability(row["mcnemar_p"])
    return f"{text.difference(row)}, p {p if p.startswith('<') else f'= {p}'}"


def finding(rows: pd.DataFrame) -> str:
    """What the narrowest format keeps in either mode, as a title."""
    integers = rows[~rows["format"].isin(FLOATS)]
    if integers.empty:
        return "Accuracy at every format"
    last = integers["format"].iloc[-1]
    said = [f"{r['mode'].upper()} {text.number(r['top1_pct'])} %" for _, r in rows[rows["format"] == last].iterrows()]
    return f"{last}: {', '.join(said)} (n = {int(rows['n'].iloc[0]):,})"


def verdict(data: Tables, rows: pd.DataFrame) -> str:
    """Whether training with rounded weights brings more than training alone, by the paired tests."""
    trained = [model for model in rows.loc[rows["mode"] == "qat", "model"] if model != TWIN]
    tested = {model: row for model in trained if (row := pair(data, model, TWIN)) is not None}
    if not tested:
        return "QAT was not compared with an equally long float training, so its gains cannot be told from that."
    better = [name for name, row in tested.items() if row["difference_points_low"] > 0]
    worse = [name for name, row in tested.items() if row["difference_points_high"] < 0]
    counts = f"of {text.count(len(tested), 'format')} trained with rounded weights, {len(better)} "
    counts += f"{'is' if len(better) == 1 else 'are'} better and {len(worse)} worse than the float twin"
    twin = rows[rows["model"] == TWIN]
    alone = "" if twin.empty else f" The twin itself is at {text.difference(twin.iloc[0])} points to the baseline:"
    alone += " what training on brings by itself, and no gain of quantization." if alone else ""
    return f"Against an equally long float training, {counts} beyond the 95 % interval of the pair.{alone}"


def formats_table(data: Tables, rows: pd.DataFrame) -> Table:
    """A row per format: the paper's accuracies beside ours, QAT against PTQ and against its float twin."""
    theirs = data.paper["quantized"]
    heads = ("Format", "Paper: PTQ %", "PTQ % (95 %)", "Paper: QAT %", "QAT % (95 %)", "QAT to PTQ, points")
    cells = []
    for form in dict.fromkeys(rows["format"]):
        of_form = {row["mode"]: row for _, row in rows[rows["format"] == form].iterrows()}
        accuracies = [
            cell
            for mode in MODES
            for cell in (
                text.number(theirs[mode].get(form, math.nan)),
                text.accuracy(of_form[mode]) if mode in of_form else text.MISSING,
            )
        ]
        qat, ptq = f"{FAMILY}/qat-{form}", f"{FAMILY}/ptq-{form}"
        cells.append((form, *accuracies, compared(data, qat, ptq), compared(data, qat, TWIN)))
    caption = (
        f"Counterpart of Figure 11 of the source report; its baseline is at {text.number(theirs['baseline'])} %. "
        "Points: paired bootstrap, 95 % interval; p: McNemar's test. The paper has no float twin: "
        f"{theirs['note']}."
    )
    return Table((*heads, "QAT to float twin, points"), tuple(cells), caption)


def rounding(data: Tables, models: pd.Series) -> pd.DataFrame:
    """The rows that the quantize stage wrote of some models; empty when there are none."""
    found = {model: data.extra.get(f"rounding/{model}") for model in models}
    rows = [table.assign(model=model) for model, table in found.items() if table is not None]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def floats_table(rows: pd.DataFrame, accuracies: pd.DataFrame) -> Table:
    """fp16 beside bf16: what rounding did to the weights, and what became of the accuracy.

    Args:
        rows: Of `rounding`, of the 16-bit models.
        accuracies: Of the evaluation, the same models.
    """
    known = accuracies.set_index("model")
    cells = [
        (
            str(row["model"]).partition("/")[2],
            f"{row['weight_error_largest']:.1e}".replace("-", "−"),
            f"{row['weight_error_relative']:.1e}".replace("-", "−"),
            *(f"{int(row[count]):,}" for count in ("overflows", "underflows", "subnormals")),
            text.number(row["agreement_pct"], 2),
            text.accuracy(known.loc[row["model"]]),
        )
        for _, row in rows.iterrows()
    ]
    heads = (
        "Model",
        "Largest weight error",
        "Relative weight error",
        "Overflows",
        "Underflows",
        "Subnormal",
        "Same answer, %",
        "Top-1 % (95 %)",
    )
    caption = (
        "Errors are those of the cast alone, after any training. Overflows: weights beyond the format's largest "
        "number; underflows: weights that became zero; subnormal: weights stored with fewer digits than the format "
        "has; same answer: on validation images, before and after the cast."
    )
    return Table(heads, tuple(cells), caption)


def floats_words(rows: pd.DataFrame) -> str:
    """What the counts say of the claim that the wider range of bf16 makes it the more stable one."""
    lost = {form: int(some[["overflows", "underflows"]].sum().sum()) for form, some in rows.groupby("format")}
    ratio = rows.groupby("format")["weight_error_relative"].mean()
    if set(lost) != {"fp16", "bf16"}:
        return "Only one of the two 16-bit formats was measured."
    range_matters = "no weight" if not any(lost.values()) else text.count(sum(lost.values()), "weight")
    return (
        f"bf16 errs {text.number(ratio['bf16'] / ratio['fp16'])} times as much as fp16, whose mantissa is 3 bits "
        f"longer; the range, which is what bf16 has more of, cost {range_matters} in either. Nothing here bears on "
        "the stability of training in 16 bits: masters, activations and the optimizer are float32."
    )


def coverage_table(rows: pd.DataFrame) -> Table:
    """How much of each model is quantized, and how many bits a weight takes in the file."""
    heads = ("Model", "Bits per weight", "Weights quantized %", "MACs quantized %", "Weight error", "Answer error")
    cells = [
        (
            str(row["model"]).partition("/")[2],
            text.number(row["bits_per_weight"], 2),
            text.number(row["weights_quantized_pct"]),
            text.number(row["macs_quantized_pct"]),
            text.number(row["weight_error_relative"], 4),
            text.number(row["output_error_relative"], 4),
        )
        for _, row in rows.iterrows()
    ]
    caption = "Bits include scales and masks. Errors: of rounding alone, relative, the answers' on validation images."
    return Table(heads, tuple(cells), caption, folded="Coverage and errors of every quantized model")


def trends_table(trends: pd.DataFrame) -> Table:
    """The fitted lines: how many points carry each, how steep it is, and what it leaves."""
    cells = [
        (
            COSTS.get(str(row["cost"]), str(row["cost"])),
            f"per {row['granularity']}",
            str(int(row["points"])),
            text.MISSING if math.isnan(row["slope_per_bit"]) else text.times(2 ** -row["slope_per_bit"]),
            text.number(row["spread_doublings"], 2),
        )
        for _, row in trends.iterrows()
    ]
    heads = ("Cost", "Scales", "Points told apart from 0", "Falls per bit", "Spread, doublings")
    caption = (
        "A straight line through the logarithm of each cost, over the points whose 95 % interval leaves out zero; "
        "none through fewer than three. Spread: root mean square of the residuals, 1 = a factor of two."
    )
    return Table(heads, tuple(cells), caption)


def unsupported(points: pd.DataFrame, trends: pd.DataFrame) -> str:
    """What these measurements do not say, in plain words."""
    n = int(points["n"].iloc[0])
    weak = trends[trends["slope_per_bit"].isna()]
    loose = trends[trends["spread_doublings"] > MANY_DOUBLINGS]
    said = [f"One model on one data set, {n:,} validation images: how the cost depends on the size of either is open"]
    for some, what in ((weak, "too few points differ from zero to carry a trend"), (loose, "the line fits poorly")):
        if not some.empty:
            names = ", ".join(f"{COSTS[row['cost']]} per {row['granularity']}" for _, row in some.iterrows())
            said.append(f"{what}: {names}")
    apart = points[points["accuracy_drop_points_told_apart"].astype(bool)]
    widest = int(apart["bits"].max()) if not apart.empty else None
    drop = f"above {widest} bits no drop" if widest else "at no width a drop"
    said.append(f"{drop} of top-1 is told apart from zero, so a claim of more or less accuracy there has no ground")
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in said) + "."


def _place(form: str) -> tuple[int, int]:
    if form in FLOATS:
        return 0, FLOATS.index(form)
    digits = form.removeprefix("int")
    return 1, -int(digits) if digits.isdigit() else 0
