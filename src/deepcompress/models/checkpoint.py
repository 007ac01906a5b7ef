"""Save and load a model as data: one safetensors file whose header says what the tensors are.

The header holds a single metadata key, because safetensors writes several in an order that changes between
runs. Nothing is unpickled, and a loaded file is refused unless its description and its tensors agree.
Source: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from deepcompress import files, params
from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.models.build import blank, own_code
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.spec import FAMILIES, Spec
from deepcompress.models.vgg import Classifier

ENCODINGS = "models.encodings"
STREAM, ALL = "coded", "*"
"""An encoding that keeps whole models: their tensors are one tensor of this name, and as encoded are named all.
Those of a type that it does not hold stay as they are."""
PART_SEPARATOR = "::"
METADATA_KEY = "description"
OWN_CODE = "code"
"""Of a network of the user: the hash of its code, in the provenance. Code that computes other answers from the same
weights so makes another file, and whatever was found out about the old one is found out anew."""
FORMAT_VERSION: Literal[1] = 1  # raised by a change that older code cannot read

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A tensor as it lies in the file: the encoding's name and the parts that it decodes."""

    encoding: str
    parts: dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A loaded file."""

    model: Classifier  # on the CPU, in eval mode, every encoded tensor decoded
    view: View  # how images become its input
    classes: tuple[str, ...]  # names, in the order of the logits
    provenance: dict[str, Any]  # as it was saved; see `provenance`
    description: dict[str, Any]  # the whole description as plain JSON values
    integers: dict[str, QuantizedWeight]  # the weights that the file holds as integers and scales, by tensor name

    def save_alike(
        self,
        path: str | Path,
        model: Classifier,
        provenance: dict[str, Any],
        encodings: Mapping[str, str | Encoded] | None = None,
    ) -> None:
        """Write a model that was made from this one: it sees images alike and knows the same classes."""
        save(path, model, view=self.view, classes=self.classes, provenance=provenance, encodings=encodings)


def provenance(stage: str, *, seed: int, params: dict[str, Any]) -> dict[str, Any]:
    """Where a model comes from; without time, host and path, so that a repeated run gives the same bytes."""
    versions = {package: importlib.metadata.version(package) for package in ("deepcompress", "torch")}
    return {"stage": stage, "seed": seed, "params": params, "versions": versions}


def save(
    path: str | Path,
    model: Classifier,
    *,
    view: View,
    classes: tuple[str, ...],
    provenance: dict[str, Any],
    encodings: Mapping[str, str | Encoded] | None = None,
) -> None:
    """Write a model, whole or not at all; the same model gives the same bytes on any device.

    A UserError if a tensor is not finite, as after a training that diverged, or an encoding does not give back an equal
    one; a ValueError if the arguments disagree.

    Args:
        path: The file, by custom `<model id>.safetensors`.
        model: Its parameters are float32, in any memory layout.
        provenance: JSON values; see `provenance`. Of a network of the user that of its code is added, see OWN_CODE.
        encodings: Tensor name -> a file in models/encodings/, or parts that such a file decodes. Tensors not
            named are stored as they are, or `coded` where any tensor is and theirs is of a type that it holds.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: tensor {name} holds NaN or infinity; did training diverge?")
    encoded = {name: _encoded(name, state, wanted) for name, wanted in (encodings or {}).items()}
    names = {name: parts.encoding for name, parts in encoded.items() if parts.encoding != STREAM}
    stored: dict[str, Tensor] = {}
    if len(names) < len(encoded):
        streamed = _streamed(state, names)
        encoded |= {name: _encoded(name, state, STREAM) for name in streamed if name not in encoded}
        stored = {STREAM: coded.join(encoded.pop(name).parts for name in streamed)}
        names, state = names | {ALL: STREAM}, {name: state[name] for name in state if name not in streamed}
    stored |= {name: tensor for name, tensor in state.items() if name not in encoded}
    for name, parts in encoded.items():
        stored |= {name + PART_SEPARATOR + part: tensor.contiguous() for part, tensor in parts.parts.items()}
    if code := own_code(model.spec):
        provenance = {**provenance, OWN_CODE: code}
    description = _described(model, view, tuple(classes), names, provenance).model_dump(mode="json")
    # Sorted, so that equal descriptions give equal bytes.
    metadata = {METADATA_KEY: json.dumps(description, sort_keys=True, allow_nan=False)}
    files.write_bytes(path, safetensors_torch.save(stored, metadata=metadata))


def load(path: str | Path) -> Checkpoint:
    """Read a model that `save` wrote. Draws no random numbers.

    A UserError names the file and the tensor: if it is missing, truncated or no such checkpoint, or if its description
    and its tensors disagree.
    """
    files.require_file(path)
    try:
        with safe_open(path, framework="pt") as stored:
            description = _from_metadata(path, stored.metadata())
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    try:
        model, integers = _model(description, tensors)
    except (UserError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    view = View(size=description.image_size, mean=description.mean, std=description.std)
    plain = description.model_dump(mode="json")
    return Checkpoint(model, view, description.classes, description.provenance, plain, integers)


class Description(params.Section):
    """What the header says about the tensors; see `checkpoint.save` for the fields."""

    format_version: Literal[1]
    family: str
    spec: dict[str, Any]
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    encodings: dict[str, str]
    provenance: dict[str, Any]

    def network_spec(self) -> Spec:
        """The network; a UserError if there is no such family, or it has other classes or another size of images."""
        if self.family not in FAMILIES:
            raise UserError(
                f"{METADATA_KEY}.family must be {' or '.join(map(repr, FAMILIES))}, got {params.shown(self.family)}"
            )
        spec = FAMILIES[self.family].from_dict(self.spec)
        if len(self.classes) != spec.classes:
            raise UserError(f"{len(self.classes)} class names for {spec.classes} classes")
        if self.image_size != spec.image_size:
            raise UserError(f"images of {self.image_size} px for a model of {spec.image_size} px")
        return spec


def _from_metadata(path: str | Path, metadata: dict[str, str] | None) -> Description:
    """The description in a header's metadata; a UserError says what is wrong with it."""
    try:
        block = json.loads((metadata or {})[METADATA_KEY])
    except KeyError:
        raise UserError(f"{path}: no deepcompress checkpoint (its header has no description)") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: the description in the header is damaged") from None
    return params.validate(Description, block, METADATA_KEY, path)


def _described(
    model: Classifier, view: View, classes: tuple[str, ...], encodings: dict[str, str], provenance: dict[str, Any]
) -> Description:
    description = Description.model_validate(
        {
            "format_version": FORMAT_VERSION,
            "family": next(name for name, kind in FAMILIES.items() if isinstance(model.spec, kind)),
            "spec": model.spec.to_dict(),
            "classes": classes,
            "image_size": view.size,
            "mean": view.mean,
            "std": view.std,
            "encodings": encodings,
            "provenance": provenance,
        }
    )
    try:
        description.network_spec()
    except UserError as error:
        raise ValueError(f"a checkpoint's parts disagree: {error}") from None
    return description


def _streamed(state: dict[str, Tensor], named: Mapping[str, str]) -> list[str]:
    """The tensors of a stream, in its order: a state dict's own is an accident. Masks and the like lie beside it."""
    return sorted(name for name in state if name not in named and state[name].dtype in coded.TYPES)


def _encoded(name: str, state: dict[str, Tensor], wanted: str | Encoded) -> Encoded:
    if name not in state:
        raise ValueError(f"encodings name a tensor {name}, which the model does not have")
    if isinstance(wanted, str):
        wanted = Encoded(wanted, params.plugin(ENCODINGS, wanted).encode(state[name]))
    decoded = _decoded(name, wanted, state[name])
    if not torch.equal(decoded.dequantize() if isinstance(decoded, QuantizedWeight) else decoded, state[name]):
        raise UserError(f"encoding {wanted.encoding} does not give back the values of tensor {name}")
    return wanted


def _decoded(name: str, encoded: Encoded, like: Tensor) -> Tensor | QuantizedWeight:
    try:
        decode = params.plugin(ENCODINGS, encoded.encoding).decode
        return cast("Tensor | QuantizedWeight", decode(encoded.parts, like.shape, like.dtype))
    except (UserError, ValueError) as error:
        raise UserError(f"tensor {name}: {error}") from None


def _model(description: Description, tensors: dict[str, Tensor]) -> tuple[Classifier, dict[str, QuantizedWeight]]:
    model = blank(description.network_spec())
    expected, encodings = model.state_dict(), dict(description.encodings)
    if whole := encodings.pop(ALL, None):
        rest = _streamed(expected, encodings)
        if whole != STREAM or STREAM not in tensors:
            raise UserError(f"tensors named {ALL} must be {STREAM}, in a tensor {STREAM}")
        records = coded.split(tensors.pop(STREAM))
        if len(records) != len(rest):
            raise UserError(f"tensor {STREAM} holds {len(records)} tensors, the model has {len(rest)} of them")
        for name, parts in zip(rest, records, strict=True):
            tensors |= {name + PART_SEPARATOR + part: record for part, record in parts.items()}
        encodings |= dict.fromkeys(rest, STREAM)
    for name in encodings:
        if name not in expected:
            raise UserError(f"the description encodes a tensor {name}, which the model does not have")
    state: dict[str, Tensor] = {}
    integers: dict[str, QuantizedWeight] = {}
    for name, like in expected.items():
        found = _take(name, like, tensors, encodings.get(name))
        if isinstance(found, QuantizedWeight):
            integers[name] = found
            found = found.dequantize()
        if found.shape != like.shape or found.dtype != like.dtype:
            raise UserError(f"tensor {name} must be {_kind(like)}, got {_kind(found)}")
        if not torch.isfinite(found).all():
            raise UserError(f"tensor {name} holds NaN or infinity")
        state[name] = found.clone()  # what safetensors gives is a view of the file
    if tensors:
        raise UserError(f"tensor {min(tensors)} is not part of the model that the description names")
    model.load_state_dict(state, assign=True)
    return model, integers


def _take(name: str, like: Tensor, tensors: dict[str, Tensor], encoding: str | None) -> Tensor | QuantizedWeight:
    """Remove one tensor of the model from `tensors`, its parts decoded."""
    if encoding is not None:
        prefix = name + PART_SEPARATOR
        parts = {key.removeprefix(prefix): tensors.pop(key) for key in [*tensors] if key.startswith(prefix)}
        return _decoded(name, Encoded(encoding, parts), like)
    if name not in tensors:
        raise UserError(f"tensor {name} is missing")
    return tensors.pop(name)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
