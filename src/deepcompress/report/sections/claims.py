"""The source report's claims and its words on each technique (sections 4.1 to 5), beside measured rows."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import claim_rules, claims, cost, speed, text
from deepcompress.report.blocks import Block, Paragraph, Section, Table
from deepcompress.report.tables import BASELINE, Tables

CAPTION = (
    "A comparison holds where its 95 % interval lies on the claimed side of zero; two models without a paired test are "
    "told apart where their intervals do not touch. Bytes and MACs are counts: claims about them hold or fail as they "
    "stand. A technique keeps the accuracy where its whole interval lies within what deploy.max_drop_points allows. "
    "Each is tested alone: of twenty without any effect, about one seems to have one."
)
QUALITATIVE = (
    "Counterpart of sections 4.7 to 4.10: where the source report has words, here are numbers of one representative "
    "each (n = {n} held-out images). Points: to the baseline. Speed: ONNX Runtime at batch 1, against the dense float "
    "model. Cost: of all training that it needs, against the baseline's."
)
# Technique -> (representative, what the source report says of it).
TECHNIQUES = {
    "Unstructured pruning": (
        "pruned/unstructured-0.5",
        "keeps accuracy; irregular memory access, needs special hardware",
    ),
    "Structured pruning": ("pruned/structured-0.5", "faster and smaller on any hardware; loses more accuracy"),
    "Rounding to 8 bits": ("quantized/ptq-int8", "simple, cheap, little loss"),
    "Rounding to 4 bits": ("quantized/ptq-int4", "smallest; may lose accuracy"),
    "Training with 4 bits": ("quantized/qat-int4", "keeps accuracy; more involved"),
    "Distillation": ("students/hint-vgg16", "accurate small models; needs a good teacher and most compute"),
    "Pruning and quantization": ("combined/prune_quantize", "best balance; recommended"),
    "Distillation and quantization": ("combined/distill_quantize", "accurate and compact; for demanding uses"),
    "Pruning and distillation": ("combined/prune_distill", "less common; may cost capacity"),
    "All three": ("combined/prune_distill_quantize", ""),
}
HEADS = (
    "Technique",
    "Source report",
    "Measured on",
    "Points (95 %)",
    "Smaller",
    "Fewer MACs",
    "Faster",
    "Cost",
)


def build(data: Tables) -> Section | None:
    """How many claims hold, each with its evidence, and the techniques side by side; None without compressed models."""
    rows = _qualitative(data)
    if not rows:
        return None
    tested = claims.tested(data)
    counts = [
        f"{number} {words}"
        for verdict, words in (
            (claim_rules.HOLDS, "hold here"),
            (claim_rules.FAILS, "do not"),
            (claim_rules.SAME, "not told apart from chance"),
            (claim_rules.MISSING, "not measured"),
        )
        if (number := sum(one.verdict == verdict for one in tested))
    ]
    lead = f"Of {len(tested)} claims of the source report, {', '.join(counts)}."
    cells = tuple((one.where, one.said, one.verdict, one.evidence or text.MISSING) for one in tested)
    blocks: list[Block] = [
        Paragraph(lead, strong=True),
        Table(("Section", "Claim", "Verdict", "Measured"), cells, CAPTION),
        Table(HEADS, tuple(rows), QUALITATIVE.format(n=f"{int(data.baseline['n']):,}")),
    ]
    return Section("The source report's claims", tuple(blocks), order=65)


def _qualitative(data: Tables) -> list[tuple[str, ...]]:
    models, spent = data.models.set_index("model", drop=False), cost.table(data)
    total = {} if spent.empty else dict(zip(spent["model"], spent["total"], strict=True))
    base = data.baseline
    rows: list[tuple[str, ...]] = []
    for technique, (model, said) in TECHNIQUES.items():
        if model not in models.index:
            continue
        row = models.loc[[model]].iloc[0]
        dear = text.times(total[model] / total[BASELINE]) if model in total and BASELINE in total else text.MISSING
        rows.append(
            (
                technique,
                said or text.MISSING,
                model,
                text.difference(row),
                text.times(row["times_smaller"]),
                text.times(base["macs"] / row["macs"]),
                _faster(data, model),
                dear,
            )
        )
    return rows


def _faster(data: Tables, model: str) -> str:
    """The median speed-up at batch 1, of the int8 file where there is one."""
    rows = data.extra.get("benchmark/latency", pd.DataFrame(columns=["model", "engine", "batch_size"]))
    some = rows[(rows["model"] == model) & (rows["batch_size"] == 1)]
    for engine in (speed.INT8, speed.FLOAT):
        found = some[some["engine"] == engine]
        if not found.empty:
            return text.times(found["speedup"].iloc[0])
    return text.MISSING
