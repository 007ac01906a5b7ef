"""How much can be pruned: accuracy against sparsity, which layers, what becomes of the weights, what it saves."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import charts, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table, fold
from deepcompress.report.claims import state, stored
from deepcompress.report.sections import _parts
from deepcompress.report.tables import BYTES_PER_MIB, Tables

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
        _parts.lead(data, rows),
        *_curves(data),
        *_compared(data),
        *fold("Which layers can be pruned", "sensitivity", _sensitivity(data)),
        *fold("What pruning saves", "pruned_storage", _storage(data)),
        *fold("Weights before and after pruning", "pruned_weights", _weights(data)),
    )
    return Section("How much can be pruned", blocks)


def _curves(data: Tables) -> list[Block]:
    """Both methods, before fine-tuning (dashed) and fine-tuned (solid)."""
    both = [(method, family) for method in queries.METHODS for family in STATES]
    curves = [
        rows.assign(method=method, state=STATES[family])
        for method, family in both
        if not (rows := queries.curve(data, family, method)).empty
    ]
    if not curves:
        return []
    rows = pd.concat(curves).reset_index(drop=True)
    labels, levels = ("sparsity", charts.TOP1), {"baseline": float(data.baseline["top1_pct"])}
    chart = charts.lines(rows, "sparsity", "top1_pct", labels, series="method", dash="state", levels=levels)
    return [Picture("pruning_curve", _finding(data), (chart,), CURVE)]


def _finding(data: Tables) -> str:
    """How much of the baseline's accuracy each method keeps at the source report's sparsity, fine-tuned and not."""
    kept = []
    for method in queries.METHODS:
        masked, tuned = (queries.at(data, family, method) for family in ("masked", "pruned"))
        if masked is not None and tuned is not None:
            before, after = (text.number(queries.kept_pct(data, row)) for row in (masked, tuned))
            kept.append(f"{method} keeps {after} % of the baseline's accuracy ({before} % before fine-tuning)")
    return f"At 25 %: {', '.join(kept)}" if kept else "Accuracy against sparsity"


def _compared(data: Tables) -> list[Block]:
    """Every pruned model beside the control that was trained as long without pruning."""
    rows = data.of("pruned").sort_values(["method", "sparsity"], na_position="first")
    to_control = queries.to_control(data, rows)
    columns = {
        "Model": list(rows["model"]),
        "Before fine-tuning, top-1 % (95 %)": [_before(data, row) for _, row in rows.iterrows()],
        "Fine-tuned, top-1 % (95 %)": [text.accuracy(row) for _, row in rows.iterrows()],
        "Points to baseline (95 %)": [text.difference(row) for _, row in rows.iterrows()],
        "Points to control (95 %)": [text.difference(row) for _, row in to_control.iterrows()],
        "MiB": [text.number(size, 2) for size in rows["size_mib"]],
        "MACs": [text.short(n) for n in rows["macs"]],
    }
    controls = [row for method in queries.METHODS if (row := queries.at(data, "pruned", method, 0)) is not None]
    sentence = "There is no control without pruning, so what fine-tuning brings by itself is not known."
    if controls:
        sentence = (
            f"The control without pruning reaches {text.accuracy(controls[0])} %: {text.difference(controls[0])} points"
            " to the baseline come from fine-tuning alone, and must not be counted as pruning's."
        )
    return [Paragraph(sentence), Table.of(columns, folded="Every pruned model beside its control")]


def _before(data: Tables, row: pd.Series) -> str:
    masked = queries.at(data, "masked", row["method"], row["sparsity"])
    return text.MISSING if masked is None else text.accuracy(masked)


def _sensitivity(data: Tables) -> list[Block]:
    """How much each layer minds being pruned alone, and how a sparsity was allocated per layer because of it."""
    blocks: list[Block] = []
    for method in queries.METHODS:
        rows = data.extra.get(f"sensitivity/{method}")
        if rows is None or rows.empty:
            continue
        most, least = queries.most_sensitive(rows)
        title = f"{method.capitalize()}: {most} is the most sensitive layer, {least} the least"
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
    theirs, names = data.paper["pruned"][method], queries.source_layers(list(rows["layer"]))
    given = [theirs["assigned"].get(names.get(str(layer), ""), theirs["overall"]) for layer in rows["layer"]]
    columns = {
        "Layer": list(rows["layer"]),
        "Weights": [f"{n:,}" for n in rows["weights"]],
        "Assigned": [f"{share:.3f}" for share in rows["assigned_sparsity"]],
        "Achieved": [f"{share:.3f}" for share in rows["achieved_sparsity"]],
        "Source report": [f"{share:.3f}" for share in given],
    }
    caption = f"Sparsities are shares of the weights of {SCOPES[str(rows['scope'].iloc[0])]}."
    return [Table.of(columns, caption, folded=f"Sparsity per layer, {method} 25 %")]


def _storage(data: Tables) -> list[Block]:
    """Bytes of each way to store zeros, and operations, at 25 %."""
    by_method = stored(data)
    return [Paragraph(_saved(by_method), strong=True), _sizes(by_method)] if by_method else []


def _saved(by_method: dict[str, pd.DataFrame]) -> str:
    states = {method: [state(rows, name) for name in ("dense", "trained")] for method, rows in by_method.items()}
    parts = []
    if "unstructured" in states:
        dense, sparse = states["unstructured"]
        bitmask, csr = (text.percent(sparse[f"{form}_bytes"], dense["dense_bytes"]) for form in ("bitmask", "csr"))
        parts.append(
            f"At 25 % unstructured a bitmask takes {bitmask} % of the dense bytes and CSR {csr} %, no MAC saved"
        )
    if "structured" in states:
        dense, small = states["structured"]
        size, macs = (text.percent(small[name], dense[name]) for name in ("dense_bytes", "macs"))
        parts.append(f"structured 25 % leaves {size} % of the bytes and {macs} % of the MACs, in a plain file")
    return "; ".join(parts) + "."


def _sizes(by_method: dict[str, pd.DataFrame]) -> Table:
    """Parameters, MACs and the bytes of each way to store zeros."""
    states = {"baseline": state(next(iter(by_method.values())), "dense")}
    for method, rows in by_method.items():
        states[f"{method}, masked"] = state(rows, "masked")
        removed = "removed, " if method == "structured" else ""
        states[f"{method}, {removed}fine-tuned"] = state(rows, "trained")
    counts = {"Parameters": "parameters", "Non-zero weights": "nonzero_weights", "MACs": "macs"}
    columns = {"Model": list(states)}
    columns |= {head: [text.short(row[name]) for row in states.values()] for head, name in counts.items()}
    for form, head in FORMS.items():
        columns[f"{head}, MiB"] = [text.number(row[f"{form}_bytes"] / BYTES_PER_MIB, 2) for row in states.values()]
    return Table.of(columns, SIZES)


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
