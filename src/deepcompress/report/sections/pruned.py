"""Pruning: how much each layer minds it, accuracy against sparsity, what becomes of the weights, what it saves."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import figures, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.claims import aspect_table, paragraphs, state, stored
from deepcompress.report.sections import families
from deepcompress.report.tables import BYTES_PER_MIB, Tables

CURVE = (
    "Counterpart of Figure 10 of the source report. Unstructured: share of all weights; structured: share of the "
    "convolutions' filters' weights, unless prune.*.scope says otherwise. Bars and band: 95 % Wilson intervals."
)
CURVE_HEADS = (
    "Unstructured",
    "Source report: top-1 %",
    "Here: before fine-tuning, top-1 % (95 %)",
    "Here: fine-tuned, top-1 % (95 %)",
    "Points to baseline (95 %)",
)
FIGURE_7 = (
    "Counterpart of Figure 7 of the source report. Control: the baseline fine-tuned as long without pruning; "
    "p: McNemar's test against the baseline."
)
FIGURE_7_HEADS = (
    "Method at 25 %",
    "Source report: top-1 %",
    "Source report: kept %",
    "Here: before fine-tuning, top-1 % (95 %)",
    "Kept %",
    "Here: fine-tuned, top-1 % (95 %)",
    "Kept %",
    "Points to baseline (95 %)",
    "p",
    "Points to control (95 %)",
)
FORMS = {"dense": "Dense", "bitmask": "Bitmask", "csr": "CSR", "zstd": "zstd", "bitmask_zstd": "Bitmask + zstd"}
SIZES = "All tensors of the model at 25 %, without file headers; CSR with 4-byte columns and row pointers."
FIGURE_8 = (
    "Counterpart of Figure 8 (storage) of the source report, MiB of weights held dense: 4 bytes for a zero "
    "as for any weight, so nothing is saved. Its times stand under Speed."
)
SCOPES = {"all": "all convolutions and linear layers", "conv": "the convolutions alone"}
SCANS = {"unstructured": "Figure 4", "structured": "Figure 5"}
ALLOCATIONS = {"unstructured": "Table 1", "structured": "Table 2"}


def sensitivity(data: Tables) -> Section | None:
    """How much each layer minds being pruned alone, and how a sparsity was allocated per layer because of it."""
    blocks: list[Block] = []
    for method in queries.METHODS:
        rows = data.extra.get(f"sensitivity/{method}")
        if rows is None or rows.empty:
            continue
        most, least = queries.most_sensitive(rows)
        title = f"{method.capitalize()}: {most} is the most sensitive layer, {least} the least"
        caption = (
            f"Counterpart of {SCANS[method]} of the source report. One layer pruned at a time by "
            f"{rows['criterion'].iloc[0]}, without fine-tuning; {int(rows['n'].iloc[0]):,} validation images; bars: "
            "one standard error."
        )
        picture = Picture(f"sensitivity_{method}", figures.sensitivity_curves(rows, title), caption)
        blocks += [*paragraphs(data, SCANS[method], strong=True), picture, *_allocation(data, method)]
    return Section("Which layers can be pruned", tuple(blocks)) if blocks else None


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
        "Here: assigned": [f"{share:.3f}" for share in rows["assigned_sparsity"]],
        "Here: achieved": [f"{share:.3f}" for share in rows["achieved_sparsity"]],
        "Source report: assigned and achieved": [f"{share:.3f}" for share in given],
    }
    number, scope = ALLOCATIONS[method], SCOPES[str(rows["scope"].iloc[0])]
    caption = f"Counterpart of {number} of the source report. Sparsities are shares of the weights of {scope}."
    return [*paragraphs(data, number), Table.of(columns, caption, folded=f"Sparsity per layer, {method} 25 %")]


def pruned(data: Tables) -> Section | None:
    """Accuracy of each method and sparsity before and after fine-tuning, and beside the source report's at 25 %."""
    rows = data.of("pruned")
    if rows.empty:
        return None
    blocks = (
        families.lead(data, rows),
        *_curves(data),
        *_at_a_quarter(data),
        *families.against_baseline(data, rows, there=True),
    )
    return Section("Pruning", blocks)


def _curves(data: Tables) -> list[Block]:
    """Counterpart of figure 10: all curves, and the points of the source report's."""
    both = [(method, family) for method in queries.METHODS for family in ("masked", "pruned")]
    curves = {key: rows for key in both if not (rows := queries.curve(data, key[1], key[0])).empty}
    if not curves:
        return []
    theirs = {0.0: data.paper["baseline"]["top1_pct"]}
    theirs[data.paper["pruned"]["overall_sparsity"]] = data.paper["pruned"]["unstructured"]["top1_pct"]
    cells = []
    for sparsity in data.paper["curve_sparsities"]:
        masked, tuned = (queries.at(data, family, "unstructured", sparsity) for family in ("masked", "pruned"))
        cells.append(
            (
                f"{100 * sparsity:.0f} %",
                text.number(theirs.get(sparsity, float("nan"))),
                *(text.MISSING if row is None else text.accuracy(row) for row in (masked, tuned)),
                text.MISSING if tuned is None else text.difference(tuned),
            )
        )
    caption, folded = (
        "Its curve prints no numbers: those at 0 and 25 % are figure 7's.",
        "Figure 10 of the source report, point by point",
    )
    figure = figures.sparsity_accuracy(curves, data.baseline, _finding(data))
    return [
        Picture("pruning_curve", figure, CURVE),
        *paragraphs(data, "Figure 10"),
        Table(CURVE_HEADS, tuple(cells), caption, folded),
    ]


def _finding(data: Tables) -> str:
    """How much of the baseline's accuracy each method keeps at the source report's sparsity, fine-tuned and not."""
    kept = []
    for method in queries.METHODS:
        masked, tuned = (queries.at(data, family, method) for family in ("masked", "pruned"))
        if masked is not None and tuned is not None:
            before, after = (text.number(queries.kept_pct(data, row)) for row in (masked, tuned))
            kept.append(f"{method} keeps {after} % of the baseline's accuracy ({before} % before fine-tuning)")
    return f"At 25 %: {', '.join(kept)}" if kept else "Accuracy against sparsity"


def _at_a_quarter(data: Tables) -> list[Block]:
    """Counterpart of figure 7: both methods at 25 %, beside the control that was not pruned."""
    base, cells = data.paper["baseline"]["top1_pct"], []
    for method in queries.METHODS:
        masked, tuned = (queries.at(data, family, method) for family in ("masked", "pruned"))
        if masked is None or tuned is None:
            continue
        theirs = data.paper["pruned"][method]["top1_pct"]
        control = queries.pair(data, tuned["model"], tuned["control"])
        cells.append(
            (
                method,
                text.number(theirs),
                text.number(100 * theirs / base),
                text.accuracy(masked),
                text.number(queries.kept_pct(data, masked)),
                text.accuracy(tuned),
                text.number(queries.kept_pct(data, tuned)),
                text.difference(tuned),
                text.probability(tuned["mcnemar_p"]),
                text.MISSING if control is None else text.difference(control),
            )
        )
    if not cells:
        return []
    table = Table(FIGURE_7_HEADS, tuple(cells), FIGURE_7)
    return [table, *paragraphs(data, "Figure 7", strong=True), Paragraph(_control(data))]


def _control(data: Tables) -> str:
    """What the equally long training brings without pruning."""
    controls = [row for method in queries.METHODS if (row := queries.at(data, "pruned", method, 0)) is not None]
    if not controls:
        return "There is no control without pruning, so what fine-tuning brings by itself is not known."
    return (
        f"The control without pruning reaches {text.accuracy(controls[0])} %: {text.difference(controls[0])} points to "
        "the baseline come from fine-tuning alone, and must not be counted as pruning's."
    )


def weights(data: Tables) -> Section | None:
    """Histograms of the weights before, after unstructured and after structured pruning; None while nothing was."""
    pictures: list[Picture] = []
    for method, number in (("unstructured", 2), ("structured", 3)):
        if (found := queries.histograms(data, method)) is None:
            continue
        rows, sparsity = found
        drawn = {f"weights_{method}": ("masked", f"Weights after {method} pruning at {100 * sparsity:.0f} %", number)}
        if not pictures:
            drawn = {"weights_dense": ("dense", "Weights of the baseline", 1), **drawn}
        for name, (which, title, counterpart) in drawn.items():
            family = "baseline" if which == "dense" else "pruned"
            figure = figures.weight_histograms(rows[rows["state"] == which], title, family=family)
            pictures.append(Picture(name, figure, f"Counterpart of Figure {counterpart} of the source report."))
    if not pictures:
        return None
    beside = paragraphs(data, "Figure 1", "Figure 2", "Figure 3")
    return Section("Weights before and after pruning", (*beside, *pictures))


def storage(data: Tables) -> Section | None:
    """Counterparts of figures 8 and 9 at 25 %: bytes, operations, and words with numbers; None while nothing was."""
    by_method = stored(data)
    if not by_method:
        return None
    blocks: list[Block] = [
        Paragraph(_saved(by_method), strong=True),
        _sizes(by_method),
        *paragraphs(data, "Figure 8 (storage)"),
        _accounting(by_method, data),
    ]
    if (words := aspect_table(data)) is not None:
        blocks += [words, *paragraphs(data, "Figure 9")]
    return Section("What pruning saves", tuple(blocks))


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


def _accounting(by_method: dict[str, pd.DataFrame], data: Tables) -> Table:
    """The source report's bytes of zeros and of other weights beside ours."""
    states = {"baseline": state(next(iter(by_method.values())), "dense")}
    states |= {method: state(rows, "masked") for method, rows in by_method.items()}
    cells = []
    for name, row in states.items():
        theirs = data.paper["storage_mib"][name]
        sizes = (theirs["nonzero"], theirs["zero"], theirs["nonzero"] + theirs["zero"])
        ours = (row["nonzero_mib"], row["zero_mib"], row["total_mib"])
        cells.append((name, *(text.number(size, 2) for size in (*sizes, *ours))))
    kinds = ("non-zero", "zero", "total")
    heads = ("Model", *(f"{side}: {kind}" for side in ("Source report", "Here") for kind in kinds))
    return Table(heads, tuple(cells), FIGURE_8)


SECTIONS = {
    "sensitivity": (8, sensitivity),
    "pruned": (10, pruned),
    "pruned_weights": (11, weights),
    "pruned_storage": (12, storage),
}
