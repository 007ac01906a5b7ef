"""The mistakes that people make who write a plug-in by the recipes of the docs: each ends in a line that names it."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deepcompress import dependencies, params, plan
from deepcompress.data.store import DataConfig, load_source, write_fit
from deepcompress.deploy import benchmark
from deepcompress.deploy import settings as deploy_settings
from deepcompress.deploy.settings import Benchmark, Deploy
from deepcompress.distillation.loss import LossContext, compared
from deepcompress.distillation.settings import Distill, Teachers, require_layers
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.spec import Model
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.allocation import Layer, Problem, allocate
from deepcompress.quantization import quantize
from deepcompress.quantization import settings as quantization_settings
from tests import nets
from tests.data import inputs
from tests.deploy.conftest import DEPLOY
from tests.distillation.conftest import ARRAYS, distill_batch, make_network
from tests.docs import pages
from tests.pruning.conftest import pruned, scored

RECIPES = {
    Path(name): code
    for page in sorted(pages.DOCS.glob("extending*.md"))
    for recipe in pages.recipes(page)
    for name, code in recipe.files.items()
}
CRITERION, ALLOCATION = ("pruning.criteria", "mean_size"), ("pruning.allocations", "deeper")
LOSS, FORMAT, ENCODING = ("distillation.losses", "logit_mse"), ("quantization.formats", "fp8"), "models.encodings"
ENGINE, SOURCE, SECTION = ("deploy.engines", "onnxruntime_plain"), ("data.sources", "gratings"), "report.sections"
Spoil = Callable[[tuple[str, str], str, str], None]


@pytest.fixture
def spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spoil]:
    """Writes the files of all recipes, in one of them some text in place of another."""
    homes = {f"deepcompress.{'.'.join(path.parts[2:-1])}": tmp_path / path.parent for path in RECIPES}
    for home, folder in homes.items():
        package = importlib.import_module(home)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        folder.mkdir(parents=True)

    def write(place: tuple[str, str], old: str, new: str) -> None:
        for path, code in RECIPES.items():
            spoiled = place == (".".join(path.parts[2:-1]), path.stem)
            assert not spoiled or old in code
            (tmp_path / path).write_text(code.replace(old, new) if spoiled else code, encoding="utf-8")

    yield write
    for path in RECIPES:
        home = f"deepcompress.{'.'.join(path.parts[2:-1])}"
        sys.modules.pop(f"{home}.{path.stem}", None)
        vars(sys.modules[home]).pop(path.stem, None)


LOADED = [
    (CRITERION, "NEEDS_", "NEED_", "NEEDS_GRADIENTS is missing; it must be one of False, True; is NEED_GRADIENTS"),
    (CRITERION, '("channel",)', '("channel")', r"GRANULARITIES must be one of .*, got 'channel'"),
    (CRITERION, "def scores(subject: LayerView)", "def scores(weight, norm)", r"must be a function of \(subject\)$"),
    (CRITERION, "GRADIENTS = False", "GRADIENTS =", r"mean_size\.py: cannot be imported: SyntaxError: invalid syntax"),
    (CRITERION, "NEEDS_GRADIENTS = False", "raise SystemExit", r"mean_size\.py:\d+: cannot be imported: SystemExit"),
    (ALLOCATION, '"none"', '"score"', "EVIDENCE must be one of 'none', 'curves', 'scores', got 'score'"),
    (ALLOCATION, 'EVIDENCE = "none"', 'EVIDENCE = "none"\nSPARSITY = "half"', "SPARSITY must be a float, got 'half'"),
    (ALLOCATION, "def shares", "def share", r"shares is missing; .*\(problem\); is share meant\?"),
    (LOSS, "Options(LossOptions)", "Options", "Options must be a Section with cross_entropy and weight"),
    (LOSS, "def forward", "def forwards", "build must be a class that has forward"),
    (LOSS, "build = LogitMSE", "made = LogitMSE", r"build is missing; it must be a function of \(options, context\)"),
    ((ENCODING, "byte_float"), "def decode", "def decoded", r"decode is missing; .*; is decoded meant\?"),
    ((ENCODING, "byte_float"), "shape: tuple[int, ...], dtype", "dtype", r"function of \(parts, shape, dtype\)"),
    (ENGINE, "def missing()", "def missing(name)", r"missing must be a function of \(\)"),
    (ENGINE, "FLOAT_FORM =", "FLOAT =", "FLOAT_FORM is missing; it must be a str; is FLOAT meant?"),
    (SOURCE, "stored_size: int, seed: int", "size: int, seed: int", r"of \(options, \*, stored_size, seed"),
    (SOURCE, "class Options(Section)", "class Options", "Options must be a Section$"),
    (SOURCE, "def _part", "def input(options):\n    return []\n\n\ndef _part", "input is unknown; is inputs meant?"),
    ((SECTION, "lightest"), "SECTIONS = {", "SECTION = {", "SECTIONS is missing; .*; is SECTION meant"),
    ((SECTION, "lightest"), "(66, lightest)", "lightest", r"must be such as .*\(0, a function of \(data\)\)}, got"),
    ((SECTION, "lightest"), "(66, lightest)", "(lightest, 66)", "SECTIONS must be such as .*, got"),
    ((SECTION, "lightest"), "def lightest(data: Tables)", "def lightest()", "SECTIONS must be such as .*, got"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "old", "new", "said"), LOADED)
def test_a_file_that_breaks_the_contract_of_its_room_is_named(
    spoil: Spoil, place: tuple[str, str], old: str, new: str, said: str
) -> None:
    spoil(place, old, new)
    room, name = place
    with pytest.raises(UserError, match=said) as raised:
        params.plugin(room, name)
    assert str(raised.value).startswith(f"src/deepcompress/{room.replace('.', '/')}/{name}.py:")


def test_a_helper_of_a_files_own_is_taken_for_no_misspelt_name(spoil: Spoil) -> None:
    spoil(SOURCE, "def _part", "def _inputs(options):\n    return []\n\n\ndef _part")
    assert not hasattr(params.plugin(*SOURCE), "inputs")


@pytest.mark.parametrize("room", sorted({key for key in params.REQUIRED if key.count(".") == 1}))
def test_what_is_there_and_what_the_recipes_write_keeps_the_contracts(spoil: Spoil, room: str) -> None:
    spoil(CRITERION, "", "")
    assert {f"{room}.{name}" for name in params.plugins(room)} >= {key for key in params.REQUIRED if room + "." in key}
    for name in params.plugins(room):
        assert params.plugin(room, name)


def test_rooms_without_a_contract_are_none() -> None:
    homes = {".".join(path.parts[2:-1]) for path in RECIPES}
    assert homes == {key for key in params.REQUIRED if key.count(".") == 1}


@pytest.mark.parametrize(("name", "owner"), [("fp16", "floats"), ("int4", "intn")])
def test_a_file_with_the_name_of_a_format_that_another_file_makes_is_refused(
    spoil: Spoil, tmp_path: Path, name: str, owner: str
) -> None:
    spoil(FORMAT, "", "")
    (tmp_path / f"src/deepcompress/quantization/formats/{name}.py").touch()
    for variant in ("ptq-int8", f"ptq-{name}"):
        with pytest.raises(UserError, match=rf"formats/{name}\.py: {name} is a format of {owner}\.py already"):
            quantization_settings.split(variant)


# Files that load, and give something wrong to those who use them: who uses them, what each error begins with, and rows
# of a text, what stands in its place and how the error goes on.


TIMED = Benchmark(models=None, engines=(ENGINE[1],), batch_sizes=(2,), warm_up=0, rounds=1, threads=1)


def plan_lesson(folder: Path) -> None:
    document = params.read(pages.ROOT / "params.yaml")
    alone: dict[str, Any] = {"methods": {"logit_mse": {}}, "mixtures": {}, "baseline": []}
    block = document["distill"] | alone | {"selected": {"methods": [], "teachers": []}}
    distill = params.validate(Distill, block, "distill")
    teachers = params.validate(Teachers, document["teachers"], "teachers")
    model = params.section(Model, "model", pages.ROOT / "params.yaml")
    require_layers(distill, teachers, model, [("logit_mse", "distill.student", "teachers.vgg16")])


def share_out(folder: Path) -> None:
    layers = Layer("a", (10, 10), 100, 1), Layer("b", (10, 10), 100, 1)
    allocate("deeper", Problem(layers, 0.5))


def compare_outputs(folder: Path) -> None:
    student, teacher = make_network(), make_network("vgg16", number=1).requires_grad_(False)
    module = params.plugin(*LOSS)
    loss = module.build(module.Options(), LossContext(student, teacher, torch.from_numpy(ARRAYS.labels)))
    loss.own = torch.nn.Parameter(torch.ones(()))
    compared(loss, distill_batch(loss, student, teacher), probe=True)


def round_weights(folder: Path) -> None:
    model, form = nets.vgg(), quantize.find("fp8")
    weights = {name: layer.weight.detach() for name, layer in prunable_layers(model).items()}
    for weight in weights.values():
        weight[0] = 0
    quantized = {name: form.quantize(weight) for name, weight in weights.items()}
    quantize.assign_and_measure_(model, dict.fromkeys(weights, form), quantized, nets.batches(8, 8))


def save(folder: Path, **more: Any) -> None:
    model = nets.vgg()
    for layer in prunable_layers(model).values():
        layer.weight.data = layer.weight.data.to(torch.float8_e5m2).float()
    checkpoint.save(folder / "m", model, view=nets.VIEW, classes=nets.CLASSES, provenance={}, **more)


def time_models(folder: Path) -> None:
    write_fit(folder / "fit", inputs.source(train=12, test=3), validation_fraction=0.25, seed=0)
    save(folder)
    benchmark.latencies({"small": folder / "m"}, folder / "fit", TIMED, Deploy(**DEPLOY), seed=0)


def images() -> DataConfig:
    return params.validate(DataConfig, {"source": SOURCE[1], "stored_size": 16, "validation_fraction": 0.5}, "data")


def store_images(folder: Path) -> None:
    write_fit(folder / "fit", load_source(images(), folder), validation_fraction=0.5, seed=0)


MEAN = "subject.weight.abs().flatten(1).mean(dim=1)"
MET = "meet(problem, lambda slope: [slope * depth for depth in depths], 0.0, 1.0)"
NO_EVIDENCE = '\nEVIDENCE = "none"'
PATTERN = 'GRANULARITIES, SPARSITY = ("weight",), 0.5\n\n\ndef kept(scores, count):\n    return {}\n'
BUILD = "build = LogitMSE"
TAPPED = """
from deepcompress.distillation.loss import Tap


class Tapped(LogitMSE):
    student_taps = (Tap("block9"),)


build = Tapped
"""
VALUE = "F.mse_loss(batch.student.require_logits(), batch.teacher.require_logits())"
OF_TEACHER = VALUE.replace("student", "teacher")
CLAMPED, FLOATS = "weight.clamp(-TYPE.max, TYPE.max)", "view(E5M2).float()"
USES: list[tuple[tuple[str, str], Callable[[Path], object], str, list[tuple[str, str, str]]]] = [
    (FORMAT, lambda _: quantization_settings.require_format("fp8"), r"fp8\.py: ", [
        ("def make", "def made", r"make is missing; .*; is made meant\?"),
    ]),
    (ENGINE, lambda _: deploy_settings.require_planned(TIMED, []), r"onnxruntime_plain\.py: ", [
        ("def load", "def loads", "load is missing"),
    ]),
    ((SECTION, "lightest"), lambda _: plan.check(pages.ROOT / "params.yaml"), r"sections/lightest\.py:", [
        ("import Paragraph", "import Paragraphs", r"\d+: cannot be imported: ImportError"),
        ('"lightest": ', '"details": ', r" SECTIONS: 'details' is a section of details\.py already"),
    ]),
    (LOSS, plan_lesson, "params.yaml: distill.methods.logit_mse with the student .*: ", [
        (BUILD, "def build(options, context):\n    return options", "build must give a Loss, got Options"),
        (BUILD, "def build(options, context):\n    return options.nope", "AttributeError: 'Options' object has no"),
        (BUILD, TAPPED, ".*block9"),
    ]),
    (SOURCE, lambda _: dependencies.data_inputs(images()), r"^params\.yaml: data\.gratings\.per_class is missing$", [
        ("per_class: int = Field(default=50, ge=3)", "per_class: int", ""),
    ]),
    (CRITERION, lambda _: scored(nets.vgg(), "structured", "mean_size"), "", [
        (MEAN, "subject.weight.abs()",
         r"criterion mean_size: the scores of features\.0 must be float \(\d+,\), got \(\d+, 3, 3, 3\) tor"),
        (MEAN, "None", r"must be float \(\d+,\), got NoneType"),
        (MEAN, f"{MEAN} > 0", r"got \(\d+,\) torch\.bool"),
        (MEAN, f"{MEAN} / 0 * 0", r"features\.0: a mean_size score is not finite; its weights are"),
        (MEAN, MEAN.replace("abs", "abs_"), r"changed the weight of features\.0, which it may only read"),
    ]),
    (ALLOCATION, share_out, "deeper must ", [
        (MET, "{problem.layers[0].name: 0.5}", r"give a share from 0 to 1 of each of a, b, got a: 0\.5"),
        (MET, "{'a': float('nan'), 'b': 0.5}", ".*got a: nan, b: 0.5"),
        (MET, "{'a': 1.5, 'b': 0.0}", ".*got a: 1.5, b: 0.0"),
        (MET, "{'a': 0.5, 'b': 0.25}", r"come to a sparsity of 0\.5, got 0\.375; see `meet`"),
    ]),
    (ALLOCATION, lambda _: pruned(nets.vgg(), "unstructured", 0.5, allocation="deeper"), "", [
        (NO_EVIDENCE, PATTERN.format("scores > 0") + NO_EVIDENCE, r"deeper must drop \d+ units of features\.0, got 0"),
        (NO_EVIDENCE, PATTERN.format("scores.flatten() > 0") + NO_EVIDENCE,
         r"deeper: what it keeps of features\.0 must be bool \(\d+, 3, 3, 3\), got \(\d+,\)"),
        (NO_EVIDENCE, PATTERN.format("scores") + NO_EVIDENCE, r"keeps of features\.0 must be bool .* torch\.float32"),
    ]),
    (LOSS, compare_outputs, "loss logit_mse", [
        (VALUE, VALUE[:-1] + ", reduction='none')", r": the mean over a batch must be float \(\), got \(8, \d+\)"),
        (VALUE, VALUE + ".item()", r".* must be float \(\), got float"),
        (VALUE, VALUE + " / 0", " gives inf, though the student's outputs are finite"),
        *((VALUE, wrong, " does not depend on the student")
          for wrong in (VALUE + ".detach()", OF_TEACHER, "self.own * " + OF_TEACHER)),
    ]),
    (FORMAT, lambda _: quantize.find("fp8"), "format fp8: make", [
        ("def groups", "def grouped", ": Can't instantiate abstract class Float8"),
        ('name = "fp8"', 'name = "fp_8"', r" must give a Format of this name, bits and .*, got Float8\(\)"),
        ("    bits = 8\n", "", " must give a Format of this name, bits and smallest_normal"),
        ("return Float8()", "return Float8", ".*got <class .*Float8'>"),
    ]),
    (FORMAT, round_weights, r"format fp8: the weight of features\.0 must be ", [
        (CLAMPED, "(weight[:, :1])", r"float \(\d+, 3, 3, 3\), got \(\d+, 1, 3, 3\)"),
        *((CLAMPED, wrong, "finite, and 0 where it was 0") for wrong in ("(weight + 1)", "(weight / 0)")),
    ]),
    ((ENCODING, "byte_float"), lambda folder: save(folder, encodings={"features.0.weight": "byte_float"}),
     r"encoding byte_float does not give back the values of tensor features\.0\.w",
     [(FLOATS, FLOATS + " + 1", ""), (FLOATS, FLOATS + "[:1]", "")]),
    (ENGINE, time_models, "engine onnxruntime_plain", [
        ("onnxruntime.SessionOptions()", "onnxruntime.Options()", " cannot load small: AttributeError: "),
        ("[LOGITS], {INPUT: pixels})[0]", "[LOGITS], {INPUT: pixels})",
         r": the logits of small must be float \(2, 4\), got list"),
    ]),
    (SOURCE, store_images, "data source gratings.*", [
        ("% len(CLASSES)\n", "% 5\n", "train: the labels must be from 0 to 3, got 4"),
        ("% len(CLASSES)\n", "% 4 - 1\n", "train: the labels must be from 0 to 3, got -1"),
        ("dtype=np.int64", "dtype=float", r"train: the labels must be int \(200,\), got \(200,\) float64"),
        ("per_class, stored_size", "per_class, 8", r"image \d+ must be uint8 \(16, 16, 3\), got \(8, 8, 3\) uint8"),
        (".astype(np.uint8)", "", r"train: image \d+ must be uint8 .*, got \(16, 16, 3\) float64"),
        ('"0", "45"', '"0", "0"', "classes must be different names"),
        ('"0", "45"', "0, 45", "classes must be different names"),
        ('"checksum"', '"sum"', "must give a Source whose origin names source and checksum"),
        ("return Source(", "return (", "must give a Source"),
        ("parts[1], {", "Part(parts[1].labels + 9, parts[1].read), {", "test: the labels must be from 0 to 3, got 9"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "use", "old", "new", "said"),
    [(place, use, old, new, before + said) for place, use, before, rows in USES for old, new, said in rows],
)
def test_what_a_file_gives_and_must_not_is_refused_by_who_uses_it(
    spoil: Spoil, tmp_path: Path, place: tuple[str, str], use: Callable[[Path], object], old: str, new: str, said: str
) -> None:
    spoil(place, old, new)
    with pytest.raises(UserError, match=said):
        use(tmp_path)
