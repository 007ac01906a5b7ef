"""The `quant` section of params.yaml, and what one quantized model is made by. Free of torch, for plan."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.params import Section
from deepcompress.plan_table import BASELINE
from deepcompress.training.recipe import Recipe

WIDTHS = (*range(2, 9), 16)
HALF_BITS = 16
FORMATS = "quantization.formats"
FLOATS = ("bf16", "fp16", "fp32")  # of floats.py, and
INTEGER = re.compile(r"int([2-8])")  # of intn.py; any other file holds the format of its name
CONTROL = "qat-fp32"
FAMILY = "quantized"

Clipping = Literal["none", "weight_error", "output_error"]
Rounding = Literal["nearest", "gptq", "auto"]
Mode = Literal["ptq", "qat"]


def _width(value: Any) -> Any:
    """A number of bits, or a list of one; what makes it wrong in the words of params.yaml."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        listed = ",".join(map(str, value))
        hint = f"to try several: dvc exp run --queue -S quant.bits={listed}"
        raise PydanticCustomError("bits", "one number ({hint})", {"hint": hint})
    if isinstance(value, bool) or value not in WIDTHS:
        raise PydanticCustomError("bits", "one of 2..8 or 16")
    return value


Bits = Annotated[int, BeforeValidator(_width)]


class Calibration(Section):
    """Training images, seen as in a test, that `clipping: output_error` and every rounding but `nearest` look at."""

    samples: int = Field(ge=1)  # images; all of them if there are fewer
    inputs: int = Field(ge=1)  # input vectors that are kept per layer; a convolution has one per place of its map
    batch_size: int = Field(ge=1)  # images per pass


class QuantOptions(Section):
    """What the sweep and the model that we ship share."""

    float16: Literal["fp16", "bf16"]  # what 16 bits mean
    group_size: int | None = Field(ge=2)  # weights per scale, at most; None: one scale per output channel
    channel_bits: int = Field(ge=2, le=9)  # at or above this width: per-channel scales, `group_size` ignored
    first_bits: Bits | None = None  # of the first layer; None: like the others
    last_bits: Bits | None = None  # of the last layer; None: like the others
    clipping: Clipping  # how scales are chosen; see quantization/solvers.py
    rounding: Rounding  # how integers are chosen after training; see quantization/ptq.py


class QatRecipe(Recipe):
    """Training with rounded weights."""

    # Of integers: `fixed` as the search found them in proportion to the largest weight, or `learned` along with the
    # weights.
    steps: Literal["fixed", "learned"]


class Quant(QuantOptions):
    """The `quant` section."""

    bits: Bits  # of the model we ship
    mode: Mode  # of the model we ship: after training (`ptq`) or in training (`qat`)
    calibration: Calibration  # for the choices that look at images
    qat: QatRecipe  # training with rounded weights, and of the float control
    sweep: tuple[str, ...] = Field(min_length=1)  # the models to compare, <mode>-<format> each
    # Id of the model that the sweep quantizes (the key `from`): the baseline, or one of `baselines`.
    source: str = Field(default=BASELINE, alias="from")
    # Name -> a training as the baseline's, from the same start; what its block does not say, `finetune` says.
    baselines: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Recipe] = Field(default={})

    @model_validator(mode="after")
    def _variants(self) -> Quant:
        own = [f"{FAMILY}/{name}" for name in self.baselines]
        if self.source not in (BASELINE, *own):
            raise ValueError(f"from must be one of {', '.join((BASELINE, *own))}; got {self.source}")
        for variant in self.sweep:
            try:
                split(variant)
            except UserError as error:
                raise ValueError(f"sweep: {error}") from None
        if len(set(self.sweep)) != len(self.sweep):
            raise ValueError(f"sweep: the models must differ from each other, got {', '.join(self.sweep)}")
        trained = [variant for variant in self.sweep if split(variant)[0] == "qat"]
        if trained and CONTROL not in trained:
            raise ValueError(f"sweep: {trained[0]} is compared with {CONTROL}, which is not there")
        return self

    @property
    def shipped(self) -> str:
        """Mode and format of the model we ship, such as `ptq-int8`."""
        return f"{self.mode}-{self.float16 if self.bits == HALF_BITS else f'int{self.bits}'}"


class Task(QuantOptions):
    """All that decides what one quantized model becomes, and nothing else: it is kept with the model."""

    mode: Mode  # `ptq` or `qat`
    format: str  # of all layers but perhaps the first and the last
    calibration: Calibration | None  # None where no images are looked at
    qat: QatRecipe | None  # None where nothing is trained


def task(quant: Quant, variant: str | None = None) -> Task:
    """What a variant `<mode>-<format>` asks for; None: the model we ship. Raises like `split`."""
    mode, form = split(quant.shipped if variant is None else variant)
    options = {name: getattr(quant, name) for name in QuantOptions.model_fields}
    looks = quant.clipping == "output_error" or quant.rounding != "nearest"
    return Task(
        **options,
        mode=mode,
        format=form,
        calibration=quant.calibration if looks else None,
        qat=quant.qat if mode == "qat" else None,
    )


def split(variant: str) -> tuple[Mode, str]:
    """`qat-int4` as mode and format; a UserError, which lists what there is, if there is no such mode or format."""
    mode, _, form = variant.partition("-")
    known: dict[str, Mode] = {"ptq": "ptq", "qat": "qat"}
    if mode not in known:
        raise UserError(f"a quantized model is named ptq-<format> or qat-<format>, got {variant!r}")
    require_format(form)
    if variant == "ptq-fp32":
        raise UserError(f"ptq-fp32 would be its source, unchanged; the float control is {CONTROL}")
    return known[mode], form


def file_of(name: str) -> str:
    """The file in quantization/formats that holds a format; not whether there is one."""
    return "floats" if name in FLOATS else "intn" if INTEGER.fullmatch(name) else name


def require_format(name: str) -> None:
    """Refuse a format that does not exist, or whose file is not as it must be, and a file that would never be read.

    The UserError lists those that do, or names the file.
    """
    files = params.plugins(FORMATS)
    for file in files:
        if (owner := file_of(file)) != file:
            folder = f"src/deepcompress/{FORMATS.replace('.', '/')}"
            raise UserError(f"{folder}/{file}.py: {file} is a format of {owner}.py already; give yours another name")
    if file_of(name) != name:
        return
    known = sorted({*FLOATS, *files} - {"floats", "intn"})
    if name not in known:
        raise UserError(f"a format must be one of {', '.join(known)}, int2 to int8; got {name!r}")
    params.plugin(FORMATS, name)
