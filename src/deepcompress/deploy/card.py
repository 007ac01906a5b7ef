"""The model card: what is handed over, what it was measured to do, what it is for, and what it is not.

Free of torch. Headings follow Mitchell et al., FAT* 2019, https://arxiv.org/abs/1810.03993, section 4, as far as
this pipeline knows the answers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress import files
from deepcompress.deploy.contract import Contract
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from deepcompress.data.store import Meta

MIB = 2**20
USE = "Name the class of one upright RGB image whose subject fills most of it, among the classes listed here."
LIMITS = (
    "It always names one of its classes, for images of anything else, too; a probability does not tell these apart.",
    "Accuracy was measured on held-out images of the same source; other cameras, sizes and scenes were not tried.",
    "Accuracy differs between classes: see metrics/per_class.csv of the run.",
    "Whether it treats people or groups alike was not examined.",
)


@dataclass(frozen=True)
class Recommendation:
    """The model that is handed over, by its id, and one sentence of why."""

    model: str
    reason: str


def recommendation(path: str | Path) -> Recommendation:
    """Read what the recommend stage decided.

    Raises:
        UserError: If the file is missing, damaged or names no model.
    """
    content = files.read_json(path)
    found = [content.get(key) for key in ("model", "reason")] if isinstance(content, dict) else [None]
    if not all(isinstance(value, str) and value for value in found):
        raise UserError(f"{path}: must hold the texts model and reason; run the recommend stage again")
    return Recommendation(*found)


def measured(path: str | Path, model: str) -> dict[str, Any]:
    """The row of a model in the evaluation table, without the cells that are empty.

    Raises:
        UserError: If the table is missing or damaged, or has no such row.
    """
    for row in files.read_rows(path):
        if row.get("model") == model:
            return {name: cell for name, cell in row.items() if not (isinstance(cell, float) and math.isnan(cell))}
    raise UserError(f"{path}: has no row for {model}; run the evaluate stage again")


def card(
    chosen: Recommendation,
    description: dict[str, Any],
    metrics: dict[str, Any],
    meta: Meta,
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """The card as JSON values.

    Args:
        chosen: The model and why.
        description: Of its checkpoint.
        metrics: Its row of the evaluation table.
        meta: Of the data.
        rows: One per ONNX file: `file`, `model`, `kind`, `agreement_pct`, `top1_pct`, `n`, `size_bytes`.
    """
    contract = Contract(tuple(description["classes"]), description["image_size"], meta.image_size)
    data = {name: value for name, value in asdict(meta).items() if name != "classes"}
    return {
        "model": chosen.model,
        "reason": chosen.reason,
        "intended_use": USE,
        "limits": list(LIMITS),
        "contract": contract.sentences,
        "image_preparation": (
            f"Turn upright, make RGB, scale the shorter side to {meta.image_size} px and cut out the centre square"
            + ("." if meta.image_size == contract.image_size else f"; then resize to {contract.image_size} px.")
        ),
        "metrics": metrics,
        "files": rows,
        "classes": list(description["classes"]),
        "data": data,
        "network": description["spec"],
        "provenance": description["provenance"],
    }


def markdown(card: dict[str, Any]) -> str:
    """The card as a page, from what `card` returned."""
    return "\n".join([*_top(card), "", *_interface(card), "", *_files(card), "", *_making(card)]) + "\n"


def _top(card: dict[str, Any]) -> Iterator[str]:
    metrics = card["metrics"]
    yield f"# Model card: {card['model']}\n"
    yield f"{card['reason']}\n"
    yield f"**Intended use.** {card['intended_use']}\n"
    yield (
        f"**Accuracy.** {metrics['top1_pct']} % top-1 ({metrics['top1_pct_low']} to {metrics['top1_pct_high']}, 95 % "
        f"Wilson interval, n = {metrics['n']} held-out images of `{card['data']['source']}`)\n"
    )
    yield "**Limits.**\n"
    yield from (f"- {limit}" for limit in card["limits"])


def _interface(card: dict[str, Any]) -> Iterator[str]:
    yield "## Input and output\n"
    yield from (f"- `{name}`: {sentence}" for name, sentence in card["contract"].items())
    yield f"- Preparation: {card['image_preparation']}"
    yield f"- Classes ({len(card['classes'])}): {', '.join(card['classes'])}"


def _files(card: dict[str, Any]) -> Iterator[str]:
    yield "## Files\n"
    yield "| File | Model | Weights | MiB | Same answer as the model, % | Top-1, % | n |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for row in card["files"]:
        yield (
            f"| {row['file']} | {row['model']} | {row['kind']} | {row['size_bytes'] / MIB:.2f} "
            f"| {row['agreement_pct']} | {row['top1_pct']} | {row['n']} |"
        )
    if "size_bytes" in card["metrics"]:
        yield f"\nThe checkpoint that they were made from takes {card['metrics']['size_bytes'] / MIB:.2f} MiB."


def _making(card: dict[str, Any]) -> Iterator[str]:
    yield "## How it was made\n"
    for title in ("data", "network", "metrics", "provenance"):
        yield f"{title.capitalize()}:\n\n```json\n{json.dumps(card[title], indent=2, ensure_ascii=False)}\n```\n"
