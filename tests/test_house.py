"""The walls of the house: imports go down, a stage depends on its code, test data has one door."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from deepcompress import code_hash, params
from tests import house
from tests.house import ROOT, SOURCE, STAGES
from tests.processes import printed

STAGE_FILES = sorted((ROOT / "stages").glob("*.py"))
CODE = [*house.modules(), *STAGE_FILES]
LIGHT = {  # what these do not load either just by being imported
    "plan": {"torch", "torchvision", "lightning_fabric", "pandas"},
    "report": {"torch", "torchvision", "lightning_fabric"},
}
ENGINES = ["benchmark", "export"]  # run ONNX files in any case
WITHOUT_TORCH = (
    *("data.augment", "models.spec", "training.recipe", "measure.statistics", "pruning.settings", "deploy.settings"),
    *("quantization.settings", "distillation.settings", "measure.settings", "data.store", "plan", "stale"),
    *("report.page", "report.tables"),
)
HEAVY = {"torch._dynamo", "torchvision", "lightning_fabric", "pandas", "torchao", "onnxruntime", "sklearn"}


def code_keys(body: dict[str, Any]) -> set[str]:
    """Keys of results/code.json that a stage of dvc.yaml depends on."""
    listed = [entry for entry in body.get("params", []) if isinstance(entry, dict)]
    return {key for entry in listed for key in entry.get("results/code.json") or []}


@pytest.mark.parametrize("path", house.modules(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_go_down(path: Path) -> None:
    for imported in code_hash.imports(ROOT, path):
        own, other = house.room(path), house.room(imported)
        assert house.FLOORS[other] <= house.FLOORS[own], f"{own} imports {other}, a floor above"
        assert own == other or not {own, other} <= house.METHODS, f"{own} imports {other}: methods do not meet"


def test_rooms_import_each_other_one_way_only() -> None:
    edges = {(house.room(p), house.room(q)) for p in house.modules() for q in code_hash.imports(ROOT, p)}
    both_ways = [(a, b) for a, b in edges if a < b and (b, a) in edges]
    assert not both_ways


@pytest.mark.parametrize("path", STAGE_FILES, ids=lambda p: p.stem)
def test_every_stage_depends_on_its_code(path: Path) -> None:
    bodies = [body for body in STAGES.values() if f"stages/{path.name}" in body["cmd"]]
    assert bodies, f"dvc.yaml has no stage that runs {path.name}"
    assert all(f"stages.{path.stem}" in code_keys(body) for body in bodies)


def test_every_stage_says_what_it_is_for_and_the_hashes_of_the_code_are_of_all_of_it() -> None:
    assert all(body.get("desc") for body in STAGES.values())
    assert STAGES["code"]["deps"] == ["stages", "src/deepcompress"]


def test_the_plan_looks_again_when_a_plug_in_changed_but_for_encodings_on_which_those_depend_that_use_them() -> None:
    encodings, rooms = "models.encodings", {room for room in params.REQUIRED if room.count(".") == 1}
    assert code_keys(STAGES["plan"]) == {"stages.plan", *rooms} - {encodings}
    assert encodings in set().union(*map(code_keys, STAGES.values()))


def test_every_code_that_a_stage_depends_on_has_a_hash() -> None:
    made = {key for key, _ in params.leaves(code_hash.hashes(ROOT))}
    for name, body in STAGES.items():
        for key in code_keys(body):
            pattern = re.compile(re.sub(r"\\\$\\\{.*?\\\}", "[^.]+", re.escape(key)) + r"(\..*)?")
            assert any(pattern.fullmatch(hashed) for hashed in made), f"{name}: {key}"


def test_only_evaluate_and_export_open_the_test_data() -> None:
    for name, body in STAGES.items():
        sees = any(dep.startswith("data/heldout") for dep in body.get("deps", []))
        assert not sees or name in {"evaluate", "export"}, f"{name} depends on held-out data"
    for path in STAGE_FILES:
        if path.stem not in {"evaluate", "export"}:
            assert SOURCE / "deepcompress/data/heldout.py" not in code_hash.closure(ROOT, path), path.stem


def test_a_change_of_the_report_runs_the_report_alone_again() -> None:
    page = SOURCE / "deepcompress/report/page.py"
    stages = {path.stem for path in ROOT.glob("stages/*.py") if page in code_hash.closure(ROOT, path)}
    assert stages == {"report"}


@pytest.mark.parametrize("path", CODE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_file_and_no_function_is_a_giant(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the first line says what the file is for"
    assert len(text.splitlines()) <= (42 if path.parent.name == "stages" else 500)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize(
    "stages", [["plan"], ["report"], ENGINES, sorted({path.stem for path in STAGE_FILES} - {*LIGHT, *ENGINES})]
)
def test_a_stage_imports_nothing_heavy_before_it_needs_it(stages: list[str]) -> None:
    loaded = set(printed(f"import sys; from stages import {', '.join(stages)}; print(*sys.modules)").split())
    needed = {"onnxruntime"} if stages == ENGINES else set()
    assert not loaded & (HEAVY | LIGHT.get(stages[0], set())) - needed


def test_what_checks_params_and_what_reports_loads_no_torch() -> None:
    """Each module in turn, in one process: the first after which torch is there is named."""
    rooms = ("data.sources", "pruning.criteria", "report.sections")
    names = ["", *WITHOUT_TORCH, *(f"{room}.{name}" for room in rooms for name in params.plugins(room))]
    printed(
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(f'deepcompress.{name}'.strip('.'))\n"
        "    assert not {'torch', 'torchvision', 'lightning_fabric'} & set(sys.modules), name\n"
    )
