"""What pruning saves in bytes and operations, and the qualitative comparison of its two kinds with numbers to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning, text
from deepcompress.report.blocks import Block, Paragraph, Section, Table

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

MIB = 2**20
FORMS = ("dense", "bitmask", "csr", "zstd", "bitmask_zstd")
HEADS = ("Model", "Parameters", "Non-zero weights", "MACs", "Dense, MiB", "Bitmask, MiB", "CSR, MiB", "zstd, MiB",
         "Bitmask + zstd, MiB")  # fmt: skip
PAPER_HEADS = ("Model", "Paper: non-zero", "Paper: zero", "Paper: total", "Here: non-zero", "Here: zero", "Here: total")


def build(data: Tables) -> Section | None:
    """Counterparts of the report's figures 8 and 9 at 25 %; None while nothing was pruned."""
    found = {method: rows for method in pruning.METHODS if (rows := pruning.extra(data, "storage", method)) is not None}
    if not found:
        return None
    blocks: list[Block] = [Paragraph(_lead(found), strong=True), _sizes(found), _accounting(found, data)]
    if len(found) == len(pruning.METHODS):
        blocks.append(_qualities(found, data))
    return Section("What pruning saves", tuple(blocks), order=12)


def state(rows: pd.DataFrame, name: str) -> pd.Series:
    """One state of a model's storage table: dense, masked or trained."""
    return rows[rows["state"] == name].iloc[0]


def _lead(found: dict[str, pd.DataFrame]) -> str:
    parts = []
    if "unstructured" in found:
        dense, pruned = state(found["unstructured"], "dense"), state(found["unstructured"], "trained")
        bitmask, csr = (text.percent(pruned[f"{form}_bytes"], dense["dense_bytes"]) for form in ("bitmask", "csr"))
        parts.append(
            f"At 25 % unstructured a bitmask takes {bitmask} % of the dense bytes and CSR {csr} %, no MAC saved"
        )
    if "structured" in found:
        dense, pruned = state(found["structured"], "dense"), state(found["structured"], "trained")
        size, macs = (text.percent(pruned[name], dense[name]) for name in ("dense_bytes", "macs"))
        parts.append(f"structured 25 % leaves {size} % of the bytes and {macs} % of the MACs, in a plain file")
    return "; ".join(parts) + "."


def _sizes(found: dict[str, pd.DataFrame]) -> Table:
    cells = [_size("baseline", state(next(iter(found.values())), "dense"))]
    for method, rows in found.items():
        cells.append(_size(f"{method}, masked", state(rows, "masked")))
        after = "removed, trained on" if method == "structured" else "trained on"
        cells.append(_size(f"{method}, {after}", state(rows, "trained")))
    caption = "All tensors of the model at 25 %, without file headers; CSR with 4-byte columns and row pointers."
    return Table(HEADS, tuple(cells), caption)


def _size(name: str, row: pd.Series) -> tuple[str, ...]:
    sizes = [text.number(row[f"{form}_bytes"] / MIB, 2) for form in FORMS]
    return (name, *(text.short(row[n]) for n in ("parameters", "nonzero_weights", "macs")), *sizes)


def _accounting(found: dict[str, pd.DataFrame], data: Tables) -> Table:
    theirs = data.paper["storage_mib"]
    rows = {"baseline": state(next(iter(found.values())), "dense")}
    rows |= {method: state(table, "masked") for method, table in found.items()}
    cells = []
    for name, row in rows.items():
        paper = theirs[name]
        shown = [paper["nonzero"], paper["zero"], paper["nonzero"] + paper["zero"]]
        shown += [row["nonzero_mib"], row["zero_mib"], row["total_mib"]]
        cells.append((name, *(text.number(value, 2) for value in shown)))
    caption = (
        "Counterpart of figure 8, MiB of weights held dense: 4 bytes for a zero as for any weight, so nothing is "
        "saved. Its times come with measured latency."
    )
    return Table(PAPER_HEADS, tuple(cells), caption)


def _qualities(found: dict[str, pd.DataFrame], data: Tables) -> Table:
    """Counterpart of the report's figure 9: its words, and a measured number to each."""
    dense, loose = state(found["unstructured"], "dense"), state(found["unstructured"], "trained")
    before, tight = state(found["structured"], "dense"), state(found["structured"], "trained")
    share = [text.percent(loose[f"{form}_bytes"], dense["dense_bytes"]) for form in ("bitmask", "csr")]
    removed = text.short(before["parameters"] - tight["parameters"])
    zeroed = text.short(dense["nonzero_weights"] - loose["nonzero_weights"])
    macs = [text.percent(after["macs"], whole["macs"]) for after, whole in ((tight, before), (loose, dense))]
    mib = [text.number(row["dense_bytes"] / MIB, 2) for row in (tight, loose)]
    rows = (
        ("Granularity", "whole channels", f"{removed} parameters removed", "single weights", f"{zeroed} weights zero"),
        ("Hardware", "dense operations", f"{macs[0]} % of the MACs left", "sparse kernels", f"{macs[1]} % left"),
        ("Memory access", "contiguous", f"{mib[0]} MiB read per pass", "irregular", f"{mib[1]} MiB, zeros included"),
        ("Parallelism", "kept", f"{text.short(tight['macs'])} MACs", "reduced", f"{text.short(loose['macs'])} MACs"),
        ("Implementation", "standard libraries", "a plain file", "sparse libraries", "an encoding of its own"),
        ("Accuracy", "more is lost", _kept(data, "structured"), "less", _kept(data, "unstructured")),
        ("Storage", "compact", f"{text.percent(tight['dense_bytes'], before['dense_bytes'])} % of dense",
         "needs a sparse format", f"bitmask {share[0]} %, CSR {share[1]} % of dense"),
    )  # fmt: skip
    heads = ("Aspect", "Paper: structured", "Here, at 25 %", "Paper: unstructured", "Here, at 25 %")
    return Table(heads, rows, "Counterpart of figure 9: the paper's words, and what was measured.")


def _kept(data: Tables, method: str) -> str:
    states = {"trained on": pruning.at(data, "pruned", method), "as pruned": pruning.at(data, "masked", method)}
    said = [f"{text.number(pruning.kept_pct(data, row))} % {state}" for state, row in states.items() if row is not None]
    return f"keeps {', '.join(said)}"
