"""The `deploy` section of params.yaml. Free of torch, so that plan can check it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deepcompress.params import Section

Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Deploy(Section):
    """Which model is handed over, and how far its files may stray from it.

    Attributes:
        max_drop_points: What a recommended model may lose against the baseline [percent points].
        max_size_mib: The largest file [MiB]; None: any size.
        max_macs_million: The most multiply-accumulates for one image [millions]; None: any number.
        max_latency_ms: The longest time for one image [ms]; None: any time.
        float_agreement_pct: Held-out images on which a float file must answer as the model does [%].
        integer_agreement_pct: The same of a file in integers of 8 or 4 bits.
        calibration_samples: Training images that the ranges of int8 activations are found on.
        reduce_range: Whether int8 weights take 7 bits, because products of 8 saturate on CPUs without VNNI.
    """

    max_drop_points: Percent
    max_size_mib: Limit
    max_macs_million: Limit
    max_latency_ms: Limit
    float_agreement_pct: Percent
    integer_agreement_pct: Percent
    calibration_samples: int = Field(ge=1)
    reduce_range: bool
