"""A model as an ExecuTorch file (.pte) for phones and boards, in float32 or 8-bit integers, computed by XNNPACK.

The file takes one image at a time, uint8 pixels as the ONNX files do, and says of itself what they say. ExecuTorch is
an optional group of dependencies; this module loads without it.
Source: https://docs.pytorch.org/executorch/stable/backends-xnnpack.html, and for integers
https://docs.pytorch.org/ao/stable/tutorials_source/pt2e_quant_ptq.html (export, observe images, convert).
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import torch

from deepcompress import files
from deepcompress.deploy.graph import FromPixels
from deepcompress.deploy.pte_session import CONTRACT, require_executorch

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from jaxtyping import UInt8
    from torch import nn

    from deepcompress.data.batches import View
    from deepcompress.deploy.contract import Contract


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

    Raises:
        UserError: If ExecuTorch is missing.
    """
    require_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    whole = FromPixels(copy.deepcopy(model).cpu(), view).eval()
    example = (torch.zeros(1, 3, view.size, view.size, dtype=torch.uint8),)
    with torch.no_grad():
        program = torch.export.export(whole, example)
        if calibration is not None:
            program = torch.export.export(_in_integers(program.module(), calibration), example)
        said = {CONTRACT: json.dumps(contract.to_metadata(), ensure_ascii=False)}
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=said)
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
