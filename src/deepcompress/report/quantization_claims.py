"""What the source report claims of quantization (its sections 4.4 to 4.9 and 5), each beside what tests it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import cost, speed, text
from deepcompress.report.claim_rules import (
    Claim,
    Measure,
    above,
    apart,
    counted,
    difference,
    keeps,
    paired,
    row_of,
    timed,
)
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcompress.report.tables import Tables

AFTER, IN = "quantized/ptq-int4", "quantized/qat-int4"
SUBSTANTIAL = 2  # times smaller: what we take "substantial" for


def sixteen_bits_are_free(data: Tables) -> Claim:
    return keeps(data, "4.4", "Sixteen bits keep the accuracy.", "quantized/ptq-fp16")


def eight_bits_are_free(data: Tables) -> Claim:
    return keeps(data, "4.4", "Eight-bit weights keep the accuracy.", "quantized/ptq-int8")


def rounding_improves(data: Tables) -> Claim:
    said = "Training with rounded weights ends above the float model (61.85 to 64.90 % at 4 bits)."
    return paired("4.4", said, data, IN, "quantized/qat-fp32", 1)


def training_helps_few_bits_more(data: Tables) -> Claim:
    said = "Training with rounded weights gains more at 4 bits than at 16."
    names = {f"gain at {name}": name for name in ("int4", "fp16")}
    found = {label: difference(data, f"quantized/qat-{n}", f"quantized/ptq-{n}") for label, n in names.items()}
    measured = [row.to_frame().T.assign(model=label) for label, row in found.items() if row is not None]
    if len(measured) != len(names):
        return Claim("4.4", said)
    gains = pd.concat(measured, ignore_index=True)
    return above("4.4", said, gains, ("gain at int4", "gain at fp16"), Measure("difference_points", " points"))


def fp16_ends_above_bf16(data: Tables) -> Claim:
    return apart("4.4", "After training, fp16 ends above bf16.", data, "quantized/qat-fp16", "quantized/qat-bf16")


def training_beats_rounding(data: Tables) -> Claim:
    said = "Training with rounded weights keeps more than rounding afterwards."
    return paired("4.7", said, data, IN, AFTER, 1)


def four_bits_cost(data: Tables) -> Claim:
    return paired("4.8", "Four-bit weights, rounded afterwards, lose accuracy.", data, AFTER, BASELINE, -1)


def rounding_is_cheap(data: Tables) -> Claim:
    said = "Rounding afterwards costs little to make; training with rounded weights costs more."
    rows = cost.table(data)
    after, trained = row_of(rows, AFTER), row_of(rows, IN)
    if after is None or trained is None:
        return Claim("4.9", said)
    parts = [f"{row['model']}: {text.number(row['own'], 2)}·10¹² MACs of its own" for row in (after, trained)]
    return counted("4.9", said, "; ".join(parts), holds=after["own"] < trained["own"])


def fewer_bits_save_storage(data: Tables) -> Claim:
    said = "Fewer bits bring substantial storage savings (taken as half of the file or more)."
    rows = [row for model in ("quantized/ptq-int8", AFTER) if (row := row_of(data.models, model)) is not None]
    if not rows:
        return Claim("5", said)
    evidence = "; ".join(f"{row['model']}: {text.times(row['times_smaller'])} smaller" for row in rows)
    return counted("5", said, evidence, holds=all(row["times_smaller"] >= SUBSTANTIAL for row in rows))


def eight_bits_are_faster(data: Tables) -> Claim:
    said = "Fewer bits make inference faster."
    return timed(data, "5", said, "quantized/ptq-int8", faster=True, engine=speed.INT8)


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    sixteen_bits_are_free,
    eight_bits_are_free,
    rounding_improves,
    training_helps_few_bits_more,
    fp16_ends_above_bf16,
    training_beats_rounding,
    four_bits_cost,
    rounding_is_cheap,
    fewer_bits_save_storage,
    eight_bits_are_faster,
)
