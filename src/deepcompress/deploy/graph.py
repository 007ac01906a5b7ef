"""A model as an ONNX file in float32, with normalisation and softmax in the graph.

A program hands over uint8 pixels and needs no statistics of the training images, so that it cannot get them wrong.
Source: https://docs.pytorch.org/docs/stable/onnx_export.html.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from deepcompress.deploy import onnx_file
from deepcompress.deploy.contract import INPUT, OUTPUTS, Contract
from deepcompress.deploy.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, UInt8
    from torch import Tensor

    from deepcompress.data.batches import View

OPSET = 20
PREFIX = "model."  # of a tensor's name in the file, before its name in the model
EXAMPLES = 2  # images to trace with: of a single one the exporter would fix the batch


class FromPixels(nn.Module):
    """A classifier from uint8 pixels to logits and probabilities; normalises as `Batches` does."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, view: View) -> None:
        super().__init__()
        self.model = model
        std, mean = torch.tensor(view.std), torch.tensor(view.mean)
        self.register_buffer("scale", (1 / (255 * std)).view(1, -1, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, -1, 1, 1))

    def forward(self, images: UInt8[Tensor, "images 3 size size"]) -> tuple[Float[Tensor, "images classes"], ...]:
        logits = self.model(images.float() * self.scale + self.shift)
        return logits, logits.softmax(1)


def export_float(
    model: nn.Module, path: str | Path, *, view: View, classes: tuple[str, ...], stored_size: int | None = None
) -> None:
    """Write a model as ONNX; the same model gives the same bytes.

    Batch norms are folded into the convolutions before them. The model itself is not changed.

    Args:
        model: Classifies normalised images; on any device.
        path: The file to write: input `images`, outputs `logits` and `probabilities`, any number of images.
        view: Size and normalisation of the model's input.
        classes: Names, in the order of the logits.
        stored_size: Side of the squares that training images were cut to [px]; None: that of the view.

    Raises:
        UserError: If the file would take 2 GiB or more.
    """
    whole = FromPixels(copy.deepcopy(model).cpu(), view).eval()
    example = torch.zeros(EXAMPLES, 3, view.size, view.size, dtype=torch.uint8)
    with quiet("torch.onnx", "onnxscript", "onnx_ir"):
        program = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    contract = Contract(tuple(classes), view.size, stored_size or view.size)
    onnx_file.write(path, program.model_proto, contract)
