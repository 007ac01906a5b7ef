"""Read what layers inside a model give, by forward hooks that are removed when the block ends; and name these layers.

Name a layer by its part in the network, so that VGGs of other depth or with batch norm have the same names.

`features.11` is the first convolution of block 4 in a plain VGG-11, a ReLU in a plain VGG-19 and a batch norm
in a VGG-16 with batch norm; `block4.conv1` is the same in all. A block ends at its max-pooling. Torchvision's
networks have blocks of the same sizes, but no roles for the layers in them: see build.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.models.spec import GraphSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from deepcompress.models.spec import Spec, VGGSpec


@contextmanager
def tap(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the named layers as each forward pass gives them, not detached.

        with tap(model, ["features.7"]) as outputs:
            logits = model(images)
        outputs["features.7"]

    Args:
        model: Any module; its layers are named as in `named_modules`.
        names: Layers to read.

    Yields:
        A dict of name -> output of the last forward pass; empty before the first.

    Raises:
        UserError: If a layer does not exist; lists those that do.
    """
    layers = dict(model.named_modules())
    outputs: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name in names:
            if not name or name not in layers:
                leaves = [there for there, layer in layers.items() if not list(layer.children())]
                raise UserError(f"layer {name!r} does not exist; there are {', '.join(leaves)}")
            hooks.enter_context(layers[name].register_forward_hook(_keep(name, outputs)))
        yield outputs


class _Reached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass whose rest nobody needs."""


def outputs_of(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, Tensor]:
    """What the named layers give for some images; what would run behind the last of them does not run."""
    wanted = set(names)

    def stop(*_: Any) -> None:
        if outputs.keys() == wanted:
            raise _Reached

    with tap(model, wanted) as outputs, ExitStack() as hooks, suppress(_Reached):
        for name in wanted:
            hooks.enter_context(model.get_submodule(name).register_forward_hook(stop))
        model(images)
    return outputs


def _keep(name: str, outputs: dict[str, Tensor]) -> Any:
    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        outputs[name] = output

    return hook


FEATURES = "features"


def layer(spec: Spec, role: str) -> str:
    """The name of a layer, as in `named_modules`.

    Args:
        spec: Of the network.
        role: `block4.conv1`, `block4.norm1` or `block4.relu1`, counted from 1, or `block4.pool`; `block4` is
            its last ReLU, or the last layer of that size in another network. `features` is the last layer before the
            classifier. A name such as `features.11` is its own answer, if there is such a layer.

    Raises:
        UserError: If there is no such layer; lists what there is.
    """
    if isinstance(spec, GraphSpec):
        from deepcompress.models import build  # which needs torch

        names, layers = build.roles(spec), set(build.trace(spec).outputs)
    else:
        names, layers = roles(spec), {*roles(spec).values(), FEATURES}
    if role in names:
        return names[role]
    if role in layers:
        return role
    there = ", ".join(f"{name} ({layer})" for name, layer in names.items())
    raise UserError(f"layer {role!r} does not exist in a {spec.arch}; there are {there}")


def has(spec: Spec, role: str) -> bool:
    """Whether there is such a layer."""
    try:
        return bool(layer(spec, role))
    except UserError:
        return False


def roles(spec: VGGSpec) -> dict[str, str]:
    """Layer name of every role of the convolutional part, in forward order."""
    found, index = {}, 0
    for block, widths in enumerate(spec.blocks, 1):
        kinds = ("conv", "norm", "relu") if spec.batch_norm else ("conv", "relu")
        for number, kind in itertools.product(range(1, len(widths) + 1), kinds):
            found[f"block{block}.{kind}{number}"] = f"features.{index}"
            index += 1
        found[f"block{block}"] = f"features.{index - 1}"
        found[f"block{block}.pool"] = f"features.{index}"
        index += 1
    return found


def side(image_size: int, block: int) -> int:
    """Height and width of the maps in a block, counted from 1, before its pooling [px]."""
    return image_size // 2 ** (block - 1)


def deepest_blocks(image_size: int, *, least_side: int = 4, count: int = 2) -> tuple[str, ...]:
    """The deepest blocks whose maps still have a shape to compare: `least_side` pixels or more.

    At 32 px these are block 3 (8 x 8) and block 4 (4 x 4); at 224 px blocks 4 (28 x 28) and 5 (14 x 14).

    Args:
        image_size: Side of the network's input [px].
        least_side: Of the map before the block's pooling [px].
        count: How many blocks, at most.

    Returns:
        Roles, the shallowest first.
    """
    large = [block for block in range(1, 6) if side(image_size, block) >= least_side]
    return tuple(f"block{block}" for block in large[-count:])
