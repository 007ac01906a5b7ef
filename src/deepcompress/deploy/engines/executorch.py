"""ExecuTorch with XNNPACK, in float32: one image at a time, as a phone would run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.deploy.classifier import Contract
from deepcompress.deploy.engine import not_installed

if TYPE_CHECKING:
    from deepcompress.deploy.engine import Call, Deployable

FLOAT_FORM = "executorch"


def missing() -> str | None:
    """ExecuTorch is an optional group."""
    return not_installed("executorch", "executorch")


def load(model: Deployable) -> Call:
    """The model as a .pte file."""
    from deepcompress.deploy.executorch import PteClassifier, export_pte

    loaded, path = model.loaded, model.folder / "model.pte"
    contract = Contract(tuple(loaded.classes), loaded.view.size, loaded.view.size)
    export_pte(loaded.model, path, view=loaded.view, contract=contract)
    return PteClassifier(path).run
