"""docs/models.md says what the code does: names, blocks, heads, channels; every step is tried on one of each family."""

import copy
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.onnx import compare, export_float
from deepcompress.explain import attention
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.build import FEATURES, outline, roles
from deepcompress.models.spec import TORCHVISION, TORCHVISION_NAMES, GraphSpec, layer_name
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.layers import groups, unprunable, zero_share
from deepcompress.quantization import ptq, qat, solvers
from deepcompress.quantization.quantize import assign, smallest_encodings
from tests import test_pipeline
from tests.docs import pages
from tests.nets import CLASSES, SIDE, VIEW, batches, network, same
from tests.pruning.conftest import pruned

PAGE = pages.read("models.md")
SLOW_GRAPHS = ("densenet161", "densenet169", "densenet201")  # seconds each
FEW = {name for names in TORCHVISION.values() for name in (names[0], names[-1]) if name not in SLOW_GRAPHS}


@dataclass(frozen=True)
class Row:
    """What the page says of a family."""

    family: str
    names: tuple[str, ...]
    blocks: str
    trainable: str
    channels: str
    tried: tuple[str, ...]


def rows(page: str) -> list[Row]:
    found = []
    for line in re.findall(r"^\| (.+) \|$", page.partition("| Family ")[2], flags=re.MULTILINE)[2:]:
        family, names, there, trainable, channels, tried = line.split(" | ")
        quoted = (tuple(pages.INLINE.findall(cell)) for cell in (names, tried))
        found.append(Row(family, next(quoted), there, trainable, channels, next(quoted)))
    return found


ROWS = rows(PAGE)
SAID = {name: row for row in ROWS for name in row.names}
EVERY = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in TORCHVISION_NAMES]


def test_every_network_is_in_one_row_with_its_whole_family() -> None:
    assert sorted(name for row in ROWS for name in row.names) == sorted(TORCHVISION_NAMES)
    for names in TORCHVISION.values():
        assert len({SAID[name].family for name in names}) == 1


def test_networks_of_every_family_are_tried() -> None:
    assert all(set(row.tried) <= set(row.names) and row.tried for row in ROWS)
    assert f"`{test_pipeline.TORCHVISION}` also runs the whole pipeline" in PAGE


def test_heads_may_train_alone_but_where_plan_refuses_it() -> None:
    assert {name for name in TORCHVISION_NAMES if SAID[name].trainable == "all"} == set(TORCHVISION["squeezenet"])


@pytest.mark.parametrize("name", EVERY)
def test_a_network_has_the_blocks_of_its_row(name: str) -> None:
    there = [role for role in roles(GraphSpec(name, 4, 64)) if role != FEATURES]
    first, last = map(int, SAID[name].blocks.split(" to "))
    assert there == [f"block{number}" for number in range(first, last + 1)]


@pytest.mark.parametrize("name", EVERY)
def test_channels_go_from_the_layers_that_the_row_says(name: str) -> None:
    spec = GraphSpec(name, 4, 64)
    layers = prunable_layers(outline(spec))
    shrunk = {member for group in groups(spec).values() for member in group.members}
    *before, last = layers
    assert last not in shrunk
    assert SAID[name].channels == ("all layers" if shrunk == {*before} else "some layers")
    assert shrunk
    assert isinstance(layers[last], nn.Linear) == ("head" in SAID[name].trainable)


WHOLE = [
    pytest.param(*line.split(" | "), marks=() if "mynet" in line else pytest.mark.slow)
    for line in re.findall(r"^\| (.+) \|$", PAGE.partition("| Network ")[2].partition("##")[0], flags=re.MULTILINE)[2:]
]


def test_networks_that_run_whole_are_those_of_the_table_and_the_small_one_is_shown() -> None:
    named = {row.values[0].strip("`"): int(row.values[1]) for row in WHOLE}
    assert named == test_pipeline.ARCHS
    assert test_pipeline.OWN in PAGE


@pytest.mark.parametrize(("name", "pixels", "blocks", "channels"), WHOLE)
def test_a_network_that_runs_whole_is_as_its_row_says(
    name: str, pixels: str, blocks: str, channels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "timm:" in name:
        pytest.importorskip("timm")
    (tmp_path / "mynet.py").write_text(test_pipeline.OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = GraphSpec(name.strip("`"), 4, int(pixels))
    there = [role.removeprefix("block") for role in roles(spec) if role != FEATURES]
    assert blocks == (f"{there[0]} to {there[-1]}" if there else "none")
    if channels == "all layers":
        assert groups(spec)
        assert not unprunable(spec)
    else:
        assert channels == "heads, hidden units of MLPs"
        assert [name.split(".", 2)[2] for name in groups(spec)] == ["attn.qkv", "mlp.fc1"] * 12


# What is tried of each family: every step of compression.


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for row in ROWS for name in row.tried]
)
def model(request: pytest.FixtureRequest):
    return network(request.param)


def test_pruning_of_weights(model) -> None:
    masked = pruned(model, "unstructured", 0.5, allocation="uniform").masked
    assert zero_share(masked) == pytest.approx(0.5, abs=1e-3)


@torch.no_grad()
def test_pruning_of_channels(model) -> None:
    made, images = pruned(model, "structured", 0.4, allocation="uniform"), torch.randn(2, 3, SIDE, SIDE)
    answers = made.masked(images)
    torch.testing.assert_close(made.trained(images), answers, rtol=1e-4, atol=1e-4 * float(answers.abs().max()))


def test_rounding_after_and_in_training(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "LONGEST_ROW", 600)  # longer ones take seconds each
    rounded = copy.deepcopy(model)
    formats = assign(rounded, "int4", group_size=32)
    qat.attach_(rounded, formats, ptq.without_images(rounded, formats), steps="learned")
    batch = next(batches(batch_size=6).epoch(0))
    F.cross_entropy(rounded.train()(batch.images), batch.labels).backward()
    qat.detach_(rounded)
    quantized = ptq.from_images(rounded.eval(), formats, batches(), inputs=32, seed=0, rounding="auto")
    ptq.assign_(rounded, quantized)
    encodings = smallest_encodings(formats, quantized)
    path = tmp_path / "int4.safetensors"
    checkpoint.save(path, rounded, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
    assert same(checkpoint.load(path).model.state_dict(), rounded.state_dict())


def test_an_onnx_file(model, tmp_path: Path) -> None:
    export_float(model, tmp_path / "m.onnx", view=VIEW, classes=CLASSES)
    data = batches()
    classifier = OnnxClassifier(tmp_path / "m.onnx")
    assert compare(classifier, accuracy.logits(model, data)[0], data.arrays).agreement_pct == 100


def test_maps_of_attention_at_a_block(model) -> None:
    assert attention.maps(model, batches(), "block4").shape == (6, SIDE, SIDE)
    assert layer_name(model.spec, "features")
