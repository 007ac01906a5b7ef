"""Pruned models: accuracy before and after training on, against sparsity, and beside the source report."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import pruning, pruning_figures, technique, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.tables import BASELINE, Tables

CAPTION = (
    "Counterpart of figure 10. Unstructured: share of all weights; structured: share of the convolutions' "
    "filters' weights, unless prune.*.scope says otherwise. Bars and band: 95 % Wilson intervals."
)
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
    theirs = data.paper["pruned"]
    paper = {
        BASELINE: data.paper["baseline"]["top1_pct"],
        **{
            f"pruned/{method}-{theirs['overall_sparsity']}": theirs[method]["top1_pct"]
            for method in ("unstructured", "structured")
        },
    }
    found = technique.section(data, "pruned", "Pruning", order=10, paper=paper)
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
    return [Picture("pruning_curve", figure, CAPTION)]


def _accuracies(data: Tables) -> list[Block]:
    """Counterpart of the report's figure 7."""
    rows = [cells for method in pruning.METHODS if (cells := _accuracy(data, method))]
    caption = (
        "Counterpart of figure 7. Control: the baseline trained on as long without pruning; p: McNemar's test "
        "against the baseline."
    )
    return [Table(HEADS, tuple(rows), caption), Paragraph(_control(data))] if rows else []


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
