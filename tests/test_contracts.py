"""The mistakes that people make who write a plug-in by the recipes of the docs: each ends in a line that names it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deepcompress import input_files, params, plan
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
from deepcompress.pruning.masks import score
from deepcompress.quantization import quantize
from deepcompress.quantization import settings as quantization_settings
from tests import nets
from tests.data import inputs
from tests.deploy.conftest import DEPLOY
from tests.distillation.conftest import ARRAYS, distill_batch, make_network
from tests.docs import pages
from tests.pruning.conftest import pruned

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
    (CRITERION, "NEEDS_GRADIENTS = False", "import nope", r"size\.py:\d+: cannot be imported: ModuleNotFoundError"),
    (CRITERION, "NEEDS_GRADIENTS = False", "raise SystemExit", r"mean_size\.py:\d+: cannot be imported: SystemExit"),
    (ALLOCATION, '"none"', '"score"', "EVIDENCE must be one of 'none', 'curves', 'scores', got 'score'"),
    (ALLOCATION, 'EVIDENCE = "none"', 'EVIDENCE = "none"\nSPARSITY = "half"', "SPARSITY must be a float, got 'half'"),
    (ALLOCATION, "def shares", "def share", r"shares is missing; .*\(problem\); is share meant\?"),
    (LOSS, "Options(LossOptions)", "Options", "Options must be a Section with cross_entropy and weight"),
    (LOSS, "def forward", "def forwards", "build must be a class that has forward"),
    (LOSS, "build = LogitMSE", "made = LogitMSE", r"build is missing; it must be a function of \(options, context\)"),
    (FORMAT, "def make()", "def make(bits)", r"make must be a function of \(\)"),
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


def test_the_plan_loads_formats_and_engines_too(spoil: Spoil) -> None:
    spoil(FORMAT, "def make", "def made")
    with pytest.raises(UserError, match=r"fp8\.py: make is missing; .*; is made meant\?"):
        quantization_settings.require_format("fp8")
    spoil(ENGINE, "def load", "def loads")
    timed = Benchmark(models=None, engines=(ENGINE[1],), batch_sizes=(1,), warm_up=0, rounds=1, threads=1)
    with pytest.raises(UserError, match=r"onnxruntime_plain\.py: load is missing"):
        deploy_settings.require_planned(timed, [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import Paragraph", "import Paragraphs", r"sections/lightest\.py:\d+: cannot be imported: ImportError"),
        ('"lightest": ', '"details": ', r"/lightest\.py: SECTIONS: 'details' is a section of details\.py already"),
    ],
)
def test_the_plan_reads_what_the_report_adds_too(spoil: Spoil, old: str, new: str, said: str) -> None:
    spoil((SECTION, "lightest"), old, new)
    with pytest.raises(UserError, match=said):
        plan.check(pages.ROOT / "params.yaml")


MEAN = "subject.weight.abs().flatten(1).mean(dim=1)"
SCORES = [
    (
        "subject.weight.abs()",
        r"criterion mean_size: the scores of features\.0 must be float \(\d+,\), got \(\d+, 3, 3, 3\) tor",
    ),
    ("None", r"must be float \(\d+,\), got NoneType"),
    (f"{MEAN} > 0", r"got \(\d+,\) torch\.bool"),
    (f"{MEAN} / 0 * 0", r"features\.0: a mean_size score is not finite; its weights are"),
    ("subject.weight.abs_().flatten(1).mean(dim=1)", r"changed the weight of features\.0, which it may only read"),
]


@pytest.mark.parametrize(("result", "said"), SCORES)
def test_scores_that_would_prune_something_else_are_refused(spoil: Spoil, result: str, said: str) -> None:
    spoil(CRITERION, MEAN, result)
    with pytest.raises(UserError, match=said):
        score("mean_size", prunable_layers(nets.vgg()), "channel")


MET = "meet(problem, lambda slope: [slope * depth for depth in depths], 0.0, 1.0)"
SHARES = [
    ("{problem.layers[0].name: 0.5}", r"deeper must give a share from 0 to 1 of each of a, b, got a: 0\.5"),
    ("{'a': float('nan'), 'b': 0.5}", "got a: nan, b: 0.5"),
    ("{'a': 1.5, 'b': 0.0}", "got a: 1.5, b: 0.0"),
    ("{'a': 0.5, 'b': 0.25}", r"deeper must come to a sparsity of 0\.5, got 0\.375; see `meet`"),
]


@pytest.mark.parametrize(("result", "said"), SHARES)
def test_shares_of_other_layers_or_another_target_are_refused(spoil: Spoil, result: str, said: str) -> None:
    spoil(ALLOCATION, MET, result)
    layers = Layer("a", (10, 10), 100, 1), Layer("b", (10, 10), 100, 1)
    with pytest.raises(UserError, match=said):
        allocate("deeper", Problem(layers, 0.5))


PATTERN = """
GRANULARITIES, SPARSITY = ("weight",), 0.5


def kept(scores, count):
    return {}
"""


FLAGS = [
    ("scores > 0", r"deeper must drop \d+ units of features\.0, got 0"),
    ("scores.flatten() > 0", r"deeper: what it keeps of features\.0 must be bool \(\d+, 3, 3, 3\), got \(\d+,\)"),
    ("scores", r"what it keeps of features\.0 must be bool .* torch\.float32"),
]


@pytest.mark.parametrize(("flags", "said"), FLAGS)
def test_a_pattern_that_keeps_another_number_is_refused(spoil: Spoil, flags: str, said: str) -> None:
    spoil(ALLOCATION, '\nEVIDENCE = "none"', PATTERN.format(flags) + '\nEVIDENCE = "none"')
    with pytest.raises(UserError, match=said):
        pruned(nets.vgg(), "unstructured", 0.5, allocation="deeper")


TAPPED = """
from deepcompress.distillation.loss import Tap


class Tapped(LogitMSE):
    student_taps = (Tap("block9"),)


build = Tapped
"""
BUILT = [
    ("build = LogitMSE", "def build(options, context):\n    return options", "build must give a Loss, got Options"),
    (
        "build = LogitMSE",
        "def build(options, context):\n    return options.nope",
        "AttributeError: 'Options' object has no",
    ),
    ("build = LogitMSE", TAPPED, ".*block9"),
]


@pytest.mark.parametrize(("old", "new", "said"), BUILT)
def test_a_loss_that_cannot_be_made_stops_the_plan(spoil: Spoil, old: str, new: str, said: str) -> None:
    spoil(LOSS, old, new)
    document = params.read(pages.ROOT / "params.yaml")
    alone: dict[str, Any] = {"methods": {"logit_mse": {}}, "mixtures": {}, "baseline": []}
    block = document["distill"] | alone | {"selected": {"methods": [], "teachers": []}}
    distill = params.validate(Distill, block, "distill")
    with pytest.raises(UserError, match=f"params.yaml: distill.methods.logit_mse with the student .*: {said}"):
        require_layers(
            distill,
            params.validate(Teachers, document["teachers"], "teachers"),
            params.section(Model, "model", pages.ROOT / "params.yaml"),
            [("logit_mse", "distill.student", "teachers.vgg16")],
        )


VALUE = "F.mse_loss(batch.student.require_logits(), batch.teacher.require_logits())"
VALUES = [
    (
        VALUE.replace("())", "(), reduction='none')")[:-1] + ")",
        r"loss logit_mse: the mean over a batch must be float \(\), got \(8, \d+\)",
    ),
    (VALUE + ".item()", r"must be float \(\), got float"),
    (VALUE + " / 0", "loss logit_mse gives inf, though the student's outputs are finite"),
    (VALUE + ".detach()", "loss logit_mse does not depend on the student"),
    (VALUE.replace("student", "teacher"), "does not depend on the student"),
    ("self.own * " + VALUE.replace("student", "teacher"), "does not depend on the student"),
]


@pytest.mark.parametrize(("result", "said"), VALUES)
def test_a_loss_that_teaches_nothing_is_refused(spoil: Spoil, result: str, said: str) -> None:
    spoil(LOSS, VALUE, result)
    student, teacher = make_network(), make_network("vgg16", number=1).requires_grad_(False)
    module = params.plugin(*LOSS)
    loss = module.build(module.Options(), LossContext(student, teacher, torch.from_numpy(ARRAYS.labels)))
    loss.own = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(UserError, match=said):
        compared(loss, distill_batch(loss, student, teacher), probe=True)


MADE = [
    ("def groups", "def grouped", "format fp8: make: Can't instantiate abstract class Float8"),
    (
        'name = "fp8"',
        'name = "fp_8"',
        r"format fp8: make must give a Format of this name, bits and .*, got Float8\(\)",
    ),
    ("    bits = 8\n", "", "make must give a Format of this name, bits and smallest_normal"),
    ("return Float8()", "return Float8", "got <class .*Float8'>"),
]


@pytest.mark.parametrize(("old", "new", "said"), MADE)
def test_what_is_no_format_is_refused(spoil: Spoil, old: str, new: str, said: str) -> None:
    spoil(FORMAT, old, new)
    with pytest.raises(UserError, match=said):
        quantize.find("fp8")


ROUNDED = [
    ("[:, :1]", r"features\.0 must be float \(\d+, 3, 3, 3\), got \(\d+, 1, 3, 3\)"),
    (" + 1", r"features\.0 must be finite, and 0 where it was 0"),
    (" / 0", r"features\.0 must be finite, and 0 where it was 0"),
]


@pytest.mark.parametrize(("end", "said"), ROUNDED)
def test_a_format_that_changes_the_shape_or_fills_zeros_is_refused(spoil: Spoil, end: str, said: str) -> None:
    spoil(FORMAT, "weight.clamp(-TYPE.max, TYPE.max)", f"(weight{end})")
    model, form = nets.vgg(), quantize.find("fp8")
    weights = {name: layer.weight.detach() for name, layer in prunable_layers(model).items()}
    for weight in weights.values():
        weight[0] = 0
    quantized = {name: form.quantize(weight) for name, weight in weights.items()}
    with pytest.raises(UserError, match=f"format fp8: the weight of {said}"):
        quantize.assign_and_measure_(model, dict.fromkeys(weights, form), quantized, nets.batches(8, 8))


@pytest.mark.parametrize("back", [".float() + 1", ".float()[:1]"])
def test_an_encoding_that_gives_back_something_else_is_refused(spoil: Spoil, tmp_path: Path, back: str) -> None:
    spoil((ENCODING, "byte_float"), "view(E5M2).float()", f"view(E5M2){back}")
    model = nets.vgg()
    for layer in prunable_layers(model).values():
        layer.weight.data = layer.weight.data.to(torch.float8_e5m2).float()
    extra: dict[str, Any] = {"view": nets.VIEW, "classes": nets.CLASSES, "provenance": {}}
    with pytest.raises(UserError, match=r"encoding byte_float does not give back the values of tensor features\.0\.w"):
        checkpoint.save(tmp_path / "m", model, encodings={"features.0.weight": "byte_float"}, **extra)


ENGINES = [
    (
        "options = onnxruntime.SessionOptions()",
        "options = onnxruntime.Options()",
        " cannot load small: AttributeError: ",
    ),
    (
        "[LOGITS], {INPUT: pixels})[0]",
        "[LOGITS], {INPUT: pixels})",
        r": the logits of small must be float \(2, 4\), got list",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), ENGINES)
def test_an_engine_that_fails_or_gives_no_logits_is_refused(
    spoil: Spoil, tmp_path: Path, old: str, new: str, said: str
) -> None:
    spoil(ENGINE, old, new)
    write_fit(tmp_path / "fit", inputs.source(train=12, test=3), validation_fraction=0.25, seed=0)
    checkpoint.save(tmp_path / "m", nets.vgg(), view=nets.VIEW, classes=nets.CLASSES, provenance={})
    timed = Benchmark(models=None, engines=(ENGINE[1],), batch_sizes=(2,), warm_up=0, rounds=1, threads=1)
    with pytest.raises(UserError, match=f"engine onnxruntime_plain{said}"):
        benchmark.latencies({"small": tmp_path / "m"}, tmp_path / "fit", timed, Deploy(**DEPLOY), seed=0)


IMAGES = [
    ("% len(CLASSES)\n", "% 5\n", "train: the labels must be from 0 to 3, got 4"),
    ("% len(CLASSES)\n", "% 4 - 1\n", "train: the labels must be from 0 to 3, got -1"),
    ("dtype=np.int64", "dtype=float", r"train: the labels must be int \(12,\), got \(12,\) float64"),
    ("per_class, stored_size", "per_class, 8", r"image \d+ must be uint8 \(16, 16, 3\), got \(8, 8, 3\) uint8"),
    (".astype(np.uint8)", "", r"train: image \d+ must be uint8 .*, got \(16, 16, 3\) float64"),
    ('"0", "45"', '"0", "0"', "classes must be different names"),
    ('"0", "45"', "0, 45", "classes must be different names"),
    ('"checksum"', '"sum"', "must give a Source whose origin names source and checksum"),
    ("return Source(", "return (", "must give a Source"),
    ("parts[1], {", "Part(parts[1].labels + 9, parts[1].read), {", "test: the labels must be from 0 to 3, got 9"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), IMAGES)
def test_labels_and_images_that_are_none_of_the_section_are_refused(
    spoil: Spoil, tmp_path: Path, old: str, new: str, said: str
) -> None:
    spoil(SOURCE, old, new)
    block = {"source": "gratings", "stored_size": 16, "validation_fraction": 0.5, "gratings": {"per_class": 3}}
    data = params.validate(DataConfig, block, "data")
    with pytest.raises(UserError, match=f"data source gratings.*{said}"):
        write_fit(tmp_path / "fit", load_source(data, tmp_path), validation_fraction=0.5, seed=0)


def test_the_plan_asks_for_options_of_a_source_that_has_no_block(spoil: Spoil) -> None:
    spoil(SOURCE, "per_class: int = Field(default=50, ge=3)", "per_class: int")
    data = params.validate(DataConfig, {"source": "gratings", "stored_size": 16, "validation_fraction": 0.5}, "data")
    with pytest.raises(UserError, match=r"^params\.yaml: data\.gratings\.per_class is missing$"):
        input_files.data_inputs(data)
