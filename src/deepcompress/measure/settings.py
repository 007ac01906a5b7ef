"""The sections `evaluate` and `explain` of params.yaml. Free of torch, so that plan can check them."""

from __future__ import annotations

from pydantic import Field, model_validator

from deepcompress.data.augment import Jitter
from deepcompress.params import Section


class Evaluate(Section):
    """How models are measured on held-out data."""

    batch_size: int = Field(ge=1)  # images per forward pass
    calibration_bins: int = Field(ge=1, le=1000)  # equal-width confidence bins of the expected calibration error


class Robustness(Section):
    """How the baseline and compressed models are tried on changed images; None leaves a change out."""

    noise: float | None = Field(default=None, gt=0, le=1)  # standard deviation of Gaussian noise, pixels lying in 0..1
    fgsm: float | None = Field(default=None, gt=0, le=1)  # step of every pixel against the network, in the same unit
    images: int = Field(default=400, ge=2)  # so many of them; all if there are fewer

    @property
    def strengths(self) -> dict[str, float]:
        """By the name of the change, how strong it is; without those that are left out."""
        return {name: value for name, value in (("noise", self.noise), ("fgsm", self.fgsm)) if value is not None}


class Explain(Section):
    """How models are compared with their teachers or the baseline beyond accuracy, all on validation images."""

    images: int = Field(ge=2)  # so many of them for attention maps; all if there are fewer
    batch_size: int = Field(ge=1)  # images per pass
    # At which KL(teacher || student) is measured beside 1; that of the training.
    temperature: float = Field(gt=0, allow_inf_nan=False)
    ssim_window: int = Field(ge=3)  # side of the uniform window of SSIM [px]; odd, and no larger than the images
    strip_images: int = Field(ge=1, le=8)  # images of which the maps are shown
    jitter: Jitter  # colour changes of the copy on which colour invariance is measured
    robustness: Robustness = Robustness()  # further changes

    @model_validator(mode="after")
    def _possible(self) -> Explain:
        if self.ssim_window % 2 == 0:
            raise ValueError(f"ssim_window must be odd, got {self.ssim_window}")
        if self.strip_images > self.images:
            raise ValueError(f"strip_images must be at most images, got {self.strip_images} of {self.images}")
        return self
