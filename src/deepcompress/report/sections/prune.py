"""How much can be pruned: accuracy against sparsity, which layers, what becomes of the weights, what it saves."""

from __future__ import annotations

import math

import pandas as pd

from deepcompress.report import charts, queries, text
from deepcompress.report.claims import stored
from deepcompress.report.tables import Tables
from deepcompress.report.text import Block, Column, Paragraph, Picture, Section, Table, fold, lead

CURVE = (
    "Unstructured: share of all weights; structured: share of the convolutions' filters' weights, unless prune.*.scope "
    "says otherwise. Solid: fine-tuned; dashed: before fine-tuning. Bars: 95 % intervals."
)
FORMS = {"dense": "Dense", "bitmask": "Bitmask", "csr": "CSR", "zstd": "zstd", "bitmask_zstd": "Bitmask + zstd"}
SIZES = "All tensors of the model at 25 %, without file headers; CSR with 4-byte columns and row pointers."
SCOPES = {"all": "all convolutions and linear layers", "conv": "the convolutions alone"}
STATES = {"pruned": "fine-tuned", "masked": "before fine-tuning"}
ACROSS = 3  # histograms beside each other
ENDS = {"low": -1, "high": 1}


def prune(data: Tables) -> Section | None:
    """Accuracy of each method and sparsity before and after fine-tuning; None where nothing was pruned."""
    rows = data.of("pruned")
    if rows.empty:
        return None
    blocks = (
        lead(data, rows),
        *_curves(data),
        *_compared(data),
        *fold("Which layers can be pruned", "sensitivity", _sensitivity(data)),
        *fold("What pruning saves", "pruned_storage", _sizes(data)),
        *fold("Weights before and after pruning", "pruned_weights", _weights(data)),
    )
    return Section("How much can be pruned", blocks)


def _curves(data: Tables) -> list[Block]:
    """Both methods, before fine-tuning (dashed) and fine-tuned (solid)."""
    curves = [
        queries.curve(data, family, method).assign(method=method, state=state)
        for method in queries.METHODS
        for family, state in STATES.items()
    ]
    rows = pd.concat(curves).reset_index(drop=True)
    if rows.empty:
        return []
    labels, levels = ("sparsity", charts.TOP1), {"baseline": float(data.baseline["top1_pct"])}
    chart = charts.lines(rows, "sparsity", "top1_pct", labels, series="method", dash="state", levels=levels)
    kept = []
    for method in queries.METHODS:
        masked, tuned = (queries.at(data, family, method) for family in ("masked", "pruned"))
        if masked is not None and tuned is not None:
            after, before = (text.difference(row["difference"]) for row in (tuned, masked))
            kept.append(f"{method} {after}, before fine-tuning {before}")
    title = f"At 25 %, points to the baseline (95 %): {'; '.join(kept)}" if kept else "Accuracy against sparsity"
    return [Picture("pruning_curve", title, (chart,), CURVE)]


def _compared(data: Tables) -> list[Block]:
    """Every pruned model beside the control that was trained as long without pruning."""
    rows = data.of("pruned").sort_values(["method", "sparsity"], na_position="first")

    def before(row: pd.Series) -> str:
        masked = queries.at(data, "masked", row["method"], row["sparsity"])
        return text.MISSING if masked is None else text.accuracy(masked)

    columns: dict[str, Column] = {
        "Model": "model",
        "Before fine-tuning, top-1 % (95 %)": before,
        "Fine-tuned, top-1 % (95 %)": text.accuracy,
        "Points to baseline (95 %)": ("difference", text.difference),
        "Points to control (95 %)": ("to_control", text.difference),
        "MiB": ("size_mib", text.mebibytes),
        "MACs": ("macs", text.short),
    }
    controls = [row for method in queries.METHODS if (row := queries.at(data, "pruned", method, 0)) is not None]
    sentence = "There is no control without pruning, so what fine-tuning brings by itself is not known."
    if controls:
        sentence = (
            f"The control without pruning reaches {text.accuracy(controls[0])} %, {text.change(controls[0])}: that "
            "comes from fine-tuning alone, and must not be counted as pruning's."
        )
    return [Paragraph(sentence), Table.of(rows, columns, text.NS, "Every pruned model beside its control")]


def _sensitivity(data: Tables) -> list[Block]:
    """How much each layer minds being pruned alone, and how a sparsity was allocated per layer because of it."""
    blocks: list[Block] = []
    for method in queries.METHODS:
        rows = data.further(f"sensitivity/{method}")
        if rows.empty:
            continue
        mean = rows.groupby("layer", sort=False)["top1_pct"].mean()
        extremes = f"{mean.idxmin()} costs most, {mean.idxmax()} least"
        title = f"{method.capitalize()}: on average over this scan {extremes}"
        caption = (
            f"One layer pruned at a time by {rows['criterion'].iloc[0]}, without fine-tuning; "
            f"{int(rows['n'].iloc[0]):,} validation images; bars: one standard error."
        )
        ends = {f"top1_pct_{end}": rows["top1_pct"] + sign * rows["top1_se_pct"] for end, sign in ENDS.items()}
        labels = ("sparsity of that layer alone", charts.VALIDATION)
        chart = charts.lines(rows.assign(**ends), "sparsity", "top1_pct", labels, series="layer", shades=True)
        blocks += [Picture(f"sensitivity_{method}", title, (chart,), caption), *_allocation(data, method)]
    return blocks


def _allocation(data: Tables, method: str) -> list[Block]:
    """The sparsity that each layer was given and got, beside the source report's."""
    rows = queries.extra(data, "allocation", method)
    if rows is None:
        return []
    theirs, names = data.paper["pruned"][method], queries.source_layers(data, rows["layer"])
    stated = {layer: theirs["assigned"].get(name, math.nan) for layer, name in names.items()}
    stated[queries.OVERALL] = theirs["overall"]
    columns: dict[str, Column] = {
        "Layer": "layer",
        "Weights": lambda row: f"{row['weights']:,}",
        "Assigned": ("assigned_sparsity", 3),
        "Achieved": ("achieved_sparsity", 3),
        "Source report": lambda row: text.number(stated.get(row["layer"], math.nan), 3),
    }
    caption = f"Sparsities are shares of the weights of {SCOPES[str(rows['scope'].iloc[0])]}."
    return [Table.of(rows, columns, caption, folded=f"Sparsity per layer, {method} 25 %")]


def _sizes(data: Tables) -> list[Block]:
    """Parameters, MACs and the bytes of each way to store zeros, at 25 %."""
    found = stored(data)
    if not found:
        return []
    states = {"baseline": next(row for (_, state), row in found.items() if state == "dense")}
    for method in dict.fromkeys(method for method, _ in found):
        removed = "removed, " if method == "structured" else ""
        states[f"{method}, masked"] = found[method, "masked"]
        states[f"{method}, {removed}fine-tuned"] = found[method, "trained"]
    columns: dict[str, Column] = {
        "Model": "name",
        "Parameters": ("parameters", text.short),
        "Non-zero weights": ("nonzero_weights", text.short),
        "MACs": ("macs", text.short),
        **{f"{head}, MiB": (f"{form}_bytes", text.mib) for form, head in FORMS.items()},
    }
    return [Table.of(pd.DataFrame(states.values()).assign(name=list(states)), columns, SIZES)]


def _weights(data: Tables) -> list[Block]:
    """A small histogram per layer of the weights that are not zero, before and after each method."""
    pictures: list[Block] = []
    for method in queries.METHODS:
        if (found := queries.histograms(data, method)) is None:
            continue
        rows, sparsity = found
        drawn = {f"weights_{method}": ("masked", f"Weights after {method} pruning at {100 * sparsity:.0f} %")}
        if not pictures:
            drawn = {"weights_dense": ("dense", "Weights of the baseline"), **drawn}
        for name, (which, title) in drawn.items():
            own, family = rows[rows["state"] == which], "baseline" if which == "dense" else "pruned"
            panels = [
                charts.histogram(bins, f"{layer}, {100 * bins['zeros'].iloc[0] / bins['weights'].iloc[0]:.0f} % zeros",
                                 family=family)
                for layer, bins in own.groupby("layer", sort=False)
            ]  # fmt: skip
            caption = "Number of weights by value, a panel per layer; zeros are left out and counted in its heading."
            pictures.append(Picture(name, title, tuple(panels), caption, ACROSS))
    return pictures


SECTIONS = {"pruned": (20, prune)}
