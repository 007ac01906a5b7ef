"""Random changes of training images, drawn per image and applied to whole uint8 batches.

All draws come from a CPU generator, so that they are the same on every device. Images are changed at the side
at which they are stored, before any resize: up to 49 times less work than at 224 px for images stored at 32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from deepcompress.params import Section

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    Draws = dict[str, Tensor]
    """One row per image for each change that is on, such as `flip`: bool (images,)."""

Range = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ERASED_AREA = (0.02, 0.33)  # of the image
ERASED_RATIO = (0.3, 1 / 0.3)  # height over width
GREY = (0.2989, 0.587, 0.114)  # the luma weights of torchvision and PIL (ITU-R 601)


class Jitter(Section):
    """Ranges of the colour changes, as in torchvision's `ColorJitter`; 0 turns one off.

    A factor is uniform in [max(0, 1 - range), 1 + range]; the hue moves by a fraction of the colour circle
    that is uniform in [-range, range].
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class Augment(Section):
    """What happens to a training image: colours first, then a shifted crop, a mirror image, a hole, and a mixture.

    flip: mirror left and right with probability 1/2.
    crop_padding: shift by up to this many stored pixels each way; black comes in from outside.
    jitter: random colours, or null.
    erase: probability of a black rectangle of 2 to 33 % of the image.
    mixup: a in Beta(a, a), which gives the share of another image that is blended in; 0: none.
    cutmix: a in Beta(a, a), which gives the share that a rectangle of another image covers; 0: none.

    Each image is mixed with the one before it in its batch, and its label with that one's by the same shares (see
    `Batch.cross_entropy`). Its own share is at least a half, which for mixup is the same as any share, and leaves
    every image a class of its own. With both, each image takes one of the two at random.

    Source: Zhong et al., AAAI 2020, https://arxiv.org/abs/1708.04896 (erase); Zhang et al., ICLR 2018,
    https://arxiv.org/abs/1710.09412 (mixup); Yun et al., ICCV 2019, https://arxiv.org/abs/1905.04899 (cutmix).
    """

    flip: bool = False
    crop_padding: Annotated[int, Field(ge=0)] = 0
    jitter: Jitter | None = None
    erase: Fraction = 0.0
    mixup: Range = 0.0
    cutmix: Range = 0.0

    @property
    def mixes(self) -> bool:
        """Whether an image takes something of another one."""
        return self.mixup > 0 or self.cutmix > 0

    def draw(self, images: int, generator: torch.Generator) -> Draws:
        """Random parameters for so many images, a row for each; the generator, one of the CPU, moves on."""
        import numpy as np
        import torch

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(images, generator=generator)

        draws = {}
        if self.flip:
            draws["flip"] = torch.rand(images, generator=generator) < 0.5
        if self.crop_padding:
            draws["corner"] = torch.randint(0, 2 * self.crop_padding + 1, (images, 2), generator=generator)
        for name, width in (self.jitter or Jitter()).model_dump().items():
            if width:
                draws[name] = uniform(-width, width) if name == "hue" else uniform(max(0.0, 1 - width), 1 + width)
        if self.erase:
            area = uniform(*ERASED_AREA)
            area *= torch.rand(images, generator=generator) < self.erase
            ratio = uniform(*map(math.log, ERASED_RATIO)).exp()
            draws["erased"] = _boxes((area * ratio).sqrt(), (area / ratio).sqrt(), generator)
        if self.mixes:
            chance = (self.cutmix > 0) / ((self.mixup > 0) + (self.cutmix > 0))
            pasted = torch.rand(images, generator=generator) < chance
            rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
            blend, paste = (torch.from_numpy(rng.beta(a or 1, a or 1, images)) for a in (self.mixup, self.cutmix))
            share = torch.where(pasted, paste, blend).float()
            share = torch.minimum(share, 1 - share)
            side = torch.where(pasted, share, 0).sqrt()
            draws |= {"blended": torch.where(pasted, 0, share), "pasted": _boxes(side, side, generator)}
        return draws

    def apply(
        self, images: UInt8[Tensor, "batch height width 3"], draws: Draws
    ) -> UInt8[Tensor, "batch height width 3"]:
        """The images, changed by their rows of `draws` (on the same device)."""
        if draws.keys() & Jitter.model_fields.keys():
            images = _recolour(images, draws)
        if draws.keys() & {"flip", "corner"}:
            images = _move(images, draws, self.crop_padding)
        if "erased" in draws:
            images = images.masked_fill(_inside(draws["erased"], *images.shape[1:3])[..., None], 0)
        return images


def mix(
    images: UInt8[Tensor, "batch height width 3"], others: UInt8[Tensor, "batch height width 3"], draws: Draws
) -> UInt8[Tensor, "batch height width 3"]:
    """The images with what their rows of `draws` take of the others."""
    import torch

    blended = torch.lerp(images.float(), others.float(), draws["blended"][:, None, None, None]).round_()
    pasted = _inside(draws["pasted"], *images.shape[1:3])[..., None]
    return torch.where(pasted, others, blended.to(images.dtype))


def own_share(draws: Draws, height: int, width: int) -> Float[Tensor, " batch"]:
    """The share of each mixed image that is its own, counted in pixels."""
    return 1 - draws["blended"] - _inside(draws["pasted"], height, width).float().mean(dim=(1, 2))


def _boxes(height: Float[Tensor, " batch"], width: Float[Tensor, " batch"], generator: torch.Generator) -> Tensor:
    """Rectangles somewhere inside the image: top, bottom, left, right as shares of its sides: (batch, 4)."""
    import torch

    sides = torch.stack([height, width]).clamp(max=1)
    first = (1 - sides) * torch.rand(sides.shape, generator=generator)
    return torch.stack([first, first + sides], dim=1).flatten(0, 1).T


def _inside(boxes: Float[Tensor, "batch 4"], height: int, width: int) -> Bool[Tensor, "batch height width"]:
    """Which pixels have their centre in the rectangle of their image."""
    import torch

    def between(first: Tensor, last: Tensor, pixels: int) -> Tensor:
        centres = (torch.arange(pixels, device=boxes.device) + 0.5) / pixels
        return (first[:, None] <= centres) & (centres < last[:, None])

    top, bottom, left, right = boxes.T
    return between(top, bottom, height)[:, :, None] & between(left, right, width)[:, None, :]


def _move(images: UInt8[Tensor, "batch height width 3"], draws: Draws, padding: int) -> Tensor:
    """Crop and mirror in one gather of whole pixels."""
    import torch

    batch, height, width, _ = images.shape
    rows = torch.arange(height, device=images.device).expand(batch, -1)
    columns = torch.arange(width, device=images.device).expand(batch, -1)
    if "flip" in draws:
        columns = torch.where(draws["flip"][:, None], width - 1 - columns, columns)
    if "corner" in draws:
        rows, columns = rows + draws["corner"][:, :1], columns + draws["corner"][:, 1:]
        images = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    height_now, width_now = images.shape[1:3]
    first = torch.arange(batch, device=images.device)[:, None] * (height_now * width_now)
    pixels = ((first + rows * width_now)[:, :, None] + columns[:, None, :]).reshape(-1)
    return images.reshape(-1, 3).index_select(0, pixels).view(batch, height, width, 3)


def _recolour(images: UInt8[Tensor, "batch height width 3"], draws: Draws) -> Tensor:
    """Brightness, contrast, saturation, hue, in this order for every image, and rounded to uint8 once.

    torchvision's `ColorJitter` draws the order too and rounds after each step. With a fixed order an image's
    result depends on its own four factors alone.

    Source: torchvision.transforms.v2.functional, adjust_brightness and its neighbours, on float images.
    """
    colours = images.permute(3, 0, 1, 2).float().div_(255)
    factors = {name: value.to(colours)[:, None, None] for name, value in draws.items()}
    if "brightness" in draws:
        colours = (colours * factors["brightness"]).clamp_(0, 1)
    if "contrast" in draws:
        colours = _blend(colours, _grey(colours).mean(dim=(1, 2), keepdim=True), factors["contrast"])
    if "saturation" in draws:
        colours = _blend(colours, _grey(colours), factors["saturation"])
    if "hue" in draws:
        colours = _turn_hue(colours, factors["hue"])
    return colours.mul_(255).round_().to(images.dtype).permute(1, 2, 3, 0)


def _grey(colours: Float[Tensor, "3 batch height width"]) -> Float[Tensor, "batch height width"]:
    red, green, blue = colours
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def _blend(colours: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (other + (colours - other) * factor).clamp_(0, 1)


def _turn_hue(
    colours: Float[Tensor, "3 batch height width"], shift: Float[Tensor, "batch 1 1"]
) -> Float[Tensor, "3 batch height width"]:
    """Turn the hue in HSV space, keeping value and saturation.

    Source: hue as in torchvision's `_rgb_to_hsv`; back by f(n) = V - V S max(0, min(k, 4 - k, 1)) with
    k = (n + 6 H) mod 6 and n = 5, 3, 1 for red, green, blue, https://en.wikipedia.org/wiki/HSL_and_HSV.
    """
    import torch

    red, green, blue = colours
    value = colours.amax(0)
    chroma = value - colours.amin(0)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    turned = sextant + 6 * shift
    parts = [(turned + n).remainder_(6) for n in (5.0, 3.0, 1.0)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1) for k in parts])
