"""Read what layers inside a model give, by forward hooks that are removed when the block ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


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
                raise UserError(f"layer {name!r} does not exist; there are {', '.join(_leaves(layers))}")
            hooks.enter_context(_removed(layers[name].register_forward_hook(_keep(name, outputs))))
        yield outputs


def _keep(name: str, outputs: dict[str, Tensor]) -> Any:
    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        outputs[name] = output

    return hook


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _leaves(layers: dict[str, nn.Module]) -> list[str]:
    return [name for name, layer in layers.items() if not list(layer.children())]
