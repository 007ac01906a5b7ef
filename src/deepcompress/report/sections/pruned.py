"""Pruned models: accuracy before and after training on, against sparsity, and beside the source report."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import pruning, pruning_figures, technique, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.claims import paragraphs
from deepcompress.report.source_report import source_top1
from deepcompress.report.tables import Tables

CAPTION = (
    "Counterpart of Figure 10 of the source report. Unstructured: share of all weights; structured: share of the "
    "convolutions' filters' weights, unless prune.*.scope says otherwise. Bars and band: 95 % Wilson intervals."
)
CURVE_HEADS = (
    "Unstructured",
    "Paper: top-1 %",
    "Here: as pruned, top-1 % (95 %)",
    "Here: trained on, top-1 % (95 %)",
    "Points to baseline (95 %)",
)
CURVE = "Its curve prints no numbers: those at 0 and 25 % are figure 7's."
HEADS = (
    "Method at 25 %",
    "Paper: top-1 %",
    "Paper: kept %",
    "Here: as pruned, top-1 % (95 %)",
    "Kept %",
    "Here: trained on, top-1 % (95 %)",
    "Kept %",
    "Points to baseline (95 %)",
    "p",
    "Points to control (95 %)",
)


def build(data: Tables) -> Section | None:
    """Cost in accuracy of each method and sparsity; the source report measured both methods at 25 %."""
    found = technique.section(data, "pruned", "Pruning", order=10, paper=source_top1(data, "pruned"))
    if found is None:
        return None
    lead, *rest = found.blocks
    return Section(found.title, (lead, *_curves(data), *_accuracies(data), *rest), found.order)


def _curves(data: Tables) -> list[Block]:
    curves = {
        (method, family): pruning.curve(data, family, method)
        for method in pruning.METHODS
        for family in ("masked", "pruned")
    }
    drawn = {key: rows for key, rows in curves.items() if not rows.empty}
    if not drawn:
        return []
    figure = pruning_figures.sparsity_accuracy(drawn, data.baseline, pruning.finding(data))
    return [Picture("pruning_curve", figure, CAPTION), *paragraphs(data, "Figure 10"), _curve(data)]


def _curve(data: Tables) -> Table:
    """The points of figure 10, its curve's where another figure prints them."""
    theirs = {0.0: data.paper["baseline"]["top1_pct"]}
    theirs[data.paper["pruned"]["overall_sparsity"]] = data.paper["pruned"]["unstructured"]["top1_pct"]
    cells = []
    for sparsity in data.paper["curve_sparsities"]:
        masked, trained = (pruning.at(data, family, "unstructured", sparsity) for family in ("masked", "pruned"))
        cells.append(
            (
                f"{100 * sparsity:.0f} %",
                text.number(theirs.get(sparsity, float("nan"))),
                *(text.MISSING if row is None else text.accuracy(row) for row in (masked, trained)),
                text.MISSING if trained is None else text.difference(trained),
            )
        )
    return Table(CURVE_HEADS, tuple(cells), CURVE, folded="Figure 10 of the source report, point by point")


def _accuracies(data: Tables) -> list[Block]:
    """Counterpart of the report's figure 7."""
    rows = [cells for method in pruning.METHODS if (cells := _accuracy(data, method))]
    caption = (
        "Counterpart of Figure 7 of the source report. Control: the baseline trained on as long without pruning; "
        "p: McNemar's test against the baseline."
    )
    if not rows:
        return []
    beside = paragraphs(data, "Figure 7", strong=True)
    return [Table(HEADS, tuple(rows), caption), *beside, Paragraph(_control(data))]


def _accuracy(data: Tables, method: str) -> tuple[str, ...] | None:
    masked, trained = pruning.at(data, "masked", method), pruning.at(data, "pruned", method)
    if masked is None or trained is None:
        return None
    theirs, base = data.paper["pruned"][method]["top1_pct"], data.paper["baseline"]["top1_pct"]
    return (
        method,
        text.number(theirs),
        text.number(100 * theirs / base),
        text.accuracy(masked),
        text.number(pruning.kept_pct(data, masked)),
        text.accuracy(trained),
        text.number(pruning.kept_pct(data, trained)),
        text.difference(trained),
        text.probability(trained["mcnemar_p"]),
        _to_control(data, str(trained["model"])),
    )


def _to_control(data: Tables, model: str) -> str:
    rows = data.pairs[data.pairs["model"] == model]
    return text.MISSING if rows.empty else text.difference(rows.iloc[0])


def _control(data: Tables) -> str:
    """What the equally long training brings without pruning."""
    rows = pd.concat([pruning.curve(data, "pruned", method) for method in pruning.METHODS])
    controls = rows[rows["sparsity"] == 0]
    if controls.empty:
        return "The sweep has no sparsity of 0, so what training on brings by itself is not known."
    row = controls.iloc[0]
    return (
        f"The control without pruning reaches {text.accuracy(row)} %: {text.difference(row)} points to the "
        "baseline come from training on alone, and must not be counted as pruning's."
    )
