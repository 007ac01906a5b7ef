"""The one door to a network, from its spec: a VGG, or a network of torchvision, of timm or of the user.

In the graph of the latter it finds what steps need.
A network is run once to see in which order its layers run, what each gives, and which outputs are overwritten later:
these have no name that a loss could read, such as a layer in front of a shortcut that is added in place.
A block is what runs at one size of map. The names mean what they mean in a VGG (models/spec.py): maps in block 3 have a
quarter of the image's side in both, so that losses can match a VGG's `block4` with a ResNet's.

torchvision and timm are imported at the first call, since that takes longer than the rest of a stage's start-up.
Source: https://docs.pytorch.org/vision/stable/models.html, https://huggingface.co/docs/timm.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.lazy import LazyModuleMixin

from deepcompress import code_hash
from deepcompress.errors import UserError
from deepcompress.models.spec import FEATURES, OWN, TIMM, GraphSpec, Spec, VGGSpec, dense, library
from deepcompress.models.vgg import VGG, Classifier

INSTALLED = {"site-packages", "dist-packages"}
Layer = nn.Conv2d | nn.Linear
SIZES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("out_channels", "in_channels", "groups"),
    nn.Linear: ("out_features", "in_features"),
    nn.BatchNorm2d: ("num_features",),
}
"""What says how large a layer is, in the order of a spec's widths."""


def build(spec: Spec) -> Classifier:
    """The network of a spec, with weights from torch's global generator.

    A library's network has its layers, names and initialisation; channels that were removed are left out. ReLUs are
    not in place, so that an output seen by a hook stays what the layer gave. A UserError if there is no such network,
    it is no classifier of images, or the spec gives a size to a layer that does not exist or is of another kind.
    """
    if isinstance(spec, VGGSpec):
        return VGG(spec)
    made = _full(spec)
    if library(spec.arch) != "torchvision":  # there, layers run in the order in which they are defined
        seen = trace(spec)
        made.layer_order = seen.order
        if seen.views:
            give_in_order_(made)
    made.spec = spec
    resize_(made, spec.widths)
    return cast("Classifier", made)  # in all but its class: images to logits, and a spec


def blank(spec: Spec) -> Classifier:
    """The same in evaluation mode, to look at or to load weights into; draws no random numbers.

    Load with `assign=True`: what this gives for weights means nothing and may take no memory.
    """
    with _without_memory(spec):
        return build(spec).eval()


def is_as_described(network: Any) -> bool:
    """Whether the modules and the tensors of a network are those of its spec: not where a layer was put into it."""
    spec = getattr(network, "spec", None)
    return spec is not None and _outside(network) == _outside(blank(spec))


def _outside(network: nn.Module) -> tuple[list[tuple[str, str]], dict[str, torch.Size]]:
    """The kinds of all modules and the shapes of all tensors, by name."""
    kinds = [(name, type(module).__qualname__) for name, module in network.named_modules()]
    return kinds, {name: tensor.shape for name, tensor in network.state_dict().items()}


@functools.cache
def outline(spec: Spec) -> Classifier:
    """The blank network with all its channels, made once; nobody may change it."""
    return blank(dense(spec))


def _without_memory(spec: Spec) -> Any:
    """Inside, a VGG and networks of torchvision take no memory; others are made in full, from a generator apart.

    Code of others may need numbers where it makes a network, which nothing without memory has.
    """
    meta = library(spec.arch) in ("vgg", "torchvision")
    return torch.device("meta") if meta else torch.random.fork_rng(devices=[])


def _full(spec: GraphSpec) -> Any:
    kind = library(spec.arch)
    if kind == "torchvision":
        from torchvision.models import get_model

        made = get_model(spec.arch, weights=None, num_classes=spec.classes)
    else:
        made = timm(spec) if kind == "timm" else _own(spec)
    if any(isinstance(module, LazyModuleMixin) for module in made.modules()):
        _answer(spec, made.eval())  # the first image that they see gives them their sizes
        made.train()
    for module in made.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return made


def timm(spec: GraphSpec, *, pretrained: bool = False) -> nn.Module:
    """A network of timm; one that is made for a single size of image is made for the spec's.

    A UserError if timm has no such network, or cannot make it for these images.
    """
    models: Any = importlib.import_module("timm.models")
    name = cast("Any", TIMM.fullmatch(spec.arch))[1]
    if not models.is_model(name):
        like = models.list_models(f"*{name.partition('.')[0][:6]}*")[:5]
        raise UserError(f"timm has no network {name!r}; it has {', '.join(like) or 'none like it'}")
    try:
        config = models.get_pretrained_cfg(name)
        sized = {"img_size": spec.image_size} if config and config.fixed_input_size else {}
        return cast("nn.Module", models.create_model(name, pretrained=pretrained, num_classes=spec.classes, **sized))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{spec.arch} at {spec.image_size} px: timm refuses: {first_line(error)}") from None


def source_file(arch: str) -> Path:
    """The file of the user's function; modules are looked for in the working folder, then where Python looks.

    A UserError if there is no such module, or it is an installed one, whose code no stage could depend on.
    """
    module, _ = cast("Any", OWN.fullmatch(arch)).groups()
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(module)
    except (Exception, SystemExit) as error:  # whatever a package around it raises when it is imported
        raise UserError(f"{arch}: module {module} cannot be imported: {first_line(error)}") from None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise UserError(f"{arch}: there is no module {module} in {Path.cwd()} or on PYTHONPATH")
    if INSTALLED & set(Path(found.origin).parts):
        raise UserError(f"{arch}: module {module} is an installed package; call it from a function of your own")
    return Path(found.origin)


def sources(arch: str) -> list[Path]:
    """The file of the user's function and all that it imports, at any distance, from the folder that holds its module.

    A UserError if there is no such module, or a file is not Python.
    """
    first = source_file(arch)
    depth = arch.partition(":")[0].count(".") + (first.name == "__init__.py")
    root = first.parents[depth]

    def imports(path: Path) -> Iterator[Path]:
        folders = [folder for folder in (root, *path.parents[:2]) if folder.is_relative_to(root)]
        modules = (folder.joinpath(*name.split(".")) for name in code_hash.imported(path) for folder in folders)
        files = (file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py"))
        return (file for file in files if file.is_file())

    return [first, *sorted(code_hash.reached(first, imports) - {first})]


def own_code(spec: Spec) -> str | None:
    """A hash of the user's code that makes a network, as it is now; None where a library or this package makes it."""
    if isinstance(spec, GraphSpec) and library(spec.arch) == "own":
        return code_hash.digest_of(sources(spec.arch))
    return None


def _own(spec: GraphSpec) -> nn.Module:
    """What the user's function makes of the number of classes; a checkpoint that names it calls it, too."""
    source_file(spec.arch)
    module, function = cast("Any", OWN.fullmatch(spec.arch)).groups()
    try:
        made = getattr(importlib.import_module(module), function)(spec.classes)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UserError(f"{spec.arch}: {type(error).__name__} while it was called: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise UserError(
            f"{spec.arch} must give a torch.nn.Module for {spec.classes} classes, got {type(made).__name__}"
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in made.modules()):
        raise UserError(f"{spec.arch}: no step can look into what torch.jit made; give the modules as they were before")
    if taken := [name for name in ("spec", "layer_order") if hasattr(made, name)]:
        raise UserError(f"{spec.arch}: its attribute {taken[0]} needs another name; every network has one of this name")
    return made


def first_line(error: BaseException) -> str:
    """What an error says, for a message; its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


# Sizes of layers, of which some differ in a pruned network.


def resize_(model: Classifier, widths: Iterable[tuple[str, tuple[int, ...]]]) -> None:
    """Give layers new parameters, not initialised, where their sizes are others than these; see GraphSpec.

    A UserError if a layer does not exist or is of another kind.
    """
    layers = dict(model.named_modules())
    for name, sizes in widths:
        layer: Any = layers.get(name)
        listed = next((names for kind, names in SIZES.items() if isinstance(layer, kind)), ())
        if not listed or len(sizes) != len(listed):
            arch = model.spec.arch
            raise UserError(f"widths name a layer {name!r} with {len(sizes)} sizes, which {arch} does not have")
        if sizes != tuple(getattr(layer, size) for size in listed):
            for size, value in zip(listed, sizes, strict=True):
                setattr(layer, size, value)
            _resize_layer_(layer, sizes)
    for module in cast("Iterable[Any]", model.modules()):
        if has_heads(module):
            module.attn_dim = module.qkv.out_features // 3
            module.num_heads = module.attn_dim // module.head_dim


def has_heads(module: Any) -> bool:
    """Whether a module is attention as timm writes it: a layer `qkv` for all heads, `proj` behind, counts beside."""
    linear = all(isinstance(getattr(module, name, None), nn.Linear) for name in ("qkv", "proj"))
    return linear and all(type(getattr(module, name, None)) is int for name in ("num_heads", "head_dim", "attn_dim"))


def _resize_layer_(layer: nn.Module, sizes: tuple[int, ...]) -> None:
    weight = (sizes[0], sizes[1] // sizes[2], *layer.kernel_size) if isinstance(layer, nn.Conv2d) else sizes
    for name in ("weight", "bias", "running_mean", "running_var"):
        old = getattr(layer, name, None)
        if old is None:
            continue
        new = torch.empty(weight if name == "weight" else sizes[:1], dtype=old.dtype, device=old.device)
        setattr(layer, name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)


# What one pass over a network without data shows.


@dataclass(frozen=True)
class Trace:
    """What a network does with one image."""

    order: tuple[str, ...]  # convolutions and linear layers, as they run
    # Shape of what each module gives, in the order in which they end, unless that is overwritten later.
    outputs: dict[str, tuple[int, ...]]
    outer: frozenset[str]  # modules that are reached through nn.Sequential alone, so that nothing leads around them
    norms: dict[str, str]  # convolution -> the batch norm that takes its output as it is
    head_answers: bool  # whether the answer is what the last layer gives, and nothing is done to it
    ran: frozenset[str]  # all modules that were called; not those that merely hold others, which are called one by one
    views: bool  # whether its code wants maps in the order of memory; see `give_in_order_`


@functools.cache
def trace(spec: GraphSpec) -> Trace:
    """The trace of the network with all its channels.

    A UserError if there is no such network, it does not run on an image of this size, or a file cannot hold it or
    steps cannot change it; see `_require_own_tensors`.
    """
    if spec.widths:
        return trace(dataclasses.replace(spec, widths=()))
    with _without_memory(spec):
        model = _full(spec).eval()
    views = library(spec.arch) != "torchvision" and _views(spec, model)
    ran: list[tuple[str, Tensor, int]] = []
    order: list[str] = []
    norms: dict[str, str] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if isinstance(module, Layer):
            order.append(name)
        if isinstance(module, nn.BatchNorm2d):
            for before, given, _ in ran:
                if given is [*inputs, *named.values()][0] and isinstance(model.get_submodule(before), nn.Conv2d):
                    norms.setdefault(before, name)
        if isinstance(output, Tensor):
            ran.append((name, output, output._version))

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(functools.partial(note, name), with_kwargs=True)
    answer = _answer(spec, model)
    outer = _outer(model, "")
    kept = {name: tuple(output.shape) for name, output, v in ran if name in outer or output._version == v}
    _require_logits(spec, answer, 1, "per image")
    if twice := [name for name in dict.fromkeys(order) if order.count(name) > 1]:
        raise UserError(f"{spec.arch}: layer {twice[0]} runs {order.count(twice[0])} times; give each place its own")
    _require_own_tensors(spec, model, order)
    if not order:
        raise UserError(f"{spec.arch} has no convolution and no linear layer that could be compressed")
    given, before = next((output, v) for name, output, v in ran if name == order[-1])
    same = given.shape == answer.shape and given.data_ptr() == answer.data_ptr()  # perhaps a view
    called = frozenset(("", *(name for name, *_ in ran)))
    seen = Trace(tuple(order), kept, frozenset(outer), norms, same and given._version == before, called, views)
    if library(spec.arch) != "torchvision":
        _require_logits_in_training(spec, model)
    return seen


def _views(spec: GraphSpec, model: nn.Module) -> bool:
    """Whether a network runs in channels_last memory, as training keeps it, with `give_in_order_` alone.

    It is left so; a UserError if it does not run even then.
    """
    model.to(memory_format=torch.channels_last)
    with suppress(UserError):
        _answer(spec, model, memory=torch.channels_last)
        return False
    give_in_order_(model)
    _answer(spec, model, memory=torch.channels_last)
    return True


def give_in_order_(model: nn.Module) -> None:
    """Let images and what convolutions give lie in the order of memory, which `view` needs to flatten maps."""
    model.register_forward_pre_hook(lambda _, given: tuple(value.contiguous() for value in given))
    for module in model.modules():
        if isinstance(module, _ConvNd):
            module.register_forward_hook(lambda _, given, maps: maps.contiguous())


def _answer(
    spec: GraphSpec, model: nn.Module, images: int = 1, memory: torch.memory_format = torch.contiguous_format
) -> Any:
    """What a network gives for some empty images."""
    with _without_memory(spec):
        pixels = torch.zeros(images, 3, spec.image_size, spec.image_size).contiguous(memory_format=memory)
    try:
        with torch.no_grad():
            return model(pixels)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UserError(f"{spec.arch} does not run on an image of {spec.image_size} px: {first_line(error)}") from error


def _require_logits(spec: GraphSpec, answer: Any, images: int, when: str) -> None:
    shape = (images, spec.classes)
    if not isinstance(answer, torch.Tensor) or answer.shape != shape:
        got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise UserError(f"{spec.arch} must give {spec.classes} logits {when}, {shape}; got {got}")


def _require_logits_in_training(spec: GraphSpec, model: nn.Module) -> None:
    """Refuse a network that gives more where it trains, such as what further heads answer."""
    answer: Any = None
    with torch.random.fork_rng(devices=[]), suppress(UserError):  # what empty images do not train may yet train
        answer = _answer(spec, model.train(), 2)
    if answer is not None:
        _require_logits(spec, answer, 2, "per image in training, too")


def _require_own_tensors(spec: GraphSpec, model: nn.Module, order: Iterable[str]) -> None:
    """Refuse what no file holds as it is, or what no step can change.

    That is a tensor of two names, such as of a layer that is kept in two places, which a file would hold twice; what is
    no tensor, not finite or not in 32 bits; and a weight that is made of other ones before each use.
    """
    names: dict[Tensor, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"{spec.arch}: its state holds {name}, which is no tensor; leave it out")
        if (first := names.setdefault(tensor, name)) != name:
            raise UserError(
                f"{spec.arch}: {first} and {name} are one and the same; keep each layer in one place, with weights of "
                "its own"
            )
        if isinstance(tensor, nn.Parameter) and tensor.dtype != torch.float32:
            raise UserError(f"{spec.arch}: {name} must be float32, got {tensor.dtype}; train.precision has other types")
        if not tensor.is_meta and not torch.isfinite(tensor).all():
            raise UserError(f"{spec.arch}: {name} holds NaN or infinity; a buffer may be one with persistent=False")
    for name in order:
        if "weight" not in dict(model.get_submodule(name).named_parameters(recurse=False)):
            raise UserError(
                f"{spec.arch}: the weight of layer {name} is made of other tensors, as by weight_norm; no step can "
                "prune or round it, so give the layer a plain one"
            )


def _outer(module: nn.Module, prefix: str) -> list[str]:
    found = []
    for name, child in module.named_children():
        if not isinstance(child, nn.AdaptiveAvgPool2d):
            found.append(prefix + name)
        if isinstance(child, nn.Sequential):
            found += _outer(child, f"{prefix}{name}.")
    return found


def roles(spec: GraphSpec) -> dict[str, str]:
    """Layer name of every role, in forward order: `block3` is the last layer whose maps have that size.

    The first blocks may be missing, since most networks halve the image at once; a side that is no half of the image's
    counts as the nearest one. `features` is the last layer before the classifier. A transformer, whose layers give
    tokens, has no other.
    """
    seen, found = trace(spec), dict[str, str]()
    before = [name for name in seen.outputs if name in seen.outer and not _in_head(name, seen.order[-1])]
    for name in before:
        shape = seen.outputs[name]
        if len(shape) == 4 and shape[2] == shape[3]:
            block = f"block{round(math.log2(spec.image_size / shape[3])) + 1}"
            found.pop(block, None)
            found[block] = name
    wide = [name for name in before if len(seen.outputs[name]) > 2]
    return {**found, FEATURES: (wide or before)[-1]} if before else found


def _in_head(name: str, head: str) -> bool:
    """Whether a module is, holds or lies beside the layer that gives the logits, in a block named after it."""
    return name == head or head.startswith(f"{name}.") or name.partition(".")[0] == head.partition(".")[0] != head
