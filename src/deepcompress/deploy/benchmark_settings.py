"""The `benchmark` section of params.yaml. Free of torch, so that plan can check it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from deepcompress.errors import UserError
from deepcompress.params import Section

Count = Annotated[int, Field(ge=1)]


class Benchmark(Section):
    """What is timed, and how.

    Attributes:
        models: Ids; None: every model of the plan.
        batch_sizes: Images per call.
        warm_up: Rounds before those that count.
        rounds: Rounds that count; each times every model in every engine once.
        threads: Of every engine; None: as many as the machine has cores.
    """

    models: tuple[str, ...] | None
    batch_sizes: tuple[Count, ...] = Field(min_length=1)
    warm_up: int = Field(ge=0)
    rounds: Count
    threads: Count | None

    @model_validator(mode="after")
    def _different(self) -> Benchmark:
        for key, values in (("models", self.models or ()), ("batch_sizes", self.batch_sizes)):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} must each be named once, got {list(values)}")
        if self.models == ():
            raise ValueError("models must name at least one, or be null for all")
        return self


def require_planned(benchmark: Benchmark, ids: list[str]) -> None:
    """Refuse a model that the plan does not have."""
    for model in benchmark.models or ():
        if model not in ids:
            raise UserError(f"params.yaml: benchmark.models must be among {', '.join(ids)}; got {model!r}")
