"""The `sensitivity` and `prune` sections of params.yaml. Free of torch, so that plan can check them."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.params import Section
from deepcompress.training.recipe import Recipe

Sparsity = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Method = Literal["unstructured", "structured"]
Granularity = Literal["weight", "channel"]
MOST_SPARSITIES = 256  # of a scan: 0, and as many as a byte counts; see `masks.levels`
GRANULARITY: dict[Method, Granularity] = {"unstructured": "weight", "structured": "channel"}


class Sensitivity(Section):
    """How each layer is tried alone."""

    # Rising from 0; a curve is a straight line between them.
    sparsities: tuple[Sparsity, ...] = tuple(tenth / 10 for tenth in range(10))
    samples: int = Field(ge=2)  # validation images to measure on; all of them if there are fewer
    # Images per pass; the inputs of all layers are kept for one batch. Batch norms take each batch's own statistics
    # where `prune.recalibrate` is not 0, so a few hundred are better than a few.
    batch_size: int = Field(ge=2)

    @model_validator(mode="after")
    def _rising_from_zero(self) -> Sensitivity:
        rising = all(low < high for low, high in itertools.pairwise(self.sparsities))
        if len(self.sparsities) < 2 or self.sparsities[0] != 0 or not rising:
            raise ValueError(f"sparsities must rise from 0, got {list(self.sparsities)}")
        if len(self.sparsities) > MOST_SPARSITIES:
            raise ValueError(f"sparsities must be at most {MOST_SPARSITIES}, got {len(self.sparsities)}")
        return self


class MethodConfig(Section):
    """How one method of pruning chooses what goes."""

    criterion: str  # a file in pruning/criteria
    allocation: str  # a file in pruning/allocations
    scope: Literal["all", "conv"]  # the layers whose weights a sparsity is a share of, and which are pruned
    dense: tuple[str, ...] = ()  # layers in scope that stay whole all the same

    @model_validator(mode="after")
    def _known(self) -> MethodConfig:
        for what, package in (("criterion", "criteria"), ("allocation", "allocations")):
            known = params.plugins(f"pruning.{package}")
            if getattr(self, what) not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}; got {getattr(self, what)!r}")
        return self


class Channels(MethodConfig):
    """How filters and units are chosen."""

    # Filters and units of a layer go by so many at a time, so that a multiple of it is left: the kernels of most
    # runtimes compute 4, 8 or 16 at once, and any other number costs as much as the next multiple. A layer whose own
    # number is no multiple goes by the greatest common divisor of both. 1: any number.
    round_to: int = Field(default=1, ge=1)


class Scoring(Section):
    """Training images for criteria that need gradients."""

    samples: int = Field(ge=1)  # how many; all of them if there are fewer
    batch_size: int = Field(ge=1)  # images per gradient


class Sweep(Section):
    """What `prune_sweep` runs: every method at every sparsity; 0 is the equally long fine-tuned control."""

    methods: tuple[Method, ...] = Field(min_length=1)
    sparsities: tuple[Sparsity, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _different(self) -> Sweep:
        for what in ("methods", "sparsities"):
            values = getattr(self, what)
            if len(set(values)) != len(values):
                raise ValueError(f"{what} must differ from each other, got {list(values)}")
        return self


class Prune(Section):
    """The `prune` section."""

    method: Method  # of the model we ship
    sparsity: Sparsity  # of the model we ship: share of the weights in scope that goes
    unstructured: MethodConfig  # how single weights are chosen
    structured: Channels  # how filters and units are chosen; the last layer's outputs are the classes and stay
    scoring: Scoring  # for criteria that need gradients
    # Training images on which the statistics of batch norms are estimated anew once something is pruned, 2 or more; 0:
    # they stay those of the dense model.
    recalibrate: int = Field(default=0, ge=0)
    finetune: Recipe  # training after pruning
    sweep: Sweep  # models to compare

    @model_validator(mode="after")
    def _consistent(self) -> Prune:
        if self.recalibrate == 1:  # of maps of one pixel it has a single value per channel
            raise ValueError("recalibrate must be 0, or 2 or more; one image alone has no statistics")
        for method, granularity in GRANULARITY.items():
            config = self.method_config(method)
            scored = params.plugin("pruning.criteria", config.criterion).GRANULARITIES
            if granularity not in scored:
                raise ValueError(
                    f"{method}.criterion must score a {granularity}; {config.criterion} scores a {scored[0]}"
                )
            allocation = params.plugin("pruning.allocations", config.allocation)
            if granularity not in getattr(allocation, "GRANULARITIES", granularity):
                raise ValueError(f"{method}.allocation must be one for filters, and {config.allocation} is for weights")
        self._require_sparsity(self.method, self.sparsity, "sparsity")
        return self

    def require_sweep(self) -> None:
        """Refuse a sparsity of the sweep that its allocation does not meet, by its key; a link need not care."""
        for method, sparsity in itertools.product(self.sweep.methods, self.sweep.sparsities):
            try:
                self._require_sparsity(method, sparsity, "sweep.sparsities")
            except ValueError as error:
                raise UserError(f"params.yaml: prune.{error}") from None

    def _require_sparsity(self, method: str, sparsity: float, key: str) -> None:
        name = self.method_config(method).allocation
        only = getattr(params.plugin("pruning.allocations", name), "SPARSITY", sparsity)
        if sparsity != only:
            raise ValueError(
                f"{key} must be {only}, the only one that {method}.allocation: {name} meets; got {sparsity:g}"
            )

    def method_config(self, method: str) -> MethodConfig:
        """How a method chooses what goes."""
        return self.structured if method == "structured" else self.unstructured

    def override(self, **given: Any) -> Prune:
        """The section with another method or sparsity than that of the model we ship; None: as it is."""
        return self.model_copy(update={key: value for key, value in given.items() if value is not None})

    def provenance_params(self) -> dict[str, Any]:
        """All of the section that decides about one model: the method's own block, and not the sweep."""
        return self.model_dump(mode="json", exclude={"unstructured", "structured", "sweep"} - {self.method})
