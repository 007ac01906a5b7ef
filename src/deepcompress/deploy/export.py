"""All files of models/deploy: the recommended model and the shipped one as ONNX, their classes and a model card.

The recommended model becomes `model.onnx`, in int8 if its own weights are integers, and `model_float.onnx`; the
shipped one becomes `shipped.onnx` and `shipped_int8.onnx`. One whose weights are integers of 4 bits or fewer has
a further file with these integers, `model_int4.onnx` or `shipped_int4.onnx`. The folder appears whole, and only if
every file answers as its model does.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress import files
from deepcompress.data.batches import Batches
from deepcompress.data.heldout import HeldOut, open_heldout
from deepcompress.data.store import atomic_folders, open_fit, sampled
from deepcompress.deploy import card, graph, int4, int8, parity
from deepcompress.deploy.pixels import channels_first
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.data.store import Arrays
    from deepcompress.deploy.settings import Deploy

log = logging.getLogger(__name__)
SHIPPED = "shipped/quantized"
FLOAT, INT8, INT4 = "float32", "int8", "int4"
BATCH = 256
Row = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """Where everything lies that an export reads."""

    recommendation: Path
    models: Path
    fit: Path
    heldout: Path
    evaluation: Path


@dataclass(frozen=True)
class Scene:
    """What all files share: the images to compare on, those to calibrate on, and the limits."""

    heldout: HeldOut
    calibration: Arrays
    settings: Deploy


class Source:
    """A model by its id, as its checkpoint holds it.

    Raises:
        UserError: If the checkpoint is missing or damaged.
    """

    def __init__(self, models: Path, model: str) -> None:
        self.model, self.path = model, models / f"{model}.safetensors"
        self.loaded = checkpoint.load(self.path)


def export(inputs: Inputs, folder: Path, settings: Deploy, seed: int) -> list[Row]:
    """Write the folder, whole or not at all.

    Returns:
        A row per ONNX file: how closely it follows its model, what it gets right and its bytes.

    Raises:
        UserError: If an input is missing or damaged, or a file answers other than its model more often than
            `settings` allow.
    """
    chosen = card.recommendation(inputs.recommendation)
    measured = card.measured(inputs.evaluation, chosen.model)
    calibration = sampled(open_fit(inputs.fit).train, settings.calibration_samples, seed)
    scene = Scene(open_heldout(inputs.heldout), calibration, settings)
    with atomic_folders(folder) as (new,):
        source = Source(inputs.models, chosen.model)
        names = ("model_float.onnx", "model.onnx", "model_int4.onnx")
        rows = _files(new, names, source, scene, integers=bool(source.loaded.integer_tensors))
        names = ("shipped.onnx", "shipped_int8.onnx", "shipped_int4.onnx")
        rows += _files(new, names, Source(inputs.models, SHIPPED), scene, integers=True)
        files.write_json(new / "classes.json", list(source.loaded.classes))
        written = card.card(chosen, source.loaded.description, measured, scene.heldout.meta, rows)
        files.write_json(new / "model_card.json", written)
        files.write_text(new / "model_card.md", card.markdown(written))
    return rows


def _files(folder: Path, names: tuple[str, str, str], source: Source, scene: Scene, *, integers: bool) -> list[Row]:
    """One model in float32, in int8 or, if its weights are no integers, the same again, and in its own int4, if any."""
    loaded, model = source.loaded, source.model
    if tuple(loaded.classes) != tuple(scene.heldout.meta.classes):
        raise UserError(f"{model} was made for other classes than the held-out images have; run its stage again")
    float_file, other, halves = (folder / name for name in names)
    stored, side = scene.heldout.meta.image_size, loaded.view.size
    graph.export_float(loaded.model, float_file, view=loaded.view, classes=loaded.classes, stored_size=stored)
    if integers:
        pixels = channels_first(scene.calibration.images, side)
        int8.quantize_int8(float_file, other, images=pixels, reduce_range=scene.settings.reduce_range)
    else:
        shutil.copyfile(float_file, other)
    batches = Batches(scene.heldout.arrays, loaded.view, batch_size=BATCH)
    logits = accuracy.logits(loaded.model, batches)[0]
    made = {float_file: FLOAT, other: INT8 if integers else FLOAT}
    if weights := int4.stored(source.path, loaded):
        int4.quantize_int4(float_file, halves, weights)
        made[halves] = INT4
    return [_row(path, kind, model, logits, scene) for path, kind in made.items()]


def _row(path: Path, kind: str, model: str, logits: Float[Tensor, "images classes"], scene: Scene) -> Row:
    found = parity.parity(path, logits, scene.heldout.arrays)
    log.info("%s: answers as %s on %.2f %% of %d images", path.name, model, found.agreement_pct, found.n)
    integer, settings = kind in {INT8, INT4}, scene.settings
    least = settings.integer_agreement_pct if integer else settings.float_agreement_pct
    key = f"deploy.{'integer' if integer else 'float'}_agreement_pct"
    parity.require(found, least, name=path.name, key=key)
    return {"file": path.name, "model": model, "kind": kind, **found.row(), "size_bytes": path.stat().st_size}
