"""A model as an ONNX file in float32, and whether a file agrees with its checkpoint, image by image.

Normalisation and softmax are in the graph; a file's bytes depend on the model alone.

A program hands over uint8 pixels and needs no statistics of the training images, so that it cannot get them wrong.
Source: https://docs.pytorch.org/docs/stable/onnx_export.html, and
https://github.com/onnx/onnx/blob/main/docs/IR.md (metadata, operator sets).
"""

from __future__ import annotations

import copy
import json
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from deepcompress import files, runtime
from deepcompress.data.batches import View, resize
from deepcompress.data.images import WHITE
from deepcompress.deploy.classifier import BATCH, INPUT, OUTPUTS, Contract, OnnxClassifier
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.measure.statistics import wilson_interval
from deepcompress.models.build import own_code

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from deepcompress.data.store import Arrays
    from deepcompress.deploy.engines.executorch import PteClassifier
    from deepcompress.models.checkpoint import Checkpoint
    from deepcompress.models.vgg import Classifier

log = logging.getLogger(__name__)
OPSET = 20
EXAMPLES = 2  # images to trace with: of a single one the exporter would fix the batch
MAX_BYTES = 2**31 - 1  # of a protocol buffer
SHAPES = "torch.fx.experimental.symbolic_shapes"  # a logger; it warns of what is then raised
PRODUCER = "deepcompress"
CHUNK = 64  # images that are resized at a time
CODE = ("models", "data/batches.py", "data/images.py", "deploy/classifier.py", "deploy/onnx.py")  # decides about a file
MAKERS = ("torch", "torchvision", "timm", "onnx", "onnxscript")  # so do these packages, as far as they are installed


def export_float(
    model: nn.Module,
    path: str | Path,
    *,
    view: View,
    classes: tuple[str, ...],
    stored_size: int | None = None,
    white: int = WHITE,
) -> None:
    """Write a model as ONNX; the same model gives the same bytes.

    Batch norms are folded into the convolutions before them. The model itself is not changed. A UserError if torch
    cannot follow the network's code, or the file would take 2 GiB or more.

    Args:
        model: Classifies normalised images; on any device.
        path: The file to write: input `images`, outputs `logits` and `probabilities`, any number of images.
        view: Size and normalisation of the model's input.
        classes: Names, in the order of the logits.
        stored_size: Side of the squares that training images were cut to [px]; None: that of the view.
        white: The value of 16-bit grey images that became 255.
    """
    network = FromPixels(copy.deepcopy(model).cpu(), view).eval()
    contract = Contract(tuple(classes), view.size, stored_size or view.size, white)
    write(path, _filled(_traced(network, view.size, Path(path).name), network), contract)


def export_checkpoint(
    source: Path, loaded: Checkpoint, path: Path, *, stored_size: int | None = None, white: int = WHITE
) -> None:
    """`export_float` of the model file `source` to `path`; an equal file's export is found again in scratch.

    So is the graph of a network of equal layers and widths, since following its code takes most of the time.
    """
    view, contract = loaded.view, Contract(loaded.classes, loaded.view.size, stored_size or loaded.view.size, white)
    makers = own_code(loaded.model.spec), *(version(package) for package in MAKERS if find_spec(package))

    def export() -> bytes:
        network = FromPixels(loaded.model, view).eval()
        folder = runtime.scratch("onnx", "graph", json.dumps(loaded.description["spec"]), *makers, code=CODE)
        graph = files.kept_bytes(folder / "graph.npz", lambda: _traced(network, view.size, path.name))
        write(path, _filled(graph, network), contract)
        return path.read_bytes()

    folder = runtime.scratch("onnx", files.sha256(source), stored_size, white, *makers, code=CODE)
    files.write_bytes(path, files.kept_bytes(folder / "float.npz", export))


def _traced(network: nn.Module, size: int, name: str) -> bytes:
    """The graph of a network as torch finds it, before anything is folded, without the weights."""
    example = torch.zeros(EXAMPLES, 3, size, size, dtype=torch.uint8)
    try:
        with _quiet("torch.onnx", "onnxscript", "onnx_ir"), _quiet(SHAPES, level=logging.ERROR):
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
                optimize=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(
            f"{name}: torch cannot export the network ({reason}); its code must do the same for every "
            "image, and for any number of them"
        ) from None
    proto, tensors = cast("torch.onnx.ONNXProgram", program).model_proto, _tensors(network)
    for initializer in proto.graph.initializer:
        if initializer.name in tensors:
            initializer.ClearField("raw_data")
    return proto.SerializeToString(deterministic=True)


def _filled(graph: bytes, network: nn.Module) -> onnx.ModelProto:
    """What `_traced` gave of a network or of its like, with the network's weights, and folded."""
    from onnxscript import ir  # half a second that a file found in scratch does not need

    program = torch.onnx.ONNXProgram(ir.from_proto(onnx.ModelProto.FromString(graph)), None)
    names = program.model.graph.initializers
    with _quiet("onnxscript", "onnx_ir"):
        program.apply_weights({name: tensor for name, tensor in _tensors(network).items() if name in names})
        program.optimize()
    return program.model_proto


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, of which a state dict leaves some out."""
    return dict((*network.named_parameters(), *network.named_buffers()))


def require_exportable(model: Classifier) -> None:
    """Refuse a network that `export_float` cannot write; where all is well this takes a fraction of the time.

    `export_float` is asked where torch cannot follow the network at once, and what it raises is raised.
    """
    view = View(model.spec.image_size, (0.0,) * 3, (1.0,) * 3)
    example = torch.zeros(EXAMPLES, 3, view.size, view.size)
    try:
        with _quiet(SHAPES, level=logging.ERROR):
            torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception:  # of any kind
        with tempfile.TemporaryDirectory() as folder:
            classes = tuple(map(str, range(model.spec.classes)))
            export_float(model, Path(folder, "model.onnx"), view=view, classes=classes)


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


def channels_first(
    images: UInt8[np.ndarray, "images height width 3"], size: int
) -> UInt8[np.ndarray, "images 3 size size"]:
    """Stored images as an exported file takes them: resized as in training, uint8, channels first, not normalised.

    On the CPU, where `Batches` keeps whole grey levels.
    """
    result = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = resize(torch.from_numpy(np.array(images[part])), size).permute(0, 3, 1, 2).numpy()
    return result


def read(path: str | Path) -> tuple[onnx.ModelProto, Contract]:
    """What `write` wrote; UserError if it is no file that this package exported."""
    proto = onnx.load(path)
    return proto, Contract.from_metadata(path, {entry.key: entry.value for entry in proto.metadata_props})


def write(path: str | Path, proto: onnx.ModelProto, contract: Contract) -> None:
    """Write `proto`, which is stripped in place, with the contract in its metadata; whole or not at all.

    A UserError if the file would take 2 GiB or more, which the format cannot hold in one file.
    """
    strip_(proto)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, contract.to_metadata())
    if proto.ByteSize() > MAX_BYTES:
        raise UserError(f"{path}: {proto.ByteSize() / 2**30:.1f} GiB, but one ONNX file holds less than 2")
    files.write_bytes(path, proto.SerializeToString(deterministic=True))


def strip_(proto: onnx.ModelProto) -> None:
    """Remove what depends on the exporting machine or says nothing of the computation.

    Exporters note source lines, their own names and every operator set that they know: all of it goes, except the
    operator sets in use.
    """
    graph = proto.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del graph.value_info[:]
    proto.ClearField("doc_string")
    graph.name, proto.producer_name, proto.producer_version = PRODUCER, PRODUCER, ""
    used = {node.domain for node in graph.node} | {""}
    kept = [operators for operators in proto.opset_import if operators.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(sorted(kept, key=lambda operators: operators.domain))


@contextmanager
def _quiet(*names: str, level: int = logging.WARNING) -> Iterator[None]:
    """Inside, these loggers pass on warnings and errors alone, or errors alone, not what they do at each step."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@dataclass(frozen=True)
class Parity:
    """How far a file is from its checkpoint."""

    n: int  # images that both classified
    agreement_pct: float  # images on which both name the same class [%]
    largest_difference: float  # of any logit
    top1_pct: float  # images that the file gets right [%]
    model_top1_pct: float  # images that the checkpoint gets right [%]

    def row(self) -> dict[str, Any]:
        """As table columns, rounded to what the number of images can tell."""
        digits = {"largest_difference": 6}
        return {name: round(value, digits.get(name, 2)) for name, value in vars(self).items()}


def compare(
    classifier: OnnxClassifier | PteClassifier, logits: Float[Tensor, "images classes"], images: Arrays
) -> Parity:
    """Compare a file with its checkpoint on the same images.

    Args:
        classifier: The file, open in whichever runtime.
        logits: The checkpoint's, from `accuracy.logits`.
        images: Those that the logits are of, as stored; read BATCH at a time.
    """
    labels = torch.from_numpy(images.labels.copy())
    parts = (images.images[start : start + BATCH] for start in range(0, len(images), BATCH))
    side = classifier.contract.image_size
    file_logits = torch.from_numpy(np.concatenate([classifier.run(channels_first(part, side)) for part in parts]))
    return Parity(
        n=len(labels),
        agreement_pct=100 * accuracy.top1_agreement(logits, file_logits),
        largest_difference=(logits - file_logits).abs().max().item(),
        top1_pct=_top1_pct(file_logits, labels),
        model_top1_pct=_top1_pct(logits, labels),
    )


def require_parity(parity: Parity, required: tuple[str, float], *, name: str, images: str = "held-out images") -> None:
    """Refuse a file that is shown to disagree with its checkpoint more often than allowed, or gives no number.

    Shown is what the 95 % interval of the agreement says: of few images one answer is a large share. A file below the
    limit whose interval reaches it is let through with a warning.

    Args:
        parity: Of the file.
        required: The params key of the limit, and the lowest agreement that it allows [%].
        name: The file's, for the message.
        images: What both classified, for the message.
    """
    key, least_pct = required
    _, high = wilson_interval(round(parity.agreement_pct * parity.n / 100), parity.n)
    found = (
        f"{name} agrees with the checkpoint on {parity.agreement_pct:.2f} % of {parity.n} {images} (at least "
        f"{least_pct:g} % required, params.yaml: {key}; largest difference of a logit {parity.largest_difference:.3g})"
    )
    if 100 * high < least_pct or math.isnan(parity.largest_difference):
        raise UserError(found)
    if parity.agreement_pct < least_pct:
        log.warning("%s; too few images to tell (95 %% interval up to %.2f %%)", found, 100 * high)


def _top1_pct(logits: Float[Tensor, "images classes"], labels: Tensor) -> float:
    return 100 * accuracy.top_k_correct(logits, labels).double().mean().item()
