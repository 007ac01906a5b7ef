"""Start from weights that someone else trained: ImageNet's of a library, or a checkpoint as training scripts save it.

A file is told by its content. Of what is in it only tensors are taken: nothing is unpickled but by torch's restricted
reader, and where a file holds other objects beside them (arguments, a scheduler), these become empty stand-ins, so that
no code of the file runs. Which part of the file is the state dict, and which prefix a wrapper put before its names, is
told by the names and shapes of the network.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch

from deepcompress import files
from deepcompress.errors import UserError, named
from deepcompress.models import checkpoint
from deepcompress.models.build import first_line, timm
from deepcompress.models.spec import IMAGENET, TIMM, Spec, VGGSpec
from deepcompress.models.vgg import Classifier, prunable_layers

State = dict[str, torch.Tensor]

log = logging.getLogger(__name__)
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What torch.load raises on broken files."""
STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module", "ema", "model_ema")
"""Where training scripts put the state dict, the weights themselves before their moving average."""

OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)")  # as in torchvision's DenseNet files
COMPILED = "_orig_mod."  # of torch.compile, also in the middle of a name
COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")  # of batch norm, thop and torch
SHOWN = 3  # names in a message
HOW_TO_SAVE = "save its weights alone: torch.save(model.state_dict(), PATH)"


def load_pretrained_(model: Classifier, weights: str | Path, key: str = "model") -> None:
    """Overwrite the model's weights in place; a head of another name or size stays as it was drawn.

    A UserError if the file cannot be had or read, or a tensor but those of the head is missing, unknown, of another
    shape or not finite; the model is then unchanged.

    Args:
        model: For `imagenet` a network of a library; a VGG at `width: 1` and 224 px, others of any image size.
        weights: `imagenet` (downloaded once, to torch.hub's folder), or a file: a state dict or a checkpoint that holds
            one, as torch.save or safetensors write it.
        key: Section of params.yaml that says so, for messages.
    """
    where, expected = f"params.yaml: {key}.weights: {weights}", model.state_dict()
    try:
        given = _imagenet(model.spec) if weights == IMAGENET else read(files.from_repository(str(weights)))
        taken, unused = _matched(given, expected, f"{[*prunable_layers(model)][-1]}.")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    with torch.no_grad():
        for name, tensor in taken.items():
            expected[name].copy_(tensor)
    fresh = [name for name in expected if name not in taken and not name.endswith(COUNTERS)]
    counts = f"{sum(not name.endswith(COUNTERS) for name in taken)} tensors loaded"
    log.info("%s: %s; fresh: %s; not used: %s", where, counts, named(fresh) or "none", named(unused) or "none")


# Which tensor of the file is which of the model.


def _matched(given: State, expected: State, head: str) -> tuple[State, list[str]]:
    """The tensors that are the model's, by its names, and the names of those that are not.

    The prefix is the one behind which most names and shapes are the model's; what has none may be a head beside it.
    """
    given = {OLD_DENSE_LAYER.sub(r"\1\2", name.replace(COMPILED, "")): tensor for name, tensor in given.items()}
    votes: Counter[str] = Counter()
    for name, tensor in given.items():
        parts = name.split(".")
        for at in range(len(parts)):
            known = expected.get(".".join(parts[at:]))
            if known is not None and known.shape == tensor.shape and known.dim():
                votes["".join(f"{part}." for part in parts[:at])] += 1
    prefix, most = max(votes.items(), key=lambda vote: (vote[1], -len(vote[0])), default=("", 0))
    rivals = [name for name, count in votes.items() if count == most and name.startswith(prefix) == (name == prefix)]
    if len(rivals) > 1:
        raise UserError(f"holds several networks, under {' and '.join(sorted(rivals))}; keep one of them in the file")
    renamed = {name.removeprefix(prefix): name for name in given if name.startswith(prefix)}
    renamed = {name: name for name in given if not name.startswith(prefix)} | renamed
    taken = {name: given[old] for name, old in renamed.items() if name in expected}
    whole = all(
        name in taken and taken[name].shape == expected[name].shape for name in expected if name.startswith(head)
    )
    if not whole:
        taken = {name: tensor for name, tensor in taken.items() if not name.startswith(head)}
    unused = [old for name, old in renamed.items() if name not in taken and not name.endswith(COUNTERS)]
    theirs = {name.partition(".")[0] for name in expected}
    for name, old in renamed.items():  # a block that the model has not may be another head; a layer of its own is not
        if old in unused and name.partition(".")[0] in theirs and not name.startswith(head):
            raise UserError(f"tensor {old} is not part of the model; is the arch that of the weights?")
    _check(taken, expected, head)
    return taken, unused


def _check(taken: State, expected: State, head: str) -> None:
    # Files trained before PyTorch 0.4, as torchvision's with batch norm are, lack the counts of batches.
    missing = [
        name for name in expected if name not in taken and not name.endswith(COUNTERS) and not name.startswith(head)
    ]
    if missing:
        count = f"{len(taken)} of the model's tensors are there"
        raise UserError(f"tensor {missing[0]} is missing ({count}); is the arch that of the weights?")
    for name, tensor in taken.items():
        if tensor.shape != expected[name].shape:
            wanted, got = tuple(expected[name].shape), tuple(tensor.shape)
            raise UserError(
                f"tensor {name} must be {wanted}, got {got}; arch, width, hidden and image_size must be those of the "
                "weights"
            )
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise UserError(f"tensor {name} must be {expected[name].dtype}, got {tensor.dtype}")
        if not torch.isfinite(tensor).all():
            raise UserError(f"tensor {name} holds NaN or infinity")


# What a file holds.


def read(path: Path) -> State:
    """The state dict in a file, told by its content.

    A UserError if it is damaged, holds none, or holds a whole model, whose class only its own code could make.
    """
    if reason := files.absence(path):
        raise UserError(f"{reason}; it must be null, imagenet or a file's path")
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
            with safe_open(path, "pt") as stored:
                own = checkpoint.METADATA_KEY in (stored.metadata() or {})
            return checkpoint.load(path).model.state_dict() if own else safetensors_torch.load_file(path)
        content = _unpickled(path)
    except pickle.UnpicklingError:  # torch's own words advise to load it all the same
        raise UserError(f"holds more than tensors, or is no checkpoint; {HOW_TO_SAVE}") from None
    except (*DAMAGED, SafetensorError) as error:
        reason = first_line(error)
        if "TorchScript" in reason:
            raise UserError(f"holds a whole model, of TorchScript; {HOW_TO_SAVE}") from None
        raise UserError(f"damaged, or holds more than tensors ({reason}); {HOW_TO_SAVE}") from None
    if isinstance(content, _StandIn):
        raise UserError(f"holds a whole model, which is never unpickled, for that runs code; {HOW_TO_SAVE}")
    states = _states(content)
    if not states:
        raise UserError(f"must hold a mapping of layer names to tensors; {HOW_TO_SAVE}")
    if len(states) > 1:
        first = "".join(f"[{key!r}]" for key in next(iter(states)))
        raise UserError(
            f"holds several networks, under {' and '.join(['.'.join(keys) for keys in states][:SHOWN])}; keep one of "
            f"them in the file, such as torch.save(torch.load(PATH){first}, NEW_PATH)"
        )
    return next(iter(states.values()))


class _StandIn:
    """What any class becomes that torch's restricted reader does not know: an object that holds and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _StandIn:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _unpickled(path: Path) -> Any:
    with warnings.catch_warnings(action="ignore"):  # torch's advice on the age of a file's format
        unknown: list[str] = []
        with contextlib.suppress(ValueError):  # of an old format, which is read as it is or not at all
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        try:
            return _restricted(path, _StandIn, unknown)
        except pickle.UnpicklingError:  # a stand-in that should hold items, as Lightning's arguments do
            return _restricted(path, OrderedDict, unknown)


def _restricted(path: Path, stand_in: type, unknown: list[str]) -> Any:
    with torch.serialization.safe_globals([(stand_in, name) for name in unknown]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _states(content: Any, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], State]:
    """The state dicts in a checkpoint by their keys: itself, what is under the first usual key, or under any others."""
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}
    if any(tensor.dim() for tensor in tensors.values()):
        return {place: tensors}
    for key in STATE_KEYS:
        if usual := _states(content.get(key), (*place, key)):
            return usual
    others = [key for key in content if "optim" not in str(key)]
    return {where: state for key in others for where, state in _states(content[key], (*place, str(key))).items()}


# Weights trained on ImageNet.


def _imagenet(spec: Spec) -> State:
    if isinstance(spec, VGGSpec) or not TIMM.fullmatch(spec.arch):
        return read(_downloaded(_address(spec)))
    try:
        return timm(spec, pretrained=True).state_dict()  # as timm fits them to the size of the images
    except OSError as error:  # of huggingface_hub
        reason = f"download failed ({type(error).__name__}); set weights to a file's path or to null"
        raise UserError(f"{spec.arch}: {reason}") from None


def _address(spec: Spec) -> str:
    """Of torchvision's file; its name ends in the first 8 digits of its SHA-256."""
    from torchvision.models import get_model_weights

    name = f"{spec.arch}_bn" if isinstance(spec, VGGSpec) and spec.batch_norm else spec.arch
    return str(get_model_weights(name)["IMAGENET1K_V1"].url)


def _downloaded(address: str) -> Path:
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
            "or set weights to its path or to null"
        ) from None
    return path
