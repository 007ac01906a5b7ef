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
    """Limits of the recommended model, and how closely exported files must agree with their checkpoints.

    Attributes:
        max_drop_points: What a recommended model may lose against the baseline [percent points].
        confident: Whether the upper end of the 95 % interval of the loss must keep to max_drop_points, too.
        max_size_mib: The largest file [MiB]; None: any size.
        max_macs_million: The most multiply-accumulates for one image [millions]; None: any number.
        max_latency_ms: The longest time for one image [ms]; None: any time.
        float_agreement_pct: Held-out images on which a float file must name the checkpoint's class [%].
        integer_agreement_pct: The same of a file in integers of 8 or 4 bits.
        calibration_samples: Training images that the ranges of int8 activations are found on.
        reduce_range: Whether int8 weights take 7 bits, because products of 8 saturate on CPUs without VNNI.
    """

    max_drop_points: Percent
    confident: bool
    max_size_mib: Limit
    max_macs_million: Limit
    max_latency_ms: Limit
    float_agreement_pct: Percent
    integer_agreement_pct: Percent
    calibration_samples: Count
    reduce_range: bool

    def required_agreement(self, *, integers: bool) -> tuple[str, float]:
        """The params key that a file falls under, and its value [%]."""
        key = "integer_agreement_pct" if integers else "float_agreement_pct"
        return f"deploy.{key}", getattr(self, key)


class Benchmark(Section):
    """What is timed, and how often.

    Attributes:
        models: Ids; None: every model of the plan.
        engines: Files of deploy/engines; those that cannot run here are left out, and named.
        batch_sizes: Images per call.
        warm_up: Rounds before those that count.
        rounds: Rounds that count; each times every model in every engine once.
        threads: Of every engine; None: as many as the machine has cores.
    """

    models: tuple[str, ...] | None
    engines: tuple[str, ...] = Field(min_length=1)
    batch_sizes: tuple[Count, ...] = Field(min_length=1)
    warm_up: int = Field(ge=0)
    rounds: Count
    threads: Count | None

    @model_validator(mode="after")
    def _different(self) -> Benchmark:
        for key, values in (
            ("models", self.models or ()),
            ("engines", self.engines),
            ("batch_sizes", self.batch_sizes),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} must each be named once, got {list(values)}")
        if self.models == ():
            raise ValueError("models must name at least one, or be null for all")
        return self


def require_planned(benchmark: Benchmark, ids: list[str]) -> None:
    """Refuse a model that the plan does not have, and an engine that nobody wrote."""
    known = params.plugins("deploy.engines")
    for engine in benchmark.engines:
        if engine not in known:
            raise UserError(f"params.yaml: benchmark.engines must be among {', '.join(known)}; got {engine!r}")
    for model in benchmark.models or ():
        if model not in ids:
            raise UserError(f"params.yaml: benchmark.models must be among {', '.join(ids)}; got {model!r}")
