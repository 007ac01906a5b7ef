"""Quantize as `quant.bits` and `quant.mode` say; zeros stay zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.quantization import quantize, settings

if TYPE_CHECKING:
    from deepcompress.combine.work import Room, Work


def run(work: Work, room: Room) -> Work:
    """The rounded model.

    Raises:
        UserError: If a weight is not finite, or training with rounded weights diverges.
    """
    work.source.model.cpu()
    task = settings.task(room.how.quant)
    made = quantize.quantize_(work.source, room.data, task, fabric=room.fabric, provenance=room.origin)
    return work.then(work.source, made.history, encodings=made.encodings)
