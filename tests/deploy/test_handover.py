"""model.dc: the exported file to the last byte, its card, without torch; damage ends in one line."""

import json
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from deepcompress.__main__ import main
from deepcompress.deploy import handover
from deepcompress.deploy.onnx import export_float
from deepcompress.errors import UserError
from deepcompress.models import checkpoint, records
from deepcompress.quantization.quantize import round_vectors_
from tests import nets
from tests.data.inputs import encoded, make_folder, pixels
from tests.deploy.conftest import network, save
from tests.processes import printed

CARD = {"model": "quantized/ptq-int4", "classes": ["été", "b"]}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, model = tmp_path_factory.mktemp("packed"), network()
    round_vectors_(model)
    save(folder / "model.safetensors", model, bits=4)
    loaded = checkpoint.load(folder / "model.safetensors")
    export_float(loaded.model, folder / "model.onnx", view=loaded.view, classes=loaded.classes)
    handover.pack(folder / "model.onnx", folder / "model.dc", loaded.integers, CARD)
    return folder / "model.dc"


def test_the_exported_file_comes_back_and_the_packed_one_is_small(packed: Path) -> None:
    exported = packed.with_suffix(".onnx").read_bytes()
    assert handover.unpack(packed) == exported
    assert handover.read_card(packed) == CARD
    assert packed.stat().st_size < 1.1 * packed.with_suffix(".safetensors").stat().st_size
    assert packed.stat().st_size < 0.25 * len(exported)


def test_weights_of_layers_on_tokens_are_kept_as_integers_too(tmp_path: Path) -> None:
    model = nets.network("tests.odd_nets:Attending")
    save(tmp_path / "m.safetensors", model, view=nets.VIEW, classes=nets.CLASSES, bits=4)
    loaded = checkpoint.load(tmp_path / "m.safetensors")
    export_float(loaded.model, tmp_path / "m.onnx", view=loaded.view, classes=loaded.classes)
    sizes = []
    for known in ({}, {"attention.qkv.weight": loaded.integers["attention.qkv.weight"]}):
        handover.pack(tmp_path / "m.onnx", tmp_path / "m.dc", known, CARD)
        assert handover.unpack(tmp_path / "m.dc") == (tmp_path / "m.onnx").read_bytes()
        sizes.append((tmp_path / "m.dc").stat().st_size)
    assert sizes[0] - sizes[1] > 24 * 72  # a byte and more of each weight


def test_weights_that_are_no_products_are_kept_as_they_are(packed: Path, tmp_path: Path) -> None:
    handover.pack(packed.with_suffix(".onnx"), tmp_path / "m.dc", {}, CARD)
    assert handover.unpack(tmp_path / "m.dc") == packed.with_suffix(".onnx").read_bytes()


def test_tensors_of_other_types_come_back(tmp_path: Path) -> None:
    tensors = [numpy_helper.from_array(np.array([7, 3, 5], kind), kind) for kind in ("int32", "float64", "uint8")]
    graph = onnx.helper.make_graph([], "graph", [], [], tensors)
    (tmp_path / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString(deterministic=True))
    handover.pack(tmp_path / "m.onnx", tmp_path / "m.dc", {}, CARD)
    assert handover.unpack(tmp_path / "m.dc") == (tmp_path / "m.onnx").read_bytes()


def test_predicting_loads_neither_torch_nor_onnx_and_unpacking_no_torch(packed: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", {"a.png": encoded(pixels(1, 40, 40, 3))})
    code = (
        "import sys; from deepcompress.__main__ import main;"
        "sys.exit = lambda code=0: None;"
        "run = lambda *words: main(words, standalone_mode=False);"
        f"run('predict', '--model', {str(packed.with_suffix('.onnx'))!r}, {str(folder)!r});"
        "assert not {'torch', 'onnx', 'torchvision', 'pandas'} & set(sys.modules);"
        f"run('unpack', {str(packed)!r}, '--onnx', 'out.onnx');"
        f"run('predict', '--model', {str(packed)!r}, {str(folder)!r});"
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    shown = printed(code, folder=tmp_path)
    assert (tmp_path / "out.onnx").read_bytes() == packed.with_suffix(".onnx").read_bytes()
    assert json.loads((tmp_path / "out.json").read_text()) == CARD
    assert len(shown.splitlines()) == 3


def test_every_spoilt_byte_and_every_cut_is_told(packed: Path, tmp_path: Path) -> None:
    content, bad = packed.read_bytes(), tmp_path / "bad.dc"
    for at in range(0, len(content), 97):
        for spoilt in (content[:at], content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]):
            bad.write_bytes(spoilt)
            with pytest.raises(UserError, match=r"bad\.dc: (no deepcompress model file|damaged or cut off)"):
                handover.unpack(bad)


def test_a_file_that_somebody_made_is_told(tmp_path: Path) -> None:
    content = records.join([b"no graph", b"no card"])
    (tmp_path / "made.dc").write_bytes(handover.MAGIC + zlib.crc32(content).to_bytes(4, "little") + content)
    with pytest.raises(UserError, match=r"made\.dc: no file that `export` wrote"):
        handover.unpack(tmp_path / "made.dc")


def test_a_missing_file_another_one_and_the_name_of_the_card_end_in_one_line(packed: Path, tmp_path: Path) -> None:
    others = [(file, "out.onnx", file.name) for file in (tmp_path / "none.dc", packed.with_suffix(".onnx"))]
    for file, out, named in (*others, (packed, "out.json", "--onnx: "), (packed, ".", "Is a directory")):
        done = CliRunner().invoke(main, ["unpack", str(file), "--onnx", str(tmp_path / out)])
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert named in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("unpack", "m.dc", "--onnx", "~/m.dc"),
        ("unpack", "m.json", "--onnx", "m.onnx"),  # the card would be m.json
        ("torchao", "m.dc", "--out", "../home/m.dc"),
        ("executorch", "--model", "m.dc", "--out", "~/m.dc"),
    ],
)
def test_no_command_writes_over_what_it_reads(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    for name in ("m.dc", "m.json"):
        Path(name).write_bytes(packed.read_bytes())
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "which it is made from; give it another name" in done.stderr
    assert {path.name: path.read_bytes() for path in home.iterdir()} == dict.fromkeys(
        ("m.dc", "m.json"), packed.read_bytes()
    )
