"""All files of models/deploy: the recommended model and your configuration as ONNX, their classes and a model card.

The recommended model becomes `model.onnx`, in int8 if its own weights are integers, and `model_float.onnx`; your
configuration becomes `shipped.onnx` and `shipped_int8.onnx`. A model whose weights are integers of 4 bits or fewer has
a further file with these integers, `model_int4.onnx` or `shipped_int4.onnx`. `model.dc` is `model_float.onnx` with its
weights coded and the card inside. The folder appears whole, and only if
every file agrees with its checkpoint.

Headings of the card follow Mitchell et al., FAT* 2019, https://arxiv.org/abs/1810.03993, section 4, as far as this
pipeline knows the answers.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress import files
from deepcompress.data.batches import Batches
from deepcompress.data.heldout import HeldOut, open_heldout
from deepcompress.data.store import BYTES_PER_MIB, Meta, atomic_folders, open_fit, sampled
from deepcompress.deploy import handover
from deepcompress.deploy.classifier import Contract, OnnxClassifier
from deepcompress.deploy.integers import Deployable
from deepcompress.deploy.onnx import Parity, compare, require_parity
from deepcompress.errors import UserError
from deepcompress.files import mebibytes
from deepcompress.measure import accuracy, passes
from deepcompress.plan_table import SUFFIX

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.deploy.settings import Deploy

    Row = dict[str, Any]

log = logging.getLogger(__name__)
STAGE = "export"
SHIPPED = "shipped/quantized"
FLOAT, INT8, INT4 = "float32", "int8", "int4"
BATCH = 256
USE = "Name the class of one upright RGB image whose subject fills most of it, among the classes listed here."
LIMITS = (
    "It always names one of its classes, for images of anything else, too; a probability does not tell these apart.",
    "Accuracy was measured on held-out images of the same source; other cameras, sizes and scenes were not tried.",
    "Accuracy differs between classes: see metrics/per_class.csv of the run.",
    "Whether it treats people or groups alike was not examined.",
)


def export(
    folder: Path,
    settings: Deploy,
    seed: int,
    *,
    recommendation: Path,
    models: Path,
    fit: Path,
    heldout: Path,
    evaluation: Path,
) -> list[Row]:
    """Write the folder, whole or not at all, from files of other stages.

    A UserError if one is missing or damaged, or a file disagrees with its checkpoint more often than `settings` allow.

    Returns:
        A row per ONNX file: how closely it follows its checkpoint, what it gets right and its bytes.
    """
    chosen, reason = read_recommendation(recommendation)
    metrics = measured(evaluation, chosen)
    images, held = sampled(open_fit(fit).train, settings.calibration_samples, seed).images, open_heldout(heldout)
    digest = passes.digest(heldout.iterdir())
    with atomic_folders(folder) as (new,):
        deployable = partial(Deployable, images=images, meta=held.meta, settings=settings, folder=new)
        names = ("model_float.onnx", "model.onnx", "model_int4.onnx")
        model = deployable(models / f"{chosen}{SUFFIX}", names=names)
        rows = list(_rows(chosen, model, held, digest))
        names = ("shipped.onnx", "shipped_int8.onnx", "shipped_int4.onnx")
        shipped = deployable(models / f"{SHIPPED}{SUFFIX}", names=names, always_int8=True)
        rows += _rows(SHIPPED, shipped, held, digest)
        files.write_json(new / "classes.json", list(model.loaded.classes))
        content = card(chosen, reason, model.loaded.description, metrics, held.meta, rows)
        files.write_json(new / "model_card.json", content)
        files.write_text(new / "model_card.md", markdown(content))
        handover.pack(model.float_file, new / "model.dc", model.loaded.integers, content)
    return rows


def _rows(model: str, made: Deployable, heldout: HeldOut, digest: str) -> Iterator[Row]:
    """A row per file of a model, each once it is known to agree with the checkpoint.

    In float32; in int8 or, if there is no such form, the same again; in its own int4, if any. What was compared before
    is found in scratch. `digest` is that of the files of held-out images.
    """
    loaded, images = made.loaded, heldout.arrays
    if tuple(loaded.classes) != tuple(heldout.meta.classes):
        raise UserError(f"{model}: class names differ from the data set's; run its stage again")
    second = made.int8_file or shutil.copyfile(made.float_file, made.folder / made.names[1])
    kinds = {made.float_file: FLOAT, second: INT8 if made.int8_file else FLOAT}
    if made.int4_file:
        kinds[made.int4_file] = INT4

    @cache
    def logits() -> Float[Tensor, "images classes"]:
        return accuracy.logits(loaded.model, Batches(images, loaded.view, batch_size=BATCH))[0]

    def compared(path: Path) -> dict[str, np.ndarray]:
        agreement = compare(OnnxClassifier(path), logits(), images)
        return {name: np.asarray(value) for name, value in vars(agreement).items()}

    for path, kind in kinds.items():
        place = passes.scratch(STAGE, made.path, files.sha256(path), digest, version("onnxruntime"))
        kept = files.kept_arrays(place / "parity.npz", partial(compared, path))
        parity = Parity(**{name: value.item() for name, value in kept.items()})
        log.info("%s: agrees with %s on %.2f %% of %d images", path.name, model, parity.agreement_pct, parity.n)
        require_parity(parity, made.settings.required_agreement(integers=kind != FLOAT), name=path.name)
        size = path.stat().st_size
        yield {"file": path.name, "model": model, "kind": kind, **parity.row(), "size_bytes": size}


def read_recommendation(path: str | Path) -> tuple[str, str]:
    """The id of the recommended model, and why; UserError if the file is missing, damaged or names no model."""
    content = files.read_json(path)
    texts: list[Any] = [content.get(key) for key in ("model", "reason")] if isinstance(content, dict) else [None]
    if not all(isinstance(text, str) and text for text in texts):
        raise UserError(f"{path}: must hold the texts model and reason; run the recommend stage again")
    return texts[0], texts[1]


def measured(path: str | Path, model: str) -> dict[str, Any]:
    """The row of a model in the evaluation table, without the cells that are empty; UserError if there is none."""
    for row in files.read_rows(path):
        if row.get("model") == model:
            return {name: cell for name, cell in row.items() if not (isinstance(cell, float) and math.isnan(cell))}
    raise UserError(f"{path}: has no row for {model}; run the evaluate stage again")


def card(
    model: str, reason: str, description: dict[str, Any], metrics: dict[str, Any], meta: Meta, rows: list[Row]
) -> dict[str, Any]:
    """The card of the recommended model as JSON values.

    From the description of its checkpoint, its row of the evaluation table, and a row per ONNX file: `file`, `model`,
    `kind`, `agreement_pct`, `top1_pct`, `n`, `size_bytes`.
    """
    contract = Contract(tuple(description["classes"]), description["image_size"], meta.image_size, meta.white)
    data = {name: value for name, value in meta.to_json().items() if name != "classes"}
    return {
        "model": model,
        "reason": reason,
        "intended_use": USE,
        "limits": list(LIMITS),
        "contract": contract.sentences,
        "image_preparation": _preparation(contract),
        "metrics": metrics,
        "files": rows,
        "classes": list(description["classes"]),
        "data": data,
        "network": description["spec"],
        "provenance": description["provenance"],
    }


def _preparation(contract: Contract) -> str:
    """The steps of `images.decode` and of `predict`, for a program that has neither."""
    stored, side = contract.stored_size, contract.image_size
    again = "" if stored == side else f"; then resize to {side} px"
    return (
        f"Turn upright, lay what is transparent on white, make RGB (16-bit grey: {contract.white} is white), scale the "
        f"shorter side to {stored} px and cut out the centre square{again}. Scaling is Pillow's "
        "`ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)`; other filters give other answers."
    )


def markdown(card: dict[str, Any]) -> str:
    """The card as a page, from what `card` returned."""
    return "\n".join(_paragraphs(card)) + "\n"


def _paragraphs(card: dict[str, Any]) -> Iterator[str]:
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
    yield "\n## Input and output\n"
    yield from (f"- `{name}`: {sentence}" for name, sentence in card["contract"].items())
    yield f"- Preparation: {card['image_preparation']}"
    yield f"- Classes ({len(card['classes'])}): {', '.join(card['classes'])}"
    yield "\n## Files\n"
    yield "| File | Model | Weights | MiB | Same answer as the model, % | Top-1, % | n |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for row in card["files"]:
        yield (
            f"| {row['file']} | {row['model']} | {row['kind']} | {mebibytes(row['size_bytes'] / BYTES_PER_MIB)} "
            f"| {row['agreement_pct']} | {row['top1_pct']} | {row['n']} |"
        )
    if "size_bytes" in metrics:
        yield f"\nThe checkpoint that they were made from takes {mebibytes(metrics['size_bytes'] / BYTES_PER_MIB)} MiB."
    yield "\n## How it was made\n"
    for title in ("data", "network", "metrics", "provenance"):
        yield f"{title.capitalize()}:\n\n```json\n{json.dumps(card[title], indent=2, ensure_ascii=False)}\n```\n"
