"""The `deploy` section of params.yaml: what a model must keep to, to be handed over. Free of torch."""

from __future__ import annotations

from pydantic import Field

from deepcompress.params import Section


class Deploy(Section):
    """The limits of the recommendation.

    Attributes:
        max_drop_points: Top-1 that a model may lose to the baseline on validation images [percent points].
        max_size_mib: Of its file [MiB]; None sets no limit, here and below.
        max_macs_million: Multiply-accumulates for one image [millions].
        max_latency_ms: Median time for one image [ms]; when set, it is measured on the machine that recommends.
    """

    max_drop_points: float = Field(ge=0, le=100, allow_inf_nan=False)
    max_size_mib: float | None = Field(gt=0, allow_inf_nan=False)
    max_macs_million: float | None = Field(gt=0, allow_inf_nan=False)
    max_latency_ms: float | None = Field(gt=0, allow_inf_nan=False)
