"""What the report says of pruning: the curves, the words and the tables of its sections, from measured tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import text

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

METHODS = ("unstructured", "structured")
PAPER_SPARSITY = 0.25
OVERALL = "Overall"


def curve(data: Tables, family: str, method: str) -> pd.DataFrame:
    """The models of one method as a curve: their rows of the evaluation with `sparsity`, rising.

    Args:
        data: All tables.
        family: `masked` (as pruned) or `pruned` (trained on).
        method: Of pruning.
    """
    rows = data.models[data.models["model"].str.startswith(f"{family}/{method}-")].copy()
    rows["sparsity"] = pd.to_numeric(rows["name"].str.removeprefix(f"{method}-"), errors="coerce")
    return rows.dropna(subset=["sparsity"]).sort_values("sparsity")


def at(data: Tables, family: str, method: str, sparsity: float = PAPER_SPARSITY) -> pd.Series | None:
    """One model of a curve, or None when the sweep has no such sparsity."""
    rows = curve(data, family, method)
    found = rows[(rows["sparsity"] - sparsity).abs() < 1e-9]
    return None if found.empty else found.iloc[0]


def kept_pct(data: Tables, row: pd.Series) -> float:
    """A model's accuracy as a share of the baseline's [%]."""
    return float(100 * row["top1_pct"] / data.baseline["top1_pct"])


def extra(data: Tables, kind: str, method: str, sparsity: float = PAPER_SPARSITY) -> pd.DataFrame | None:
    """A table that the sweep wrote beside one model: `allocation`, `weights` or `storage`."""
    row = at(data, "pruned", method, sparsity)
    return None if row is None else data.extra.get(f"{kind}/{row['model']}")


def finding(data: Tables) -> str:
    """How much of the baseline's accuracy each method keeps at the paper's sparsity, trained on and not."""
    parts = []
    for method in METHODS:
        trained, masked = at(data, "pruned", method), at(data, "masked", method)
        if trained is not None and masked is not None:
            after, before = kept_pct(data, trained), kept_pct(data, masked)
            parts.append(f"{method} keeps {text.number(after)} % of the baseline's accuracy ({text.number(before)} %")
    if not parts:
        return "Accuracy against sparsity"
    return "At 25 %: " + ", ".join(f"{part} as pruned)" for part in parts)


def most_sensitive(rows: pd.DataFrame) -> tuple[str, str]:
    """The layers that lose most and least on average over the sparsities that were tried.

    Args:
        rows: Of one method's sensitivity table.
    """
    mean = rows.groupby("layer", sort=False)["top1_pct"].mean()
    return str(mean.idxmin()), str(mean.idxmax())


def paper_names(layers: list[str]) -> dict[str, str]:
    """Our layers -> the paper's, which has no batch norm: the n-th convolution is the n-th convolution."""
    theirs = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)] + [f"classifier.{i}" for i in (0, 3, 6)]
    ours = [layer for layer in layers if layer != OVERALL]
    fits = len(ours) in (8, len(theirs))
    return dict(zip(ours, theirs, strict=False)) if fits else {}
