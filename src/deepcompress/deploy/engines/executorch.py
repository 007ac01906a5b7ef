"""ExecuTorch with XNNPACK: a model as a file (.pte) for phones and boards, in float32 or 8-bit integers.

As an engine it computes in float32. The file takes one image at a time, uint8 pixels as the ONNX files do, and says of
itself what they say. ExecuTorch is an optional group of dependencies; this module loads without it.
Source: https://docs.pytorch.org/executorch/stable/backends-xnnpack.html, and for integers
https://docs.pytorch.org/ao/stable/tutorials_source/pt2e_quant_ptq.html (export, observe images, convert).
"""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepcompress import files
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import open_fit, sampled
from deepcompress.deploy.benchmark import not_installed
from deepcompress.deploy.classifier import LOGITS, OUTPUTS, Contract
from deepcompress.deploy.onnx import FromPixels, channels_first, compare, require_parity
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8
    from torch import nn

    from deepcompress.deploy.benchmark import Call, Deployable
    from deepcompress.deploy.settings import Deploy

FLOAT_FORM = "executorch"
BATCH = 256
FORWARD, CONTRACT = "forward", "contract"  # what can be called in a file: the network, and the text of its contract
INSTALL = "ExecuTorch is not installed; `uv sync --group executorch` adds it"


def missing() -> str | None:
    """ExecuTorch is an optional group."""
    return not_installed("executorch", "executorch")


def load(model: Deployable) -> Call:
    """The model as a .pte file."""
    loaded, path = model.loaded, model.folder / "model.pte"
    contract = Contract(tuple(loaded.classes), loaded.view.size, loaded.view.size)
    export_pte(loaded.model, path, view=loaded.view, contract=contract)
    return PteClassifier(path).run


def convert(model: Path, fit: Path, out: Path, settings: Deploy, *, integers: bool, seed: int) -> dict[str, Any]:
    """Write a checkpoint as .pte, or leave `out` as it was if the file does not agree with it on validation images.

    With `integers` it computes in 8 bits, calibrated on training images that `seed` draws. A UserError if ExecuTorch or
    an input is missing, the class names differ from the data set's, or the file disagrees with the checkpoint more
    often than `settings` allow.

    Returns:
        How closely the file follows its checkpoint, as `Parity.row`, and `size_bytes`.
    """
    _require_executorch()
    loaded, data = checkpoint.load(model), open_fit(fit)
    if tuple(loaded.classes) != tuple(data.meta.classes):
        raise UserError(f"{model}: class names differ from those of the data set in {fit}")
    calibration = None
    if integers:
        drawn = sampled(data.train, settings.calibration_samples, seed)
        calibration = channels_first(drawn.images, loaded.view.size)
    contract = Contract(tuple(loaded.classes), loaded.view.size, data.meta.image_size, data.meta.white)
    logits = accuracy.logits(loaded.model, Batches(data.validation, loaded.view, batch_size=BATCH))[0]
    required = settings.required_agreement(integers=integers)
    with files.atomic(out) as partial:
        export_pte(loaded.model, partial, view=loaded.view, contract=contract, calibration=calibration)
        agreement = compare(PteClassifier(partial), logits, data.validation)
        require_parity(agreement, required, name=str(out), images="validation images")
        return {**agreement.row(), "size_bytes": partial.stat().st_size}


def export_pte(
    model: nn.Module,
    path: str | Path,
    *,
    view: View,
    contract: Contract,
    calibration: UInt8[np.ndarray, "images 3 size size"] | None = None,
) -> None:
    """Write a model as a .pte file; the same arguments give the same bytes.

    Args:
        model: Classifies normalised images; is not changed.
        path: The file to write: one image in, logits and probabilities out.
        view: Size and normalisation of the model's input.
        contract: What the file says of itself.
        calibration: Training images, at least one, from which the ranges of 8-bit activations are found; weights
            then take 8 bits, too, with a scale per output channel. None: float32.
    """
    _require_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    network = FromPixels(copy.deepcopy(model).cpu(), view).eval()
    example = (torch.zeros(1, 3, view.size, view.size, dtype=torch.uint8),)
    with torch.no_grad():
        program = torch.export.export(network, example)
        if calibration is not None:
            program = torch.export.export(_in_integers(program.module(), calibration), example)
        methods = {CONTRACT: json.dumps(contract.to_metadata(), ensure_ascii=False)}
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
        files.write_bytes(path, lowered.to_executorch().buffer)


def _in_integers(model: Any, images: UInt8[np.ndarray, "images 3 size size"]) -> Any:
    """The exported graph with integers in every layer that XNNPACK computes in integers."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    if len(images) == 0:
        raise ValueError("there are no images to calibrate on")
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    observed = prepare_pt2e(model, quantizer)
    for image in torch.from_numpy(images).split(1):
        observed(image)
    return convert_pt2e(observed)


class PteClassifier:
    """A .pte file that `export_pte` wrote, on this machine's CPU, as a phone would run it.

    A UserError if ExecuTorch or the file is missing, or the file is damaged or not a deepcompress export.
    """

    def __init__(self, path: str | Path) -> None:
        _require_executorch()
        from executorch.runtime import Runtime

        files.require_file(path)
        try:
            program = Runtime.get().load_program(Path(path))
            text = program.load_method(CONTRACT).execute([])[0] if CONTRACT in program.method_names else "{}"
            self._method = program.load_method(FORWARD)
        except RuntimeError as error:
            raise UserError(f"{path}: no ExecuTorch file that can be run ({error})") from None
        self.contract = Contract.from_metadata(path, json.loads(text))

    def run(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image; one image at a time."""
        index = OUTPUTS.index(output)
        pixels = torch.from_numpy(images).contiguous()  # ExecuTorch reads memory in its order, whatever the strides
        rows = [self._method.execute([image])[index].clone() for image in pixels.split(1)]
        return torch.cat(rows).numpy()


def _require_executorch() -> None:
    if importlib.util.find_spec("executorch") is None:
        raise UserError(INSTALL)
