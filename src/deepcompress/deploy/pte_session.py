"""Run an ExecuTorch file on this machine's CPU, as a phone would run it; says how to install what that needs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deepcompress.deploy.contract import LOGITS, OUTPUTS, Contract, from_metadata
from deepcompress.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8

FORWARD, CONTRACT = "forward", "contract"  # what can be called in a file: the network, and the text of its contract
INSTALL = "ExecuTorch is not installed; `uv sync --group executorch` adds it"


def require_executorch() -> None:
    """Refuse to go on without the optional packages.

    Raises:
        UserError: If they are missing; says how to install them.
    """
    if importlib.util.find_spec("executorch") is None:
        raise UserError(INSTALL)


class PteClassifier:
    """A .pte file, ready to answer on this machine's CPU.

    Args:
        path: A file that `export_pte` wrote.

    Raises:
        UserError: If ExecuTorch or the file is missing, or the file is damaged or of another maker.
    """

    def __init__(self, path: str | Path) -> None:
        require_executorch()
        from executorch.runtime import Runtime

        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
        try:
            program = Runtime.get().load_program(Path(path))
            said = program.load_method(CONTRACT).execute([])[0] if CONTRACT in program.method_names else "{}"
            self._method = program.load_method(FORWARD)
        except RuntimeError as error:
            raise UserError(f"{path}: no ExecuTorch file that can be run ({error})") from None
        self.contract: Contract = from_metadata(path, json.loads(said))

    def answers(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image; one image at a time."""
        place = OUTPUTS.index(output)
        answers = [self._method.execute([image])[place].clone() for image in torch.from_numpy(images).split(1)]
        return torch.cat(answers).numpy()
