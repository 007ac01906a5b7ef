"""The sections `deploy` and `benchmark` of params.yaml. Free of torch, so that plan can check them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.params import Section

Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Deploy(Section):
    """Limits of the recommended model, and how closely exported files must agree with their checkpoints."""

    max_drop_points: Percent  # what a recommended model may lose against the baseline [percent points]
    confident: bool  # whether the upper end of the 95 % interval of the loss must keep to max_drop_points, too
    max_size_mib: Limit  # the largest file [MiB]; None: any size
    max_macs_million: Limit  # the most multiply-accumulates for one image [millions]; None: any number
    max_latency_ms: Limit  # the longest time for one image [ms]; None: any time
    float_agreement_pct: Percent  # held-out images on which a float file must name the checkpoint's class [%]
    integer_agreement_pct: Percent  # the same of a file in integers of 8 or 4 bits
    calibration_samples: Count  # training images that the ranges of int8 activations are found on
    reduce_range: bool  # whether int8 weights take 7 bits, because products of 8 saturate on CPUs without VNNI

    def required_agreement(self, *, integers: bool) -> tuple[str, float]:
        """The params key that a file falls under, and its value [%]."""
        key = "integer_agreement_pct" if integers else "float_agreement_pct"
        return f"deploy.{key}", getattr(self, key)


class Benchmark(Section):
    """What is timed, and how often."""

    models: tuple[str, ...] | None  # ids; None: every model of the plan
    # Files of deploy/engines; those that cannot run here are left out, and named.
    engines: tuple[str, ...] = Field(min_length=1)
    batch_sizes: tuple[Count, ...] = Field(min_length=1)  # images per call
    warm_up: int = Field(ge=0)  # rounds before those that count
    rounds: Count  # rounds that count; each times every model in every engine once
    threads: Count | None  # of every engine; None: as many as the machine has cores

    @model_validator(mode="after")
    def _different(self) -> Benchmark:
        for key in ("models", "engines", "batch_sizes"):
            values = getattr(self, key) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"{key} must each be named once, got {list(values)}")
        if self.models == ():
            raise ValueError("models must name at least one, or be null for all")
        return self


def require_planned(benchmark: Benchmark, ids: list[str]) -> None:
    """Refuse a model that the plan does not have, and an engine that nobody wrote, or not as it must be."""
    known = params.plugins("deploy.engines")
    for engine in benchmark.engines:
        if engine not in known:
            raise UserError(f"params.yaml: benchmark.engines must be among {', '.join(known)}; got {engine!r}")
        params.plugin("deploy.engines", engine)
    for model in benchmark.models or ():
        if model not in ids:
            raise UserError(
                f"params.yaml: benchmark.models must be among the models of the plan, got {model!r}; "
                f"there are {params.listed(ids, model)}"
            )
