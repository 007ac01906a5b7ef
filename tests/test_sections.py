"""Every section of params.yaml: a wrong value is one line that names its key and what is allowed there."""

from typing import Any

import pytest

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.plan import SECTIONS
from tests.docs import pages
from tests.house import ROOT

DOCUMENT = params.read(ROOT / "params.yaml")
MIXTURE = {"cross_entropy": 0.5, "losses": {"crd": 0.8, "logit": 2.0}}
NETWORK = DOCUMENT["teachers"]["vgg16"]
WIDTHS = "must be one of 2..8 or 16, got "
MISTAKES: list[tuple[str, Any, str]] = [
    ("data.source", "imagenet", "data.source.*cifar10.*cifar100.*folder.*shapes.*; got 'imagenet'"),
    ("data.stored_size", 7, "data.stored_size must be .*8, got 7"),
    ("data.validation_fraction", 0.0, "data.validation_fraction must be greater than 0, got 0.0"),
    ("data.device_budget_mib", -1, "data.device_budget_mib must be .*0, got -1"),
    ("data.fraction", 0.1, "data.fraction is unknown"),
    ("data.folder.heldout_fraction", 0.0, "data.folder.heldout_fraction must be greater than 0"),
    (
        "data.folder.names_encoding",
        "klingon",
        "must be an encoding that Python knows, such as cp932, .*; got 'klingon'",
    ),
    ("data.cifar100.md5", "abc", "data.cifar100.md5 must .*got 'abc'"),
    ("data.cifar10.url", "ftp://example.org", "data.cifar10.url must .*got 'ftp://example.org'"),
    ("data.shapes.train_per_class", 1, r"data\.shapes\.train_per_class must be greater than or equal to 2, got 1"),
    ("data.shapes.train_per_class", 50_001, "train_per_class must be less than or equal to 50000, got 50001"),
    ("data.shapes.test_per_class", 0, "test_per_class must be greater than or equal to 1, got 0"),
    ("data.shapes.test_per_class", 2.5, r"test_per_class must be .*whole number.*got 2\.5"),
    ("model.arch", "resnet19", "model.arch: no step knows a network 'resnet19'; did you mean resnet18"),
    ("model.arch", "vit_b_16", "model.arch: no step knows a network 'vit_b_16'; .* Or timm:NAME, or your own"),
    ("model.arch", "os:abort", "model.arch: os:abort: os is a module of Python's own; name a function of yours"),
    ("model.arch", "mynet.py:small", "mynet.py:small: a module is named, not its file; write mynet:small"),
    ("model.arch", "./nets/mynet.py:small", "a module is named, not its file; write nets.mynet:small"),
    ("model.arch", "timm:/", "model.arch: no step knows a network 'timm:/'"),
    ("model.arch", "resnet18", r"model.batch_norm \(True\), width \(0.25\), hidden .* must be null for resnet18"),
    ("model.width", None, "model.width must have a value for vgg11, got null"),
    ("model.width", float("nan"), "model.width must be"),
    ("model.weights", "", "model.weights"),
    ("finetune.epochs", 0, r"finetune\.epochs must be greater than or equal to 1, got 0"),
    ("finetune.optimizer", "adamax", r"finetune\.optimizer must be 'adam', 'adamw' or 'sgd', got 'adamax'"),
    ("finetune.augment.crop_padding", -1, r"augment\.crop_padding must be greater than or equal to 0, got -1"),
    *(
        ("sensitivity.sparsities", wrong, r"sensitivity(\.sparsities)?")
        for wrong in ([0.1, 0.2], [0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.2], [0.0, 1.0])
    ),
    ("sensitivity.sparsities", [place / 300 for place in range(257)], r"\.sparsities must be at most 256, got 257"),
    ("prune.sparsity", 1.0, r"prune\.sparsity must be less than 1"),
    ("prune.sweep.sparsities", [0.25, 1.5], r"prune\.sweep\.sparsities\.1 must be less than 1"),
    ("prune.sweep.sparsities", [0.25, 0.25], "must differ"),
    ("prune.recalibrate", 1, r"prune\.recalibrate must be 0, or 2 or more; one image alone has no statistics"),
    ("prune.structured.criterion", "l9", "structured.criterion must be one of .*l1.*l2_channel.*; got 'l9'"),
    ("prune.structured.criterion", "l1", r"structured\.criterion must score a channel; l1 scores a weight"),
    ("prune.structured.allocation", "two_of_four", "allocation must be one for filters, and two_of_four is for weig"),
    ("prune.unstructured.allocation", "best", "allocation must be one of .*by_sensitivity.*; got 'best'"),
    *(
        ("quant.bits", wrong, f"^params.yaml: quant.bits {WIDTHS}{params.shown(wrong)}")
        for wrong in (1, 9, 0, -4, 32, "four", "4", 4.5, True, None)
    ),
    ("quant.bits", [3, 4, 8], "dvc exp run --queue -S quant.bits=3,4,8"),
    ("quant.first_bits", 1, f"quant.first_bits {WIDTHS}1"),
    ("quant.sweep", ["ptq-int9"], ", int2 to int8; got 'int9'"),
    ("quant.sweep", ["int4"], "ptq-<format> or qat-<format>, got 'int4'"),
    ("quant.sweep", ["ptq-fp32"], "the float control is qat-fp32"),
    ("quant.sweep", ["ptq-int4", "ptq-int4"], "must differ from each other"),
    ("quant.sweep", ["qat-int4"], "qat-int4 is compared with qat-fp32, which is not there"),
    ("quant.sweep", [], "quant.sweep"),
    ("teachers.vgg16.arch", "resnet", "teachers.vgg16.arch: no step knows a network 'resnet'"),
    ("teachers.vgg16_jitter.recipe.augment.jitter.contrast", -0.1, "contrast must be greater than or equal to 0"),
    ("teachers.VGG", NETWORK, "'VGG' is no name"),
    ("distill.methods.kd", {}, "distill.methods.kd is unknown; allowed: "),
    ("distill.methods.hint.stages", 3, "distill.methods.hint.stages must be 1 or 2, got 3"),
    (
        "distill.mixtures.new",
        {**MIXTURE, "losses": {"crd": 0.8, "kd": 1.0}},
        "distill.mixtures.new.losses must be among ",
    ),
    ("distill.mixtures.new", {**MIXTURE, "weight": 1.0}, "new.weight is unknown; allowed: cross_entropy, losses"),
    ("distill.mixtures.new", {**MIXTURE, "losses": {"crd": 0.0, "logit": 2.0}}, "losses.crd must be above 0, got 0.0"),
    ("distill.mixtures.logit", MIXTURE, "logit is a method, so no mixture"),
    ("distill.selected.methods", ["at"], "selected.methods must be among logit, .*hint.*; got 'at'"),
    ("distill.controls.a-b", {"label_smoothing": 0.0}, "'a-b' is no name; use small letters"),
    ("explain.ssim_window", 8, "explain.ssim_window must be odd, got 8"),
    ("explain.images", 2, "explain.strip_images must be at most images, got .* of 2"),
    ("explain.jitter.hue", 0.7, "explain.jitter.hue must be less than or equal to 0.5, got 0.7"),
    ("explain.robustness.fgsm", 2, "explain.robustness.fgsm must be less than or equal to 1, got 2"),
    ("deploy.max_drop_points", -0.1, "deploy.max_drop_points must be greater than or equal to 0, got -0.1"),
    ("deploy.max_drop_points", float("nan"), "deploy.max_drop_points must be"),
    ("deploy.max_size_mib", 0, "deploy.max_size_mib.* must be greater than 0, got 0"),
    ("deploy.integer_agreement_pct", 101, "integer_agreement_pct must be less than or equal to 100, got 101"),
    ("benchmark.models", [], "benchmark.models must name at least one, or be null for all"),
    ("benchmark.models", ["a", "a"], "benchmark.models must each be named once"),
    ("benchmark.batch_sizes", [1, 1], "benchmark.batch_sizes must each be named once"),
    ("benchmark.batch_sizes", [0], "benchmark.batch_sizes"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"), MISTAKES, ids=lambda given: given if isinstance(given, str) else ""
)
def test_a_mistake_is_one_line_that_names_the_key(key: str, value: Any, message: str) -> None:
    name = key.partition(".")[0]
    block = pages.merged({name: DOCUMENT[name]}, pages.at(key, value))[name]
    with pytest.raises(UserError, match=message) as raised:
        params.validate(SECTIONS[name], block, name)
    assert "\n" not in str(raised.value)
