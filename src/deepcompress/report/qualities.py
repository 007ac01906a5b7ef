"""The source report's figure 9: its words on both kinds of pruning, a measured number to each, and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning, pruning_claims, text
from deepcompress.report.blocks import Table
from deepcompress.report.claim_rules import FAILS, HOLDS, MISSING, SAME

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

MIB = 2**20
HEADS = ("Aspect", "Paper: structured", "Here, at 25 %", "Paper: unstructured", "Here, at 25 %", "Verdict")
CAPTION = (
    "Counterpart of Figure 9 of the source report: its words, and what was measured. Verdicts on hardware and "
    "accuracy are those of the claims of section 4.3; counts of bytes and parameters have no interval."
)


def stored(data: Tables) -> dict[str, pd.DataFrame]:
    """The storage tables at the paper's sparsity, by method."""
    return {m: rows for m in pruning.METHODS if (rows := pruning.extra(data, "storage", m)) is not None}


def state(rows: pd.DataFrame, name: str) -> pd.Series:
    """One state of a model's storage table: dense, masked or trained."""
    return rows[rows["state"] == name].iloc[0]


def verdicts(data: Tables) -> tuple[str, ...]:
    """One of the words of claim_rules.py per aspect; empty without both methods."""
    found = stored(data)
    if len(found) < len(pruning.METHODS):
        return ()
    dense, loose = (state(found["unstructured"], name) for name in ("dense", "trained"))
    before, tight = (state(found["structured"], name) for name in ("dense", "trained"))
    channels = tight["parameters"] < before["parameters"] and loose["parameters"] == dense["parameters"]
    compact = tight["dense_bytes"] < before["dense_bytes"] and loose["bitmask_bytes"] < loose["dense_bytes"]
    timed = {claim(data).verdict for claim in (pruning_claims.channels_are_faster, pruning_claims.zeros_are_no_faster)}
    hardware = next(word for word in (MISSING, FAILS, SAME, HOLDS) if word in timed)
    accuracy = pruning_claims.unstructured_keeps_more(data).verdict
    return (HOLDS if channels else FAILS, hardware, MISSING, MISSING, MISSING, accuracy, HOLDS if compact else FAILS)


def table(data: Tables) -> Table | None:
    """Counterpart of figure 9; None without both methods at the paper's sparsity."""
    said, found = verdicts(data), stored(data)
    if not said:
        return None
    dense, loose = (state(found["unstructured"], name) for name in ("dense", "trained"))
    before, tight = (state(found["structured"], name) for name in ("dense", "trained"))
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
    return Table(HEADS, tuple((*row, word) for row, word in zip(rows, said, strict=True)), CAPTION)


def _kept(data: Tables, method: str) -> str:
    states = {"trained on": pruning.at(data, "pruned", method), "as pruned": pruning.at(data, "masked", method)}
    said = [f"{text.number(pruning.kept_pct(data, row))} % {name}" for name, row in states.items() if row is not None]
    return f"keeps {', '.join(said)}"
