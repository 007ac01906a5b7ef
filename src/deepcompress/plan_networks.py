"""What a network of timm or of the user does not allow, found by running it once, before any work starts.

VGGs and torchvision's networks are left out: tests say what these allow, see docs/models.md. Files of weights are read
for any network, so that a damaged one stops the run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deepcompress import files, input_files, params
from deepcompress.errors import UserError
from deepcompress.models import taps
from deepcompress.models.spec import IMAGENET, GraphSpec, library

if TYPE_CHECKING:
    from torch import nn

PROBE_CLASSES = 2
SHOWN = 2  # layers in a line
TRAININGS = {"model": ("finetune", "prune.finetune", "quant.qat")}


def require_networks(document: Mapping[str, Any]) -> list[str]:
    """Refuse a network that no step can use, and a step that its network does not allow.

    Args:
        document: The whole of params.yaml, each section already checked.

    Returns:
        What steps leave out where they run all the same, a line each.

    Raises:
        UserError: Naming the key of the network or of the step, and the layer in the way; or a damaged file of weights.
    """
    blocks = input_files.networks(document).items()
    for key, block in blocks:
        if block["weights"] not in (None, IMAGENET):
            _require_weights(key, block["weights"])
    specs = {
        key: GraphSpec(block["arch"], PROBE_CLASSES, block["image_size"])
        for key, block in blocks
        if library(block["arch"]) in ("timm", "own")
    }
    notes = []
    for key, spec in specs.items():
        last = _last_layer(key, spec)
        for recipe in TRAININGS.get(key, (f"{key}.recipe",)):
            if params.at(document, recipe)["trainable"] == "head" and not hasattr(last, "in_features"):
                raise UserError(f"params.yaml: {recipe}.trainable: {spec.arch} ends in no linear layer; it must be all")
        if absent := [role for role in taps.deepest_blocks(spec.image_size) if not taps.has(spec, role)]:
            notes.append(f"{key}: {spec.arch} has no maps of {' and '.join(absent)}, so none of its attention is shown")
    for step, key, scope in _structured(document):
        if key in specs:
            notes += _require_channels(step, specs[key], scope)
    return list(dict.fromkeys(notes))


def _require_weights(key: str, weights: str) -> None:
    """Refuse a damaged file; whether its tensors fit the network shows where they are loaded."""
    from deepcompress.models.weights import read

    try:
        read(files.from_repository(weights))
    except UserError as error:
        raise UserError(f"params.yaml: {key}.weights: {weights}: {error}") from None


def _last_layer(key: str, spec: GraphSpec) -> nn.Module:
    from deepcompress.models import graph
    from deepcompress.models.build import outline

    try:
        return outline(spec).get_submodule(graph.trace(spec).order[-1])
    except UserError as error:
        raise UserError(f"params.yaml: {key}.arch: {error}") from None


def _structured(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, key of the network, scope) of every step that removes channels."""
    prune = document["prune"]
    if prune["method"] == "structured":
        yield "prune.method", "model", prune["structured"]["scope"]
    if "structured" in prune["sweep"]["methods"]:
        yield "prune.sweep.methods", "model", prune["structured"]["scope"]
    for name, link in document["combine"].get("prune", {}).items():
        own = params.linked(prune, link)
        if own["method"] == "structured":
            network = "distill.student" if str(link["from"]).startswith("students/") else "model"
            yield f"combine.prune.{name}", network, own["structured"]["scope"]


def _require_channels(step: str, spec: GraphSpec, scope: str) -> list[str]:
    from deepcompress.models.build import outline
    from deepcompress.models.vgg import prunable_layers
    from deepcompress.pruning.layers import groups, unprunable

    layers, found, whole = prunable_layers(outline(spec)), groups(spec), unprunable(spec)
    reasons = (
        "; ".join(f"{name}: {reason}" for name, reason in [*whole.items()][:SHOWN]) or "its outputs are the classes"
    )
    if not found:
        raise UserError(
            f"params.yaml: {step}: structured cannot take channels from any layer of {spec.arch} ({reasons}); "
            "unstructured can prune it"
        )
    if scope == "conv" and all(hasattr(layers[name], "in_features") for name in found):
        raise UserError(
            f"params.yaml: {step}: of {spec.arch} only linear layers can lose units, such as {next(iter(found))}; set "
            "prune.structured.scope to all, or use unstructured"
        )
    return [f"structured pruning leaves {len(whole)} layers of {spec.arch} whole ({reasons}; ...)"] if whole else []
