"""Whether the losses of the `distill` section can be built for its student and teachers, before any of them trains.

Networks are built without memory, so that this costs no time worth naming. Only done where one of them is not a VGG:
importing torchvision takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress import params, registry
from deepcompress.distillation.network import Network
from deepcompress.distillation.settings import LOSSES
from deepcompress.errors import UserError
from deepcompress.models.spec import BLOCKS, asked

if TYPE_CHECKING:
    from deepcompress.distillation.network import Teachers
    from deepcompress.distillation.settings import Distill

CLASSES = 2


def require_layers(distill: Distill, teachers: Teachers) -> None:
    """Refuse a loss that names a layer which the student or one of the teachers does not have, or cannot match them.

    Raises:
        UserError: Naming the method, the student and the teacher.
    """
    blocks = {name: params.validate(Network, block, name) for name, block in (teachers.model_extra or {}).items()}
    for method, teacher in distill.taught():
        networks = (distill.student, blocks[teacher])
        if any(network.arch not in BLOCKS for network in networks):
            _require(distill, method, f"{teacher} ({blocks[teacher].arch})", networks)


def _require(distill: Distill, method: str, teacher: str, networks: tuple[Network, Network]) -> None:
    import torch

    from deepcompress.distillation.loss import Setting
    from deepcompress.models.build import build

    with torch.device("meta"):
        student, taught = (build(asked(network, CLASSES)).eval() for network in networks)
    for name, (_, options) in distill.weighted(method)[1].items():
        try:
            registry.find(LOSSES, name).build(options, Setting(student, taught, torch.arange(CLASSES)))
        except UserError as error:
            told = str(error).removeprefix("params.yaml: ")
            raise UserError(
                f"params.yaml: distill.methods.{name} with the student {distill.student.arch} and the teacher "
                f"{teacher}: {told}"
            ) from None
