"""The plan: params are checked before any work; its table comes back as written and tells what builds on what."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from deepcompress import dependencies, params, plan
from deepcompress.errors import UserError
from deepcompress.models.spec import BLOCKS, VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.plan import require_networks
from deepcompress.plan_table import COLUMNS, Plan, PlannedModel
from deepcompress.quantization.settings import Quant
from tests import nets, plans
from tests.docs import pages
from tests.house import ROOT

pytestmark = pytest.mark.usefixtures("inside")
DOCUMENT = params.read(ROOT / "params.yaml")


def changed(folder: Path, *values: tuple[str, object]) -> Path:
    """The committed params.yaml with other values at some dotted keys."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in values:
        document = pages.merged(document, pages.at(key, value))
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_committed_params_pass_and_every_section_has_a_schema() -> None:
    plan.check(ROOT / "params.yaml")
    assert set(DOCUMENT) == {"seed", *plan.SECTIONS}


@pytest.mark.parametrize("key", ["model", "teachers.vgg16", "distill.student"])
def test_a_network_that_starts_from_no_weights_need_not_say_so(tmp_path: Path, key: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    del params.at(document, key)["weights"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    plan.check(path)
    assert params.at(dependencies.hashes(params.read(path)), key)["weights"] is None


RESNET = {"arch": "resnet18", "batch_norm": None, "width": None, "hidden": None, "dropout": None}
OTHER_SIZE = r"image_size must be that of the model, 32, got 64"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("finetun", {}, "finetun is unknown; allowed: seed, train, "),
        ("finetune.epoch", 3, "finetune.epoch is unknown"),
        ("finetune.epochs", 10**23, "finetune.epochs must be"),
        ("model", {**DOCUMENT["model"], "arch": "resnet50"}, "model"),
        ("model.weights", "imagenet", "weights"),
        ("model.weights", "nowhere.pth", "weights"),
        ("train.device", "gpu", "train.device must be"),
        ("evaluate.batch_size", 0, "evaluate.batch_size must be"),
        ("sensitivity.samples", 0, "sensitivity.samples must be"),
        ("seed", -1, "seed must be"),
        ("quant.from", "quantized/ptq-int8", "quant.*from"),
        ("quant.baselines", {"Long one": {"epochs": 3}}, "quant.*baselines"),
        ("teachers.vgg16.image_size", 64, f"teachers.vgg16.{OTHER_SIZE}"),
        ("distill.student.image_size", 64, f"distill.student.{OTHER_SIZE}"),
        (
            "benchmark.models",
            ["baseline", "pruned/x"],
            r"benchmark.models must be among the models of the plan, got 'pruned/x'; there are baseline, ",
        ),
        ("combine.quantize.prune_distill", {"from": "baseline"}, "combine: prune_distill stands in two blocks"),
    ],
)
def test_a_wrong_value_anywhere_is_refused_by_name(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan.check(changed(tmp_path, (key, value)))


def test_ids_are_paths_and_the_baseline_comes_first() -> None:
    ids = plan.table(DOCUMENT).ids
    assert ids[0] == "baseline"
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_./") for name in ids)


def test_every_row_names_a_stage_of_dvc_yaml_and_a_recipe_of_params_yaml() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for row in plan.table(DOCUMENT):
        assert str(row.stage).partition("@")[0] in stages, row
        if row.recipe:
            assert "epochs" in params.value(row.recipe, ROOT / "params.yaml"), row


def test_a_model_is_compared_with_its_control_and_a_student_with_its_teacher_too() -> None:
    table = plan.table(DOCUMENT)
    pairs = table.pairs()
    assert set(pairs) >= {
        ("pruned/structured-0.25", "pruned/control"),
        ("quantized/qat-int4", "quantized/qat-fp32"),
        ("quantized/qat-int4", "quantized/ptq-int4"),
        ("combined/prune_distill", "shipped/pruned"),
        ("combined/prune_distill_quantize", "shipped/quantized"),
        ("students/label_smoothing", "students/independent"),
        ("students/crd-vgg19", "students/independent"),
        ("students/crd-vgg19", "teachers/vgg19"),
    }
    assert not any(model == "students/independent" for model, _ in pairs)
    assert table["shipped/quantized"].builds_on == "shipped/pruned"
    assert table["quantized/qat-fp32"].format is None


def with_link(tmp_path: Path, step: str, link: object, name: str = "new") -> Path:
    links = {**DOCUMENT["combine"], step: {**DOCUMENT["combine"][step], name: link}}
    return changed(tmp_path, ("combine", links))


def test_a_link_starts_from_any_model_and_says_what_differs(tmp_path: Path) -> None:
    link = {"from": "pruned/unstructured-0.75", "bits": 4, "group_size": None}
    path = with_link(tmp_path, "quantize", link)
    plan.check(path)
    row = plan.table(params.read(path))["combined/new"]
    assert (row.step, row.method, row.format, row.sparsity) == ("quantize", "ptq", "int4", 0.75)
    assert (row.builds_on, row.stage) == ("pruned/unstructured-0.75", "combine_quantize@new")
    quant = params.section(Quant, "quant", path, link="combine.quantize.new")
    assert (quant.bits, quant.group_size, quant.mode) == (4, None, DOCUMENT["quant"]["mode"])


def test_links_follow_each_other_in_any_order_of_the_file(tmp_path: Path) -> None:
    pruned = {"from": "students/hint-vgg16", "method": "unstructured", "unstructured": {"allocation": "lamp"}}
    document = params.read(with_link(tmp_path, "prune", pruned, "student"))
    document["combine"]["quantize"]["small"] = {"from": "combined/student", "bits": 3}
    table = plan.table(document)
    chain = [row.id for row in table.chain("combined/small")]
    assert chain == ["students/hint-vgg16", "combined/student", "combined/small"]
    assert table["combined/small"].teacher == "teachers/vgg16"


AGAIN = {"from": "pruned/structured-0.5", "method": "structured", "structured": {"allocation": "erk"}}
SCANNED = {"from": "students/hint-vgg16", "structured": {"allocation": "by_sensitivity"}}


@pytest.mark.parametrize(
    ("step", "link", "message"),
    [
        ("prune", {}, r"combine.prune.new.from must be the id of a model, got null"),
        ("quantize", {"from": "pruned/none"}, r"combine.quantize.new.from must be the id of a model that is made with"),
        ("quantize", {"from": "combined/new"}, r"combine.quantize.new.from must be the id of a model that is made wit"),
        ("quantize", {"from": "quantized/ptq-int4"}, r"from: quantized/ptq-int4 is quantized already \(int4\)"),
        ("quantize", {"from": "baseline", "bits": 9}, r"combine.quantize.new.bits must be one of 2..8 or 16, got 9"),
        ("quantize", {"from": "baseline", "bit": 4}, r"combine.quantize.new.bit is unknown; .*did you mean bits"),
        ("quantize", 4, r"combine.quantize.new must be"),
        ("prune", AGAIN, r"combine.prune.new.from: pruned/structured-0.5 is pruned already .*single weights may"),
        ("prune", SCANNED, r"combine.prune.new: allocation by_sensitivity was measured on"),
        ("distill", {"from": "masked/shipped", "teacher": "baseline"}, r"combine.distill.new.method must be one of"),
        ("distill", {"from": "masked/shipped", "loss": "logit"}, r"combine.distill.new.loss is unknown; allowed: from"),
        ("distill", {"from": "masked/shipped", "method": "hint", "teacher": "x"}, r"new.teacher must be one of base"),
        (
            "distill",
            {"from": "masked/structured-0.5", "method": "logit", "teacher": "baseline"},
            r"new.from: masked/structured-0.5 keeps the baseline's shape, with zeros; name pruned/structured-0.5,",
        ),
    ],
)
def test_a_link_that_cannot_be_is_refused(tmp_path: Path, step: str, link: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan.check(with_link(tmp_path, step, link))


def test_a_loss_that_names_a_layer_which_the_student_does_not_have_is_refused(tmp_path: Path) -> None:
    student = ("distill.student", DOCUMENT["distill"]["student"] | RESNET)
    plan.check(changed(tmp_path, student))
    named = r"distill.methods.hint with the student resnet18 and the teacher vgg16 \(vgg16\): layer 'block4.conv1' does"
    with pytest.raises(UserError, match=named):
        plan.check(changed(tmp_path, student, ("distill.methods.hint.guided_layer", "block4.conv1")))


@pytest.mark.parametrize(
    ("key", "pair"),
    [
        ("hint_layer", r"student vgg11 and the teacher baseline \(resnet18\)"),
        ("guided_layer", r"student resnet18 and the teacher baseline \(resnet18\)"),  # of combine.distill
    ],
)
def test_a_layer_that_the_baseline_does_not_have_is_refused(tmp_path: Path, key: str, pair: str) -> None:
    model, named = ("model", DOCUMENT["model"] | RESNET), f"distill.methods.hint.{key}"
    plan.check(changed(tmp_path, model))
    with pytest.raises(UserError, match=f"methods.hint with the {pair}: layer 'block4.conv1' does not exist in a resn"):
        plan.check(changed(tmp_path, model, (named, "block4.conv1")))


@pytest.mark.parametrize(
    ("key", "layer", "message"),
    [
        ("guided_layer", "block9", r"\(vgg16\): layer 'block9' does not exist in a vgg11; there are block1"),
        ("hint_layer", "block3", r"block4 of the student gives maps of 4 x 4, block3 of the teacher 8 x 8:"),
    ],
)
def test_layers_that_vggs_do_not_have_or_that_cannot_be_matched_are_refused(
    tmp_path: Path, key: str, layer: str, message: str
) -> None:
    with pytest.raises(UserError, match=rf"distill\.methods\.hint with .*{message}"):
        plan.check(changed(tmp_path, (f"distill.methods.hint.{key}", layer)))


@pytest.mark.parametrize(
    ("epochs", "key"), [(("distill.student.recipe.epochs", 4), "distill.student.recipe"), ((), "prune.finetune")]
)
def test_a_first_stage_that_leaves_no_epoch_for_the_labels_is_refused(tmp_path: Path, epochs: Any, key: str) -> None:
    students, after = DOCUMENT["distill"]["student"]["recipe"]["epochs"], DOCUMENT["prune"]["finetune"]["epochs"]
    assert after < 4 < students
    first = [("distill.methods.hint.stages", 2), ("distill.methods.hint.first_stage_epochs", 4)]
    message = (
        rf"^params.yaml: distill.methods.hint.first_stage_epochs must be below {key}.epochs, [34], got 4; the stud"
    )
    with pytest.raises(UserError, match=message):
        plan.check(changed(tmp_path, *first, *([epochs] if epochs else [])))
    plan.check(changed(tmp_path, *first[:1], (first[1][0], after - 1)))


@pytest.mark.parametrize("method", ["unstructured", "structured"])
@pytest.mark.parametrize("shape", [{}, RESNET], ids=["vgg11", "resnet18"])
def test_a_layer_that_is_to_stay_whole_and_is_not_there_is_refused(
    tmp_path: Path, method: str, shape: dict[str, Any]
) -> None:
    model, key = ("model", DOCUMENT["model"] | shape), f"prune.{method}.dense"
    layers = ["conv1", "layer1.0.conv1"] if shape else ["features.0", "features.4"]
    plan.check(changed(tmp_path, model, (key, layers)))
    with pytest.raises(UserError, match=rf"prune\.{method}\.dense names 'nothing'; the layers are {layers[0]}, "):
        plan.check(changed(tmp_path, model, (key, [*layers, "nothing"])))


def test_a_head_that_is_no_linear_layer_is_refused(tmp_path: Path) -> None:
    model = ("model", DOCUMENT["model"] | RESNET | {"arch": "squeezenet1_0"})
    plan.require_networks(params.read(changed(tmp_path, model)))
    with pytest.raises(UserError, match=r"prune.finetune.trainable: squeezenet1_0 ends in no linear layer"):
        plan.check(changed(tmp_path, model, ("prune.finetune.trainable", "head")))


def test_results_of_models_that_left_are_removed_and_what_was_exported_stays(tmp_path: Path) -> None:
    stays = ["baseline.safetensors", "deploy/classes.json", "deploy/model.onnx", "pruned/new-0.25.csv"]
    stays += ["mine.safetensors", "pruned/mine.pth", "runs/best.safetensors", "teachers/named.safetensors"]  # a user's
    for name in (*stays, "pruned/old-0.5.safetensors", "pruned/deploy.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    named = [tmp_path / "teachers/named.safetensors"]
    removed = plan.remove_strays(tmp_path, ["baseline", "pruned/new-0.25"], named)
    assert removed == [tmp_path / "pruned/deploy.safetensors", tmp_path / "pruned/old-0.5.safetensors"]
    left = (path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert sorted(left) == sorted(stays)


def test_the_sweep_of_formats_may_start_from_a_baseline_of_its_own_that_is_its_control(tmp_path: Path) -> None:
    path = changed(tmp_path, ("quant.from", "quantized/long"), ("quant.baselines", {"long": {"epochs": 20}}))
    plan.check(path)
    rows = plan.table(params.read(path))
    assert {rows[f"quantized/{name}"].builds_on for name in DOCUMENT["quant"]["sweep"]} == {"quantized/long"}
    assert {rows[f"quantized/{name}"].control for name in ("ptq-int8", "qat-fp32")} == {"quantized/long"}
    assert rows["quantized/qat-int8"].control == "quantized/qat-fp32"
    assert rows["shipped/quantized"].control is None
    assert params.value("quant.baselines.long.learning_rate", path) == DOCUMENT["finetune"]["learning_rate"]


def document(
    function: str,
    *,
    scope: str = "all",
    trainable: str = "all",
    prune_method: str = "structured",
    sparsity: float = 0.5,
    **model: Any,
) -> dict[str, Any]:
    recipe = DOCUMENT["finetune"] | {"trainable": trainable}
    shape = dict.fromkeys(("batch_norm", "width", "hidden", "dropout", "weights"))
    vgg = {**shape, "arch": "vgg11", "image_size": 32, "recipe": recipe}
    prune = DOCUMENT["prune"] | {"method": prune_method, "sparsity": sparsity, "finetune": recipe}
    prune |= {
        "structured": prune["structured"] | {"scope": scope},
        "sweep": {"methods": ("unstructured",), "sparsities": (0.5,)},
    }
    return {
        "model": {**shape, "arch": f"tests.odd_nets:{function}", "image_size": 32, **model},
        "finetune": recipe,
        "prune": prune,
        "quant": {"qat": recipe},
        "teachers": {},
        "distill": {"student": vgg},
        "combine": {},
    }


def test_a_vgg_is_not_built() -> None:
    assert require_networks(document("none", arch="vgg11")) == []


def test_a_head_whose_answer_is_only_reshaped_is_one() -> None:
    require_networks(document("reshaped", trainable="head"))


def test_what_is_left_out_of_tokens_is_said() -> None:
    attention, whole = require_networks(document("Tokens"))
    assert attention.startswith("model: tests.odd_nets:Tokens has no maps of block3, so none")
    start = "structured pruning leaves 2 layers of tests.odd_nets:Tokens whole (patch: norm is a LayerNorm; out:"
    assert whole.startswith(start)


def test_weights_that_no_step_compresses_are_named() -> None:
    left_alone, _ = require_networks(document("Heads", prune_method="unstructured"))
    assert left_alone == (
        "model: 20 % of the weights of tests.odd_nets:Heads belong to no convolution or linear layer that runs, so "
        "they are neither pruned nor quantized: attention.in_proj_weight, attention.out_proj.weight"
    )


@pytest.mark.parametrize(
    ("function", "change", "named"),
    [
        ("Tokens", {"scope": "conv"}, "prune.method: of {} only linear layers can lose unit"),
        ("grouped", {}, r"prune.method: structured cannot .* \(0: 0 is a convolution in groups\); unstruct"),
        ("one", {}, r"prune.method: structured cannot .* \(its outputs are the classes\); unstructured"),
        ("flat", {"sparsity": 0.6}, "a prune sparsity of 0.6 is out of reach: at most 0.5 of the 216 weights in"),
        ("conv", {"trainable": "head"}, "finetune.trainable: {} ends in no linear layer"),
        ("Averaged", {"trainable": "head"}, "finetune.trainable: {} answers with more than its last linear layer two"),
        ("Branch", {}, r"model.arch: {}: model.onnx: torch cannot export the network \(Could not guard on data"),
        ("shared", {}, "model.arch: {}: layer 0 runs 2 times; give each place its own"),
        ("Twice", {}, "model.arch: {}: layer.weight and all.0.weight are one and the same; keep"),
        ("maps", {}, r"model.arch: {} must give 2 logits per image, \(1, 2\); got \(1, 2, 30, 30"),
        ("broken", {}, "model.arch: {}: KeyError while it was called: 'no such thing'"),
        ("tensor", {}, "model.arch: {}.* must give a torch.nn.Module.*, got Tensor"),
        ("sure", {}, "model.arch: {} gives probabilities; it must give what its softmax takes"),
        ("scripted", {}, "model.arch: {}: no step can look into what torch.jit made; give the modules"),
        ("leaves", {}, "model.arch: {}: SystemExit while it was called: 3"),
        ("gone", {}, "model.arch: {}: AttributeError while it was called"),
    ],
)
def test_what_cannot_be_is_refused_by_key(function: str, change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"^params.yaml: {named.format(f'tests.odd_nets:{function}')}"):
        require_networks(document(function, **change))


def test_weights_that_are_damaged_or_do_not_fit_are_refused_before_any_work() -> None:
    own: dict[str, Any] = {"arch": "vgg11", "batch_norm": True, "width": 1 / 64, "hidden": 64, "dropout": 0.0}
    features = tuple(width // 64 for block in BLOCKS["vgg11"] for width in block)
    torch.save(VGG(VGGSpec("vgg11", True, features, (1, 1), 3, 32, 0.0)).state_dict(), "w.pth")
    assert require_networks(document("none", **own, weights="w.pth")) == []  # other classes have a head of their own
    torch.save(nets.vgg().state_dict(), "w.pth")
    with pytest.raises(UserError, match=r"^params.yaml: model.weights: w.pth: tensor features.0.weight must be \(1, 3"):
        require_networks(document("none", **own, weights="w.pth"))
    Path("w.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"^params.yaml: model.weights: w.pth: damaged, or holds more than tensors"):
        require_networks(document("none", **own, weights="w.pth"))


def test_a_name_that_timm_does_not_have_is_refused_with_some_like_it() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=r"^params.yaml: model.arch: timm has no network 'resnet19'; it has .*resnet"):
        require_networks(document("none", arch="timm:resnet19"))


# The table.

MODELS = tuple(
    plans.plan(
        [
            *("baseline", "masked/structured-0.37", "quantized/ptq-int4", "quantized/qat-fp32", "quantized/qat-int4"),
            *("teachers/vgg16", "students/independent", "students/hint-vgg16", "combined/prune_distill"),
        ],
        stage={"masked/structured-0.37": "prune_sweep@structured-0.37"},
        control={"quantized/qat-int4": "quantized/qat-fp32", "students/hint-vgg16": "students/independent"},
        builds_on={"combined/prune_distill": "masked/structured-0.37"},
        teacher={"combined/prune_distill": "teachers/vgg16"},
    )
)


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    Plan(MODELS).write(tmp_path / "plan.csv")
    assert tuple(Plan.read(tmp_path / "plan.csv")) == MODELS
    assert (tmp_path / "plan.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_all_below_a_model_is_listed_once_with_itself_and_its_teachers() -> None:
    plan = Plan(MODELS)
    assert plan.below("combined/prune_distill") == [
        "combined/prune_distill", "masked/structured-0.37", "teachers/vgg16", "baseline"
    ]  # fmt: skip
    assert [model.id for model in plan.chain("combined/prune_distill")] == [
        "baseline", "masked/structured-0.37", "combined/prune_distill"
    ]  # fmt: skip


def test_a_model_is_compared_with_its_control_its_teacher_its_start_and_those_one_choice_apart() -> None:
    logit = PlannedModel("students/logit-vgg16", "students", "distill", "logit", teacher="teachers/vgg16")
    assert Plan((*MODELS, logit)).pairs() == [
        ("quantized/qat-int4", "quantized/qat-fp32"),
        ("quantized/qat-int4", "quantized/ptq-int4"),
        ("students/hint-vgg16", "students/independent"),
        ("students/hint-vgg16", "teachers/vgg16"),
        ("combined/prune_distill", "masked/structured-0.37"),
        ("students/logit-vgg16", "teachers/vgg16"),
        ("students/logit-vgg16", "students/hint-vgg16"),
    ]


def test_a_model_without_a_control_has_that_of_what_it_builds_on() -> None:
    rounded = PlannedModel("combined/rounded", "combined", "quantize", "ptq", builds_on="quantized/qat-int4")
    plan = Plan((*MODELS, rounded))
    assert plan.control("combined/rounded") == "quantized/qat-fp32"
    assert plan.control("quantized/ptq-int4") is None
    assert ("combined/rounded", "quantized/qat-fp32") in plan.pairs()


def test_a_plan_can_be_told_from_a_table_that_has_its_columns() -> None:
    trained = {model.id: float(model.recipe is not None) for model in MODELS}
    rows = [{"model": name, "training_tera_macs": cost} for name, cost in trained.items()]
    table = [
        {key: float("nan") if cell is None else cell for key, cell in row.items()} for row in Plan(MODELS).joined(rows)
    ]
    plan = Plan.of_table([*table, {"model": "sculpted/x", "family": "sculpted", "step": "chisel"}])
    assert plan.pairs() == Plan(MODELS).pairs()
    assert {model.id: float(model.recipe is not None) for model in plan} == trained


def test_rows_of_other_tables_get_the_columns_of_the_plan() -> None:
    rows = Plan(MODELS).joined([{"model": "quantized/ptq-int4", "n": 3}], ["family", "format"])
    assert rows == [{"model": "quantized/ptq-int4", "n": 3, "family": "quantized", "format": "int4"}]


def test_a_plan_that_does_not_fit_together_is_refused() -> None:
    for models, message in (
        (MODELS[1:2], "needs the model baseline"),
        ((*MODELS, MODELS[0]), "each model once"),
        (MODELS[:1] + MODELS[4:5], "quantized/qat-int4: control quantized/qat-fp32 is no model of the plan"),
    ):
        with pytest.raises(ValueError, match=message):
            Plan(models)
    with pytest.raises(ValueError, match="family must be one of baseline, masked"):
        PlannedModel("x/y", "x", "prune")
    with pytest.raises(ValueError, match="step must be one of finetune"):
        PlannedModel("pruned/y", "pruned", "shrink")


@pytest.mark.parametrize("text", ["", "id\nbaseline\n", "\x00", "id,family,step,sparsity\nbaseline,baseline,prune,x\n"])
def test_a_damaged_plan_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.csv").write_text(text)
    with pytest.raises(UserError, match=r"plan.csv: damaged plan"):
        Plan.read(tmp_path / "plan.csv")


def test_every_model_has_a_file_and_every_file_is_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"baseline.safetensors \(and 8 more\): no such file, but the plan names it"):
        Plan(MODELS).paths(tmp_path)
    plan = Plan(MODELS[:1])
    with pytest.raises(UserError, match=r"baseline.safetensors: no such file, but the plan names it"):
        plan.paths(tmp_path)
    (tmp_path / "baseline.safetensors").touch()
    assert plan.paths(tmp_path) == {"baseline": tmp_path / "baseline.safetensors"}
    (tmp_path / "mine.safetensors").touch()
    assert plan.paths(tmp_path) == {"baseline": tmp_path / "baseline.safetensors"}
    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned/stray.safetensors").touch()
    with pytest.raises(UserError, match=r"stray.safetensors: no model of the plan"):
        plan.paths(tmp_path)
