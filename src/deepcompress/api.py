"""What the stages do, as functions for a notebook or a script: `import deepcompress as dc`, then `dc.prune(...)`.

Each function makes a new model and leaves the one that it is given as it is. What a call does not say is as params.yaml
of the working folder has it, or that of the repository where there is none; a keyword is a key of the step's section,
and a mapping changes single keys of a block: `dc.prune(model, images, sparsity=0.9, finetune={"epochs": 2})`. As in a
stage, torch is seeded, uses deterministic algorithms and `train.threads` threads from then on, in this one process,
whose own threads make one step at a time.
A mistake raises `deepcompress.errors.UserError` with one line that says what is allowed.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from filelock import FileLock

from deepcompress import dependencies, files, params, runtime
from deepcompress.data import heldout, store
from deepcompress.data.batches import Batches
from deepcompress.distillation.settings import Distill
from deepcompress.distillation.student import train as train_student
from deepcompress.errors import UserError, named, of_arguments
from deepcompress.measure import accuracy as measured
from deepcompress.measure import cost
from deepcompress.models import build, checkpoint, spec
from deepcompress.pruning import layers, masks, sensitivity
from deepcompress.pruning import prune as pruning
from deepcompress.pruning.settings import Prune, Sensitivity
from deepcompress.quantization import quantize as quantization
from deepcompress.quantization import settings as quantization_settings
from deepcompress.training import loop, run
from deepcompress.training.recipe import History, Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    Row = dict[str, Any]

S = TypeVar("S", bound=params.Section)
OWN = Path(__file__).parents[2] / params.PARAMS_FILE  # of the repository
LEARNING, LEARNING_ON = "distill.student.recipe", "prune.finetune"  # of a fresh student, and of one that is given
BATCH_SIZE = 256  # images to measure on
_turn = threading.RLock()


@contextmanager
def _in_turn() -> Iterator[None]:
    """Let threads make one step at a time, for torch has one seed for all; with gradients and in float32, always."""
    with _turn, torch.inference_mode(False), runtime.in_float32():
        yield


@dataclasses.dataclass(frozen=True)
class Model(checkpoint.Checkpoint):
    """A model as its file holds it, with what making it had to tell.

    `tables` are rows by name: `history` of epochs, and what the step measured (`allocation`, `storage`, `quantized`).
    """

    content: bytes = dataclasses.field(default=b"", repr=False)  # of the file
    tables: dict[str, list[Row]] = dataclasses.field(default_factory=dict, repr=False)

    @runtime.in_float32()
    def save(self, path: str | Path) -> None:
        """Write the checkpoint that all stages and commands read; a network changed by hand since then as float32."""
        place, now = _place(path), _loaded(self)
        if place.is_dir():
            raise UserError(f"{path}: is a folder, and must be a file's path")
        with _file(self.content) as file:
            before = checkpoint.load(file)
        own, stored = now.model.state_dict(), before.model.state_dict()
        described = (self.view, self.classes, self.provenance) == (before.view, before.classes, before.provenance)
        if described and all(torch.equal(own[name], stored[name]) for name in own):
            files.write_bytes(place, self.content)
        else:
            self.save_alike(place, now.model, self.provenance)


@dataclasses.dataclass(frozen=True)
class Images:
    """Images as the download stage stores them."""

    fit: Path  # folder of training and validation images; held-out ones lie beside it, in `heldout`
    meta: store.Meta  # classes, counts, size and statistics


Given: TypeAlias = Model | str | Path  # a model, or the path of its file
GivenImages: TypeAlias = Images | str | Path  # images, or what `images` takes


@runtime.in_float32()
def load(path: str | Path) -> Model:
    """Read a checkpoint, such as models/shipped/quantized.safetensors; a UserError says what is wrong with the file."""
    place = _place(path)
    return Model(**vars(checkpoint.load(place)), content=place.read_bytes())


@of_arguments({"data": ""})
def images(path: str | Path, **settings: Any) -> Images:
    """Open data/fit, or store photographs: a folder, zip or tar of train/<class>/* (also test/), or of <class>/*.

    Args:
        path: Of either. Photographs are decoded once into scratch, and again when a file changes; a second call at
            the same time waits for what the first one stores.
        settings: Keys of the section `data`, such as stored_size=64 [px].

    Raises:
        UserError: If there is nothing, or nothing that can be learnt from; names the file.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"images must be what images gave, or their path, got {type(path).__name__}")
    if "source" in settings:
        raise UserError("images: source is folder here; other sources are read by the stage download, into data/fit")
    place = _place(path)
    if (place / "meta.json").is_file():
        if settings:
            raise UserError(f"{place}: is stored already, so {', '.join(settings)} cannot change it")
        return Images(place, store.read_meta(place))
    if not place.exists():
        raise UserError(f"{place}: no such file or folder; images wants data/fit, or photographs in a folder per class")
    folder = _mapping("folder", settings.get("folder"))
    if "path" in folder:
        raise UserError(f"images: folder.path is {place} here, as the first argument says; leave it out")
    block = {**settings, "source": "folder", "folder": {**folder, "path": str(place.absolute())}}
    data = _section(store.DataConfig, "data", block)
    made = runtime.scratch("images", data, dependencies.fingerprint(data)).absolute()
    fit, test = made / "fit", made / "heldout"
    with FileLock(made / "lock"):
        if not (test / "meta.json").is_file():  # the last to take its place, maybe while this call waited
            source = store.load_source(data, made)
            with store.atomic_folders(fit, test) as (new_fit, new_test):
                meta = store.write_fit(new_fit, source, validation_fraction=data.validation_fraction, seed=data.seed)
                store.write_heldout(new_test, source, meta=meta)
    return Images(fit, store.read_meta(fit))


@of_arguments({"model": "network_settings", "finetune": ""})
@_in_turn()
def train(images: GivenImages, *, network_settings: Mapping[str, Any] | None = None, **settings: Any) -> Model:
    """Train the baseline, as the stage `finetune` does.

    Args:
        images: To learn from and to choose on.
        network_settings: Keys of the section `model`, such as {"arch": "resnet18", "weights": "imagenet"}.
        settings: Keys of the section `finetune`, such as epochs=20.
    """
    shape = _section(spec.Model, "model", _mapping("network_settings", network_settings))
    how = _section(Recipe, "finetune", settings)
    fabric, made = _start("finetune", {"model": shape.model_dump(), "finetune": how.model_dump()})
    with run.TrainingRun.of_size(_images(images).fit, shape.image_size, _budget()) as training:
        net = run.network(shape, len(training.images.meta.classes), "model")
        past = training.train(net, loop.CrossEntropy(how.label_smoothing), how, fabric=fabric, provenance=made)
        return _fresh(net, past, training, made)


@of_arguments({"prune": ""})
@_in_turn()
def prune(
    model: Given,
    images: GivenImages,
    *,
    sparsity: float | EllipsisType = ...,
    method: Literal["unstructured", "structured"] | EllipsisType = ...,
    **settings: Any,
) -> Model:
    """Remove weights (`unstructured`) or filters and units (`structured`), and fine-tune what is left.

    Args:
        model: Dense, or for `unstructured` also one that lost channels before.
        sparsity: Share of the weights in scope that goes, in [0, 1).
        settings: Other keys of the section `prune`, such as finetune={"epochs": 2}.

    Returns:
        The trained model; tables `history`, `allocation` (a row per layer), `weights` and `storage`.
    """
    start = _loaded(model)
    how = _section(Prune, "prune", _said(sparsity=sparsity, method=method) | settings)
    fabric, made = _start("prune", {"prune": how.provenance_params()})
    own, narrow = start.model.to(fabric.device), how.method == "unstructured"
    dense = layers.require_dense(own, "the model to prune", narrow=narrow)
    with run.TrainingRun(_same_classes(start, images).fit, start.view, _budget()) as training:
        known: dict[str, Any] = {}
        options: dict[str, Any] = {"view": start.view, "seed": made["seed"]}
        if params.plugin("pruning.allocations", how.method_config(how.method).allocation).EVIDENCE == "curves":
            scan = _section(Sensitivity, "sensitivity", {})
            rows = sensitivity.sensitivity(dense, training.images, how.method, scan, how, **options)
            known = sensitivity.curves(rows)
        forms = pruning.prune(dense, training.images, how, curves=known, **options)
        loss = loop.CrossEntropy(how.finetune.label_smoothing)
        past = training.train(forms.trained, loss, how.finetune, fabric=fabric, provenance=made, after_step=forms.hold)
        tables = {"history": past.rows(), **pruning.tables(dense, forms)}
        return _alike(start, forms.trained, made, masks.encodings(forms.trained), tables)


@of_arguments({"quant": ""})
@_in_turn()
def quantize(
    model: Given,
    images: GivenImages,
    *,
    bits: int | EllipsisType = ...,
    group_size: int | EllipsisType | None = ...,
    mode: Literal["ptq", "qat"] | EllipsisType = ...,
    **settings: Any,
) -> Model:
    """Round weights to fewer bits, after training (`ptq`) or in training (`qat`); zeros stay zero.

    Args:
        images: To calibrate and to learn from; validation images tell what rounding cost.
        bits: Per weight: 2 to 8, or 16.
        group_size: Inputs that share a scale, at most; None: one scale per output channel.
        settings: Other keys of the section `quant`, such as rounding="gptq".

    Returns:
        The rounded model, which is stored in that many bits; tables `quantized` (one row: accuracy, error) and
        `history`.
    """
    start = _loaded(model)
    said = _said(bits=bits, group_size=group_size, mode=mode) | settings
    task = quantization_settings.task(_section(quantization_settings.Quant, "quant", said))
    fabric, made = _start("quantize", {"quantize": task.model_dump()})
    with run.TrainingRun(_same_classes(start, images).fit, start.view, _budget()) as training:
        rounded, past = quantization.quantize_(start, training, task, fabric=fabric, provenance=made)
        tables = {"quantized": [rounded.row], "history": past.rows()}
        return _alike(start, start.model, made, rounded.encodings, tables)


@of_arguments({LEARNING: "recipe", LEARNING_ON: "recipe", "distill.student": "network_settings", "distill": ""})
@_in_turn()
def distill(
    student: Given | None,
    teacher: Given,
    images: GivenImages,
    *,
    method: str,
    recipe: Mapping[str, Any] | None = None,
    network_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Model:
    """Train a student that learns from a teacher's answers as well as from labels.

    Args:
        student: Learns on as `prune.finetune` says, its zeros stay; None: a fresh network of `distill.student`.
        teacher: Knows the same classes and sees images at the same size.
        method: A name in `distill.methods` or `distill.mixtures`, such as "logit".
        recipe: Keys of the training, such as {"epochs": 4}.
        network_settings: Keys of `distill.student`, for a fresh network, such as {"width": 0.25}.
        settings: Keys of the section `distill`, such as methods={"logit": {"temperature": 4.0}}.
    """
    if not isinstance(method, str):
        raise UserError(f"distill: method must be a name, got {type(method).__name__}")
    start, own_recipe = None if student is None else _loaded(student), _mapping("recipe", recipe)
    if start is None:
        fresh = {**_mapping("network_settings", network_settings), "recipe": own_recipe}
        config = _section(Distill, "distill", {**settings, "student": fresh})
    elif network_settings:
        raise UserError("distill: network_settings are for a fresh network, and a student is given")
    else:
        after = _section(Recipe, LEARNING_ON, own_recipe)
        config = _section(Distill, "distill", settings).for_pruned(after, start.view.size)
    fabric, made = _start("distill", config.provenance_params(method, taught=True))
    fit, size = (_same_classes(start, images) if start else _images(images)).fit, config.student.image_size
    seen = run.TrainingRun(fit, start.view, _budget()) if start else run.TrainingRun.of_size(fit, size, _budget())
    with _as_file(teacher) as taught, seen as training:
        options: dict[str, Any] = {"fabric": fabric, "provenance": made}
        if start is None:
            return _fresh(*train_student(config, training, method, taught, **options), training, made)
        options |= {"model": start.model, "after_step": masks.keep_zeros(start.model)}
        net, past = train_student(config, training, method, taught, **options)
        return _alike(start, net, made, masks.encodings(net), {"history": past.rows()})


@_in_turn()
def export(model: Given, path: str | Path, *, bits: int = 32, images: GivenImages | None = None) -> None:
    """Write an ONNX file that takes uint8 pixels and gives logits and probabilities.

    Args:
        path: Ends in .onnx.
        bits: 32: float; 8: weights and activations in int8; 4: the model's own integers of 4 bits or fewer.
        images: What ranges of activations are found on, for 8 bits; their stored size goes into the file.

    Raises:
        UserError: If something of that is missing.
    """
    from deepcompress.deploy import integers, onnx
    from deepcompress.deploy.settings import Deploy

    source, place = _loaded(model), _place(path)
    given = None if images is None else _same_classes(source, images)
    if place.suffix != ".onnx" or place.is_dir() or not isinstance(bits, int | np.integer) or bits not in (4, 8, 32):
        raise UserError(f"export writes .onnx with bits 4, 8 or 32; got {path} with {bits!r}")
    if bits == 8 and given is None:
        raise UserError("export: bits=8 needs images to find the ranges of activations on")
    weights = integers.int4_weights(source)
    if bits == 4 and not weights:
        raise UserError("export: bits=4 needs a model with integers of 4 bits or fewer; see quantize(bits=4)")
    how = {} if given is None else {"stored_size": given.meta.image_size, "white": given.meta.white}
    with tempfile.TemporaryDirectory() as folder:
        file = place if bits == 32 else Path(folder, place.name)
        onnx.export_float(source.model, file, view=source.view, classes=source.classes, **how)
        if bits == 4:
            integers.quantize_int4(file, place, weights)
        elif given is not None and bits == 8:
            deploy = _section(Deploy, "deploy", {})
            seen = store.sampled(store.open_fit(given.fit).train, deploy.calibration_samples, params.seed(_params()))
            pixels = onnx.channels_first(seen.images, source.view.size)
            integers.quantize_int8(file, place, images=pixels, reduce_range=deploy.reduce_range)


@runtime.in_float32()
def size_report(model: Given) -> dict[str, int | float]:
    """What a model takes.

    Returns:
        `file_bytes` of the checkpoint; `bits_per_weight`: that over all parameters; `parameters`, `weights` of
        convolutions and linear layers, `nonzero_weights`; `macs`: multiply-accumulates for one image; `dense_bytes`,
        `bitmask_bytes`, `csr_bytes`, `zstd_bytes`, `bitmask_zstd_bytes`: of the float32 tensors, stored in other ways.
    """
    given = _loaded(model)
    with _as_file(model) as file:
        size = file.stat().st_size
    counts = cost.parameters(given.model)
    return {
        "file_bytes": size,
        "bits_per_weight": 8 * size / counts["total"],
        "parameters": counts["total"],
        "weights": counts["weights"],
        "nonzero_weights": counts["nonzero"],
        "macs": cost.macs(given.model),
        **cost.payload_bytes(given.model),
    }


@runtime.in_float32()
def accuracy(model: Given, images: GivenImages, *, part: Literal["validation", "heldout"] = "validation") -> float:
    """Top-1 accuracy [%] on validation images; held-out ones are for the end, when all is chosen."""
    if part not in ("validation", "heldout"):
        raise UserError(f"accuracy: part must be validation or heldout, got {part!r}")
    given = _loaded(model)
    where = _same_classes(given, images)
    if part == "validation":
        arrays = store.open_fit(where.fit).validation
    else:
        arrays = heldout.open_heldout(where.fit.parent / "heldout").arrays
    logits, labels = measured.logits(given.model, Batches(arrays, given.view, batch_size=BATCH_SIZE))
    return 100 * measured.top_k_correct(logits, labels).double().mean().item()


def _params() -> Path:
    """The params.yaml that holds."""
    here = Path(params.PARAMS_FILE)
    if here.is_file() or not OWN.is_file():
        return here  # a missing one is an error that names it
    return OWN


def _section(schema: type[S], key: str, changes: Mapping[str, Any]) -> S:
    block = params.value(key, _params())
    return params.validate(schema, params.changed(block, _plain(changes)), key, _params())


def _plain(given: Any) -> Any:
    """Numbers of NumPy, in blocks too, as those of Python."""
    if isinstance(given, Mapping):
        return {name: _plain(value) for name, value in given.items()}
    return given.item() if isinstance(given, np.generic) else given


def _mapping(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of an argument that changes keys of a block; none are changed where it is None."""
    if not isinstance(given, Mapping | None):
        raise UserError(f'{name} must be a mapping of keys, such as {{"epochs": 2}}, got {type(given).__name__}')
    return dict(given or {})


def _place(path: str | Path) -> Path:
    """A path as a person writes it: `~` is the user's home."""
    if not isinstance(path, str | Path) or path == "":
        raise UserError(f"a path must be text or a pathlib.Path, and not empty, got {path!r}")
    return files.expanded(path)


def _said(**given: Any) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not ...}


def _budget() -> int:
    return params.device_budget_mib(_params())


def _start(stage: str, used: dict[str, Any]) -> tuple[Fabric, dict[str, Any]]:
    """A Fabric of one process, seeded, and the provenance of what a stage makes with these params."""
    return run.start(stage, used, _params(), alone=True)


def _loaded(given: Given) -> Model:
    """A copy of a model, or what a file holds, as a file gives it back: float32, on the CPU, in evaluation mode.

    Weights that were changed by hand are no longer the integers that the file holds.
    """
    if isinstance(given, str | Path):
        return load(given)
    if not isinstance(given, Model):
        raise UserError(f"a model must be one that load or train gave, or its file's path, got {type(given).__name__}")
    if not build.is_as_described(given.model) or len(given.classes) != given.model.spec.classes:
        raise UserError(
            "the model was changed by hand in more than its weights: give the network that load or train gave"
        )
    network, held = build.blank(given.model.spec), given.model.state_dict()
    state = {
        name: held[name].to("cpu", like.dtype, copy=True).contiguous() for name, like in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    unchanged = {name: known for name, known in given.integers.items() if torch.equal(known.dequantize(), state[name])}
    return dataclasses.replace(given, model=network, integers=unchanged)


def _images(given: GivenImages) -> Images:
    return given if isinstance(given, Images) else images(given)


def _same_classes(model: Model, given: GivenImages) -> Images:
    """Images of the classes that a model knows, in its order; a UserError for others."""
    found = _images(given)
    if found.meta.classes != model.classes:
        raise UserError(f"the model knows {named(model.classes)}, and the images are of {named(found.meta.classes)}")
    return found


def _fresh(net: Any, past: History, training: run.TrainingRun, made: dict[str, Any]) -> Model:
    """A model that was trained from nothing, as its file gives it back."""
    with _file() as file:
        checkpoint.save(file, net, view=training.view, classes=training.images.meta.classes, provenance=made)
        return dataclasses.replace(load(file), tables={"history": past.rows()})


def _alike(start: Model, net: Any, made: dict[str, Any], encodings: Mapping[str, Any], tables: dict[str, Any]) -> Model:
    """A model made from another one, as its file gives it back."""
    with _file() as file:
        start.save_alike(file, net, made, encodings)
        return dataclasses.replace(load(file), tables=tables)


@contextmanager
def _as_file(model: Given) -> Iterator[Path]:
    """The file of a model: its own where it was given by path."""
    if not isinstance(model, Model):
        _loaded(model)  # refuses what is none
        yield _place(model)
        return
    with _file() as file:
        model.save(file)
        yield file


@contextmanager
def _file(content: bytes | None = None) -> Iterator[Path]:
    """A file for as long as it is needed; messages do not name it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        if content is not None:
            files.write_bytes(path, content)
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(f"{path}: ", "")) from None
