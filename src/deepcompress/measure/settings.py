"""The `evaluate` section of params.yaml."""

from __future__ import annotations

from pydantic import Field

from deepcompress.params import Section


class Evaluate(Section):
    """How models are measured on held-out data.

    Attributes:
        batch_size: Images per forward pass.
        calibration_bins: Equal-width confidence bins of the expected calibration error.
    """

    batch_size: int = Field(ge=1)
    calibration_bins: int = Field(ge=1, le=1000)
