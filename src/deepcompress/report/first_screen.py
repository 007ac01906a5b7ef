"""The first screen of the page: one sentence, one chart of every model, one table that sorts and filters."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepcompress.report import charts, findings, tables, text
from deepcompress.report.blocks import Picture
from deepcompress.report.tables import BASELINE, Tables

COSTS = {
    "size_mib": ("File size", "file size [MiB], logarithmic"),
    "macs_million": ("MACs", "multiply-accumulates for one image [million], logarithmic"),
    "latency_ms": ("Latency", "one image in its fastest engine here [ms], logarithmic"),
}
MOST_NAMES = 7  # of models on the front, written beside their points


def build(data: Tables) -> dict[str, Any]:
    """What the template draws of the first screen.

    Returns:
        `sentence`: what to take away; `evidence`: how sure that is, empty where the sentence says so; `choices`: column
        of a cost -> its name and its chart, without costs that were not measured; `rows`: a row per model for the
        table, from the smallest file to the largest; `families` of these models, in order; `recommended`: id of the
        recommended model, empty without one; `limit`: points that a compressed model may lose.
    """
    rows = models(data)
    recommended = str((data.notes.get("recommendation") or {}).get("model", ""))
    sentence, evidence = _sentence(data, recommended)
    return {
        "sentence": sentence,
        "evidence": evidence,
        "choices": {
            cost: (name, chart(rows, cost, label))
            for cost, (name, label) in COSTS.items()
            if rows[cost].notna().sum() > 1
        },
        "rows": [_row(row) for _, row in rows.sort_values(["size_mib", "model"]).iterrows()],
        "families": list(dict.fromkeys(rows["family"])),
        "recommended": recommended,
        "limit": data.max_drop_points,
    }


def picture(data: Tables) -> Picture:
    """Accuracy against bytes for README and DVC, which cannot run the page's chart."""
    cost = "size_mib"
    return Picture("accuracy_size", findings.of_all(data), (chart(models(data), cost, COSTS[cost][1]),))


def models(data: Tables) -> pd.DataFrame:
    """The models that somebody might use, with `macs_million`, and `latency_ms` of an image in the fastest engine."""
    timed = data.extra.get("benchmark/latency", pd.DataFrame(columns=["model", "batch_size", "latency_ms_p50"]))
    fastest = timed[timed["batch_size"] == 1].groupby("model")["latency_ms_p50"].min()
    rows = data.candidates
    return rows.assign(macs_million=rows["macs"] / 1e6, latency_ms=rows["model"].map(fastest).astype(float))


def chart(rows: pd.DataFrame, cost: str, label: str) -> dict[str, Any]:
    """Accuracy against one cost with the Pareto front: no model is both cheaper and more accurate."""
    rows = rows[rows[cost] > 0]
    front = tables.pareto(rows, cost)["model"]
    written = [*front[-MOST_NAMES:], BASELINE]
    return charts.scatter(
        rows.assign(front=rows["model"].isin(front), named=rows["model"].isin(written)).sort_values(cost), cost, label
    )


def _sentence(data: Tables, chosen: str) -> tuple[str, str]:
    rows = data.models[data.models["model"] == chosen]
    if rows.empty or chosen == BASELINE:
        alone = len(data.candidates) == 1
        return f"{findings.of_all(data)}." if alone else findings.of_models(data.candidates, data, name="model"), ""
    row = rows.iloc[0]
    smaller = f"{text.times(row['times_smaller'])} smaller than the baseline ({text.number(row['size_mib'], 2)} MiB)"
    right = f"{text.number(row['top1_pct'])} % right on {int(row['n']):,} held-out images"
    return f"Ship {chosen}: {smaller}, {right}.", f"{findings.change(row)}."


def _row(row: pd.Series) -> dict[str, Any]:
    """The cells of a model, and the numbers that the filters compare."""
    interval = f"{text.number(row['top1_pct_low'])} to {text.number(row['top1_pct_high'])}"
    tested = pd.notna(row["difference_points_low"])
    ends = text.difference(row).partition(" (")[2].rstrip(")") if tested else ""
    words = (row[name] for name in ("model", "family", "method", "format", "teacher"))
    return {
        "words": " ".join(str(word).lower() for word in words if pd.notna(word)),
        "model": row["model"], "family": row["family"], "top1": text.number(row["top1_pct"]), "interval": interval,
        "points": text.signed(row["difference_points"]), "points_interval": ends,
        "size": text.number(row["size_mib"], 2), "macs": text.number(row["macs_million"], 2),
        "latency": text.number(row["latency_ms"], 2), "mib": row["size_mib"],
        "lost": 0.0 if row["model"] == BASELINE else -float(row["difference_points"]),
    }  # fmt: skip
