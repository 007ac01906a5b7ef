"""What pruning saves in bytes and operations, and the qualitative comparison of its two kinds with numbers to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import text
from deepcompress.report.blocks import Block, Paragraph, Section, Table
from deepcompress.report.claims import aspect_table, paragraphs, state, stored

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
    found = stored(data)
    if not found:
        return None
    blocks: list[Block] = [
        Paragraph(_lead(found), strong=True),
        _sizes(found),
        *paragraphs(data, "Figure 8 (storage)"),
        _accounting(found, data),
    ]
    if (words := aspect_table(data)) is not None:
        blocks += [words, *paragraphs(data, "Figure 9")]
    return Section("What pruning saves", tuple(blocks), order=12)


def _lead(found: dict[str, pd.DataFrame]) -> str:
    parts = []
    if "unstructured" in found:
        dense, pruned = (
            state(found["unstructured"], "dense"),
            state(found["unstructured"], "trained"),
        )
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
        "Counterpart of Figure 8 (storage) of the source report, MiB of weights held dense: 4 bytes for a zero "
        "as for any weight, so nothing is saved. Its times stand under Speed."
    )
    return Table(PAPER_HEADS, tuple(cells), caption)
