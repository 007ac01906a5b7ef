"""docs/api.md runs as it stands, in order, on a few tiny photographs; what api.py does beside it: mistakes and more."""

import copy
import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import deepcompress as dc
from deepcompress import api, dependencies
from deepcompress.data import store
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.errors import UserError
from deepcompress.measure import cost
from deepcompress.models import checkpoint
from tests import nets
from tests.docs import pages
from tests.house import ROOT

PAGE = pages.read("api.md")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's code leaves behind, run in a folder without params.yaml but with photos/."""
    folder, random = tmp_path_factory.mktemp("notebook"), np.random.default_rng(0)
    for name, brightness in (("dark", 40), ("light", 200)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(random.normal(brightness, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    names: dict[str, Any] = {"folder": folder}
    with chdir(folder):
        for block in pages.FENCE.finditer(PAGE):
            if block["language"] == "python":
                exec(block["body"], names)
    return names


def test_every_function_is_on_the_page() -> None:
    assert {name for name in dc.__all__ if f"dc.{name}(" in PAGE} == set(dc.__all__)
    assert api.OWN == ROOT / "params.yaml"


def test_the_steps_do_what_the_page_says(shown: dict[str, Any]) -> None:
    dense, sparse, narrow, small = (shown[name] for name in ("dense", "sparse", "narrow", "small"))
    counts = {name: cost.parameters(shown[name].model) for name in ("dense", "sparse", "narrow", "small", "again")}
    assert counts["sparse"]["nonzero"] == pytest.approx(0.2 * counts["dense"]["weights"], rel=1e-3)
    assert counts["again"]["nonzero"] <= counts["sparse"]["nonzero"]
    assert counts["small"]["nonzero"] <= counts["sparse"]["nonzero"]
    assert counts["narrow"]["weights"] < counts["dense"]["weights"]
    assert {weight.bits for weight in small.integers.values()} == {4}
    assert {weight.bits for weight in shown["trained"].integers.values()} == {3}
    sizes = [dc.size_report(model)["file_bytes"] for model in (dense, sparse, small)]
    assert sizes[0] > 3 * sizes[1] > 9 * sizes[2]
    assert dense.provenance["params"]["finetune"]["epochs"] == 2
    assert len(shown["fresh"].tables["history"]) == len(sparse.tables["history"]) == 1
    assert narrow.classes == shown["fresh"].classes == ("dark", "light")


def test_what_is_saved_is_what_was_held(shown: dict[str, Any]) -> None:
    for name in ("dense", "sparse", "small", "again"):
        kept, loaded = shown[name], dc.load(shown["folder"] / f"{name}.safetensors")
        assert loaded.content == kept.content
    for name, bits in (("small.onnx", 4), ("small_int8.onnx", 8)):
        assert OnnxClassifier(shown["folder"] / name).contract.classes == ("dark", "light"), bits


def test_stored_images_are_opened_as_they_are(shown: dict[str, Any]) -> None:
    stored = shown["images"]
    assert dc.images(stored.fit) == stored
    with pytest.raises(UserError, match=r"fit: is stored already, so stored_size cannot change it$"):
        dc.images(stored.fit, stored_size=16)


def test_photographs_that_two_calls_ask_for_at_once_are_stored_once(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    both_came, written, tell, write = threading.Barrier(2), [], dependencies.fingerprint, store.write_fit

    def fingerprint(data: store.DataConfig) -> str:
        found = tell(data)
        both_came.wait()
        return found

    def write_fit(*given: Any, **options: Any) -> store.Meta:
        written.append(given)
        return write(*given, **options)

    monkeypatch.setattr(dependencies, "fingerprint", fingerprint)
    monkeypatch.setattr(store, "write_fit", write_fit)
    photos = shown["folder"] / "photos"
    with chdir(shown["folder"]), ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: dc.images(photos, stored_size=24), range(2))
    assert one == other
    assert len(written) == 1


def test_an_allocation_by_sensitivity_scans_the_layers_first(shown: dict[str, Any]) -> None:
    how: dict[str, Any] = {"structured": {"allocation": "by_sensitivity", "round_to": 1}, "finetune": {"epochs": 1}}
    narrow = dc.prune(shown["dense"], shown["images"], sparsity=0.5, method="structured", **how)
    *_, total = narrow.tables["allocation"]
    assert total["achieved_sparsity"] == pytest.approx(0.5, abs=0.05)


@pytest.fixture
def model(inside: Path) -> api.Model:
    """A tiny VGG, in an empty working folder."""
    checkpoint.save("model.safetensors", nets.vgg(), view=nets.VIEW, classes=nets.CLASSES, provenance={})
    return dc.load("model.safetensors")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="prunee"):
        dc.prunee  # noqa: B018


def test_a_network_that_was_changed_by_hand_is_saved_as_it_is(model: api.Model) -> None:
    model.save("same.safetensors")
    assert Path("same.safetensors").read_bytes() == Path("model.safetensors").read_bytes()
    with torch.no_grad():
        next(model.model.parameters()).add_(1)
    model.save("changed.safetensors")
    assert nets.same(dc.load("changed.safetensors").model.state_dict(), model.model.state_dict())


def test_what_was_renamed_by_hand_is_saved_with_its_new_names(model: api.Model) -> None:
    names = tuple(f"new {name}" for name in model.classes)
    dataclasses.replace(model, classes=names).save("renamed.safetensors")
    assert dc.load("renamed.safetensors").classes == names


HANDLED: dict[str, Callable[[nn.Module], object]] = {
    "in half precision": lambda network: network.half(),
    "in double precision": lambda network: network.double(),
    "in training mode": lambda network: network.train(),
    "frozen": lambda network: network.requires_grad_(False),
    "in another layout": lambda network: network.to(memory_format=torch.channels_last),
}
STEPS: dict[str, Callable[[api.Model, api.Images], object]] = {
    "prune": lambda m, images: dc.prune(m, images, sparsity=0.5, method="unstructured", finetune={"epochs": 1}),
    "quantize": lambda m, images: dc.quantize(m, images, bits=4),
    "learn on": lambda m, images: dc.distill(m, m, images, method="logit", recipe={"epochs": 1}),
    "export": lambda m, images: dc.export(m, "m.onnx"),
    "accuracy": lambda m, images: dc.accuracy(m, images),
    "size": lambda m, images: dc.size_report(m),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("handled", HANDLED)
@pytest.mark.usefixtures("inside")
def test_a_network_that_was_handled_is_taken_as_its_file_would_give_it_back(
    shown: dict[str, Any], handled: str, step: str
) -> None:
    model = copy.deepcopy(shown["dense"])
    HANDLED[handled](model.model)
    before = [(tensor.dtype, tensor.requires_grad) for tensor in model.model.parameters()]
    STEPS[step](model, shown["images"])
    model.save("handled.safetensors")
    found = dc.load("handled.safetensors").model
    assert [(tensor.dtype, tensor.requires_grad) for tensor in model.model.parameters()] == before
    assert all(tensor.dtype == torch.float32 and tensor.requires_grad for tensor in found.parameters())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.usefixtures("inside")
def test_all_is_float32_whatever_torch_makes_by_default(shown: dict[str, Any], step: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        for name in ("dense", "small"):
            model = dc.load(shown["folder"] / f"{name}.safetensors")
            assert model.content == shown[name].content
        STEPS[step](shown["dense"], shown["images"])
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_steps_take_what_was_frozen_and_put_into_training_mode_as_it_was(shown: dict[str, Any]) -> None:
    model = copy.deepcopy(shown["sparse"])
    model.model.train().requires_grad_(False)
    with torch.no_grad():
        rounded = dc.quantize(model, shown["images"], bits=4, mode="qat", qat={"epochs": 1})
    plain = dc.quantize(shown["sparse"], shown["images"], bits=4, mode="qat", qat={"epochs": 1})
    assert rounded.content == plain.content


def test_integers_that_were_changed_by_hand_are_exported_no_more(shown: dict[str, Any], tmp_path: Path) -> None:
    changed = copy.deepcopy(shown["small"])
    with torch.no_grad():
        for name in changed.integers:
            changed.model.get_parameter(name).mul_(1.1)
    with pytest.raises(UserError, match=r"bits=4 needs a model with integers"):
        dc.export(changed, tmp_path / "changed.onnx", bits=4)


@pytest.mark.parametrize(
    "rebuild",
    [
        lambda network: nn.DataParallel(network),
        lambda network: nn.Sequential(network),
        lambda network: network.classifier.append(nn.ReLU()) and network,
        lambda network: None,
    ],
)
def test_a_network_that_no_file_could_hold_is_refused_and_overwrites_none(
    model: api.Model, rebuild: Callable[[Any], Any]
) -> None:
    changed = dataclasses.replace(model, model=rebuild(copy.deepcopy(model.model)))
    before = Path("model.safetensors").read_bytes()
    for call in (lambda: changed.save("model.safetensors"), lambda: dc.size_report(changed)):
        with pytest.raises(UserError, match=r"changed by hand in more than its weights"):
            call()
    assert Path("model.safetensors").read_bytes() == before


def test_threads_that_train_at_once_give_what_one_gives(shown: dict[str, Any]) -> None:
    def train(_: object) -> bytes:
        trained = dc.train(shown["images"], network_settings={"width": 0.125}, epochs=2)
        return trained.content

    with ThreadPoolExecutor(3) as threads:
        assert {*threads.map(train, range(3))} == {shown["dense"].content}


def test_a_tilde_is_the_home_folder(model: api.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    model.save("~/model.safetensors")
    dc.export("~/model.safetensors", "~/model.onnx")
    assert sorted(path.name for path in Path("home").iterdir()) == ["model.onnx", "model.safetensors"]
    assert not Path("~").exists()
    with pytest.raises(UserError, match="there is no such user"):
        dc.load("~nobody-of-that-name/model.safetensors")


def test_numbers_of_numpy_count_in_blocks_too(shown: dict[str, Any]) -> None:
    settings = {"epochs": np.int64(1), "learning_rate": np.float32(0.25)}
    narrow = dc.prune(shown["dense"], shown["images"], sparsity=0.5, method="unstructured", finetune=settings)
    assert narrow.provenance["params"]["prune"]["finetune"]["learning_rate"] == 0.25


def taught(*models: Any, **settings: Any) -> api.Model:
    return dc.distill(*models, ".", method="logit", **settings)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: dc.load(3), "a path must be text or a pathlib.Path, and not empty, got 3"),
        (lambda m: dc.images(""), "a path must be text or a pathlib.Path, and not empty, got ''"),
        (lambda m: m.save(Path(".")), ".: is a folder"),
        (lambda m: dc.export(m, None), "a path must be text or a pathlib.Path"),
        (lambda m: dc.images(".", folder={"path": "x"}), "folder.path is . here, as the first argument says"),
        (lambda m: dc.images(".", folder=3), 'folder must be a mapping of keys, such as {"epochs": 2}, got int'),
        (lambda m: dc.train(".", network_settings=3), "network_settings must be a mapping of keys"),
        (lambda m: taught(m, m, recipe=[1]), "recipe must be a mapping of keys"),
        (lambda m: dc.distill(m, m, "nowhere", method=["logit"]), "method must be a name, got list"),
        (lambda m: dc.load("none.safetensors"), "none.safetensors: no such file"),
        (lambda m: dc.images("nowhere"), "nowhere: no such file or folder"),
        (lambda m: dc.prune(m, ".", sparsity=2.0), "prune: sparsity must be less than 1, got 2.0"),
        (lambda m: dc.prune(m, ".", sparsty=0.5), "did you mean sparsity"),
        (lambda m: dc.quantize(m, "nowhere", bits=np.int64(9)), "quantize: bits must be one of 2..8 or 16, got 9"),
        (lambda m: dc.images(".", stored_size=7), "images: stored_size must be greater than or equal to 8, got 7"),
        (lambda m: dc.images(".", folder={"paht": 1}), "images: folder.paht is unknown; allowed: path"),
        (lambda m: dc.train(".", epoch=2), "train: epoch is unknown; allowed: trainable"),
        (lambda m: dc.train(".", network_settings={"width": "x"}), "train: network_settings.width must be a number"),
        (lambda m: dc.prune(m, ".", finetune={"augment": {"flop": 1}}), "prune: finetune.augment.flop is unknown"),
        (lambda m: taught(None, m, recipe={"epochs": 0}), "distill: recipe.epochs must be greater"),
        (lambda m: taught(m, m, recipe={"epochs": 0}), "distill: recipe.epochs must be greater"),
        (lambda m: taught(None, m, network_settings={"widht": 1}), "distill: network_settings.widht is unknown"),
        (lambda m: taught(m, m, mixtures={"new": {}}), "distill: mixtures.new.cross_entropy is missing"),
        (lambda m: dc.quantize(m, "nowhere", **{"from": "x"}), "quantize: from must be one of baseline; got x"),
        (lambda m: dc.export(m, "model.onnx", bits="8"), "bits 4, 8 or 32; got model.onnx with '8'"),
        (lambda m: dc.distill(m, m, "nowhere", method="magic"), "distill.methods has no 'magic'; it has logit"),
        (lambda m: taught(m, m, network_settings={"width": 1.0}), "a fresh network"),
        (lambda m: dc.export(m, "model.pt"), "writes .onnx"),
        (lambda m: dc.export(m, "model.onnx", bits=8), "bits=8 needs images"),
        (lambda m: dc.export(m, "model.onnx", bits=4), "bits=4 needs a model with integers"),
        (lambda m: dc.accuracy(m, "nowhere", part="test"), "part must be validation or heldout"),
        (lambda m: dc.images(3), "images must be what images gave, or their path, got int"),
        (lambda m: dc.images("photos", source="csv"), "source is folder here"),
        (lambda m: dc.distill(m, "none.safetensors", "nowhere", method="logit"), "nowhere: no such file or folder"),
        (lambda m: dc.accuracy(m.model, "nowhere"), "a model must be one that load or train gave, or its file's path"),
    ],
)
def test_a_mistake_is_one_line(model: api.Model, call: Callable[[api.Model], object], said: str) -> None:
    with pytest.raises(UserError) as raised:
        call(model)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, images: dc.accuracy(m, images),
        lambda m, images: dc.prune(m, images, method="unstructured"),
        lambda m, images: dc.quantize(m, images),
        lambda m, images: dc.distill(m, m, images, method="logit"),
        lambda m, images: dc.export(m, "m.onnx", bits=8, images=images),
    ],
)
def test_images_of_other_classes_are_refused(
    shown: dict[str, Any], model: api.Model, call: Callable[[api.Model, api.Images], object]
) -> None:
    with pytest.raises(UserError, match=r"^the model knows .*, and the images are of dark, light$"):
        call(model, shown["images"])


@pytest.mark.parametrize(("student", "key"), [(None, "distill.student.recipe"), ("dense", "prune.finetune")])
def test_a_first_stage_that_takes_all_epochs_is_refused(shown: dict[str, Any], student: str | None, key: str) -> None:
    how: dict[str, Any] = {"methods": {"hint": {"stages": 2, "first_stage_epochs": 2}}, "recipe": {"epochs": 2}}
    with pytest.raises(UserError, match=rf"hint.first_stage_epochs must be below {key}.epochs, 2, got 2; the student"):
        dc.distill(student and shown[student], shown["dense"], shown["images"], method="hint", **how)


def test_a_teacher_is_refused_by_the_path_that_it_was_given_by_alone(shown: dict[str, Any], model: api.Model) -> None:
    for teacher, path in (("model.safetensors", r"model\.safetensors: "), (model, "")):
        with pytest.raises(
            UserError, match=rf"^{path}the teacher tells \d+ classes apart, the training images have 2$"
        ):
            dc.distill(None, teacher, shown["images"], method="logit")


def test_params_of_the_folder_come_before_the_repositorys(model: api.Model) -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["quant"]["bits"] = 99
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    for given in ({}, {"mode": "ptq"}, {"qat": {"epochs": 1}}):  # the call is not to blame for what it does not say
        with pytest.raises(UserError, match=r"^params.yaml: quant.bits .* got 99"):
            dc.quantize(model, "nowhere", **given)
