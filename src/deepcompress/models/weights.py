"""Start from weights that someone else trained: torchvision's ImageNet weights, or a state dict in a file."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch

from deepcompress.errors import UserError
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import prunable_layers

if TYPE_CHECKING:
    from torch import Tensor

    from deepcompress.models.spec import Spec
    from deepcompress.models.vgg import Classifier

ADDRESS = "https://download.pytorch.org/models/"
IMAGENET_FILES = {
    ("vgg11", False): "vgg11-8a719046.pth",
    ("vgg11", True): "vgg11_bn-6002323d.pth",
    ("vgg13", False): "vgg13-19584684.pth",
    ("vgg13", True): "vgg13_bn-abd245e5.pth",
    ("vgg16", False): "vgg16-397923af.pth",
    ("vgg16", True): "vgg16_bn-6c64b313.pth",
    ("vgg19", False): "vgg19-dcbb9e9d.pth",
    ("vgg19", True): "vgg19_bn-c79401a0.pth",
}
"""IMAGENET1K_V1 of torchvision.models.vgg; a name ends in the first 8 digits of the file's SHA-256."""

DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError)  # what torch.load raises on broken files

OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)")  # as in torchvision's DenseNet files
BATCH_COUNTS = ".num_batches_tracked"


def load_pretrained_(model: Classifier, weights: str | Path) -> None:
    """Overwrite the model's weights in place; a head for another number of classes stays as it was drawn.

    Args:
        model: A VGG at `width: 1` and 224 px for the ImageNet weights; others of any image size.
        weights: `imagenet` (downloaded once, to torch.hub's folder), or a .pth or .safetensors file with
            torchvision's layer names.

    Raises:
        UserError: If the file cannot be had or read, or a tensor is missing, unknown, of another shape or not
            finite; the model is then unchanged.
    """
    path = _imagenet(_address(model.spec)) if weights == "imagenet" else Path(weights)
    given = {OLD_DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in _read(path).items()}
    expected, head = model.state_dict(), f"{[*prunable_layers(model)][-1]}."
    if _other_classes(given, expected, head):
        given = {name: tensor for name, tensor in given.items() if not name.startswith(head)}
        expected = {name: tensor for name, tensor in expected.items() if not name.startswith(head)}
    _check(path, given, expected)
    with torch.no_grad():
        for name, tensor in given.items():
            expected[name].copy_(tensor)


def _address(spec: Spec) -> str:
    if isinstance(spec, VGGSpec):
        return ADDRESS + IMAGENET_FILES[spec.arch, spec.batch_norm]
    from torchvision.models import get_model_weights

    return str(get_model_weights(spec.arch)["IMAGENET1K_V1"].url)


def _imagenet(address: str) -> Path:
    name = address.rpartition("/")[2]
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = name.removesuffix(".pth").rsplit("-", 1)[-1]
    try:
        torch.hub.download_url_to_file(address, str(path), hash_prefix=digits, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: a wrong checksum
        raise UserError(
            f"{address}: download failed ({error}); fetch it elsewhere and put it at {path}, "
            "or set model.weights to its path or to null"
        ) from None
    return path


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"model.weights: {path}: no such file; must be imagenet, a .pth or a .safetensors")
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors_torch.load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # torch's advice on the age of a file's format
                state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words advise to load it all the same
        raise UserError(f"{path}: holds more than tensors, or is no such file; it must be a state dict") from None
    except (*DAMAGED, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or holds more than tensors ({reason})") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise UserError(f"{path}: must hold a mapping of layer names to tensors")
    return state


def _other_classes(given: dict[str, Tensor], expected: dict[str, Tensor], head: str) -> bool:
    """Whether both heads are whole, fit the same hidden layer, and differ in the number of classes."""
    heads = [(state.get(head + "weight"), state.get(head + "bias")) for state in (given, expected)]
    if any(weight is None or bias is None or weight.shape[:1] != bias.shape for weight, bias in heads):
        return False
    ours, theirs = (weight.shape for weight, _ in heads if weight is not None)
    return ours[1:] == theirs[1:] and ours[0] != theirs[0]


def _check(path: Path, given: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    # Files trained before PyTorch 0.4, as torchvision's with batch norm are, lack the counts of batches.
    for name in expected:
        if name not in given and not name.endswith(BATCH_COUNTS):
            raise UserError(f"{path}: tensor {name} is missing")
    for name, tensor in given.items():
        if name not in expected:
            raise UserError(f"{path}: tensor {name} is not part of the model")
        if tensor.shape != expected[name].shape:
            wanted, got = tuple(expected[name].shape), tuple(tensor.shape)
            raise UserError(
                f"{path}: tensor {name} must be {wanted}, got {got}; "
                "model.arch, width, hidden and image_size must be those of the weights"
            )
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: tensor {name} holds NaN or infinity")
