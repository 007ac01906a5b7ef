"""Results that do not belong to the committed code and params are named; code is hashed by what it does, by plug-in."""

import sys
from pathlib import Path

import pytest
import yaml

from deepcompress import code_hash, dependencies, files, params
from deepcompress import stale as stale_results
from deepcompress.errors import UserError
from tests import house
from tests.docs import pages
from tests.processes import git, printed
from tests.toy import STAGES, Pipeline, new_pipeline, stage

LOOK = "-m deepcompress.code_hash --file code.json"
FINE = "The committed results of 6 stages belong to this code and these params."


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    made = new_pipeline(tmp_path_factory.mktemp("finished") / "pipeline")
    (made.folder / "params.yaml").write_text("bits: 8\n")
    made.write({**STAGES, "plan": {**STAGES["plan"], "params": ["bits"]}})
    made.dvc_repro()
    git(made.folder, "add", "-A")
    git(made.folder, "commit", "-qm", "Results")
    return made


@pytest.fixture
def clone(finished: Pipeline, tmp_path: Path) -> Pipeline:
    """A shallow one, without any cached output."""
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{finished.folder}", "clone")
    assert not (tmp_path / "clone/table").exists()
    return Pipeline(tmp_path / "clone")


def stale(pipeline: Pipeline) -> list[str]:
    return pipeline.invoke(stale_results.main, code=2).splitlines()


def test_results_of_a_finished_run_belong(clone: Pipeline, finished: Pipeline) -> None:
    assert FINE in clone.invoke(stale_results.main)
    assert FINE in finished.invoke(stale_results.main)


def test_changed_params_and_code_are_named(clone: Pipeline) -> None:
    (clone.folder / "params.yaml").write_text("bits: 4\n")
    (clone.folder / "source").write_text("cifar100\n")
    assert stale(clone) == [
        "plan: source is modified, params.yaml: bits is modified",
        "error: the results of 1 stage are stale; run `dvc repro` and commit what it changed",
    ]


def test_what_is_missing_or_edited_by_hand_is_named_unless_a_run_brings_it(clone: Pipeline) -> None:
    (clone.folder / "n.json").write_text('{"n": 100}')
    assert stale(clone)[0] == "evaluate: n.json is modified"
    (clone.folder / "source").unlink()
    (clone.folder / "n.json").unlink()
    (clone.folder / "params.yaml").write_text("{}\n")
    assert stale(clone)[:2] == ["plan: source is deleted, params.yaml: bits is deleted", "evaluate: n.json is deleted"]


def test_where_files_alone_differ_a_checkout_brings_them_back(clone: Pipeline) -> None:
    (clone.folder / "baseline").write_text("of another branch\n")
    assert stale(clone) == [
        "baseline: baseline is modified",
        "evaluate: baseline is modified",
        "error: files of 2 stages are not those that dvc.lock names; `dvc checkout` brings them back",
    ]
    (clone.folder / "n.json").write_text("{}")  # in git, and in no cache
    assert "run `dvc repro`" in stale(clone)[-1]


def test_stages_that_never_ran_or_run_otherwise_are_named(clone: Pipeline) -> None:
    more = {"late": {"cmd": "cp table late", "deps": ["table"], "outs": ["late"]}}
    other = {**STAGES["baseline"], "cmd": "cat plan.txt > baseline", "deps": ["plan.txt", "teacher"]}
    clone.write({**STAGES, "baseline": other, **more})
    assert stale(clone)[:2] == ["baseline: its command changed, teacher is new", "late: has not run yet"]


@pytest.mark.parametrize("made", ["student@hint", "baseline"])
def test_a_lock_file_merged_from_two_runs_is_seen_through(clone: Pipeline, made: str) -> None:
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())
    lock["stages"][made]["outs"][0]["md5"] = 32 * "0"
    (clone.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    what = "students" if "@" in made else made
    assert stale(clone)[0] == f"evaluate: {what} is not what the stages before it made"


def test_code_is_stale_by_what_it_does(pipeline: Pipeline) -> None:
    package = pipeline.folder / "src/deepcompress"
    for name, text in {
        "stages/prune.py": "import deepcompress.masks\n",
        "stages/report.py": "",
        "src/deepcompress/masks.py": "KEPT = 1\n",
        "src/deepcompress/pruning/criteria/l1.py": "ORDER = 1\n",
    }.items():
        (pipeline.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (pipeline.folder / name).write_text(text)
    code = stage(f"'{sys.executable}' {LOOK}", ["stages", "src/deepcompress"], [{"code.json": {"cache": False}}])
    keys = [{"code.json": ["stages.prune", "pruning.criteria"]}]
    prune = stage("cp source pruned", ["source"], ["pruned"], params=keys)
    report = stage("cp source report", ["source"], ["report"], params=[{"code.json": ["stages.report"]}])
    pipeline.write({"code": code, "prune": prune, "report": report})
    pipeline.dvc_repro()
    fine = "The committed results of 3 stages belong to this code and these params."
    assert fine in pipeline.invoke(stale_results.main)
    assert fine in Pipeline(pipeline.folder / "stages").invoke(stale_results.main)
    (package / "masks.py").write_text("# What stays.\nKEPT = 1\n")
    assert fine in pipeline.invoke(stale_results.main)
    (package / "masks.py").write_text("KEPT = 2\n")
    assert stale(pipeline)[0] == "prune: its code changed: stages.prune"
    (package / "masks.py").write_text("KEPT = 1\n")
    (package / "pruning/criteria/l2.py").write_text("ORDER = 2\n")
    assert stale(pipeline)[0] == "prune: its code changed: pruning.criteria.l2"
    pipeline.dvc_repro("code")
    assert stale(pipeline)[0] == "prune: its code changed: pruning.criteria.l2"


def test_a_link_whose_settings_changed_is_named_before_any_stage_runs(pipeline: Pipeline) -> None:
    document = params.read_as_written(house.ROOT / "params.yaml")
    path = pipeline.folder / "params.yaml"

    def write(bits: int) -> None:
        path.write_text(yaml.safe_dump(pages.merged(document, pages.at("quant.bits", bits))))

    write(8)
    files.write_json(
        pipeline.folder / "written.json", dependencies.choices(params.read(path), code_hash.hashes(pipeline.folder))
    )
    plan = stage("cp written.json choices.json", ["source"], [{"choices.json": {"cache": False}}])
    links = {
        name: stage(
            f"cp source {name}", ["source"], [name], params=[{"choices.json": [f"settings.combine.quantize.{name}"]}]
        )
        for name in ("narrow_int4", "prune_quantize")
    }
    pipeline.write({"plan": plan, **links})
    pipeline.dvc_repro()
    write(4)
    assert stale(pipeline)[:-1] == ["prune_quantize: its choices changed: settings.combine.quantize.prune_quantize"]


def test_where_nothing_is_installed_that_computes_the_hashes_of_inputs_are_taken_on_trust(pipeline: Pipeline) -> None:
    """The dependency group `ci`, all that a workflow installs, has none of these."""
    (pipeline.folder / "params.yaml").write_text((house.ROOT / "params.yaml").read_text(encoding="utf-8"))
    files.write_json(pipeline.folder / "written.json", {"data": "none"})
    plan = stage("cp written.json inputs.json", ["source"], [{"inputs.json": {"cache": False}}])
    download = stage("cp source images", ["source"], ["images"], params=[{"inputs.json": ["data"]}])
    pipeline.write({"plan": plan, "download": download})
    pipeline.dvc_repro()
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in ("numpy", "scipy", "PIL", "torch", "pandas"))
    program = (
        f"import sys; {blocked}from pathlib import Path; "
        "from deepcompress import code_hash, dependencies, params, stale; "
        f"dependencies.choices(params.read(), code_hash.hashes(Path({str(house.ROOT)!r}))); stale.main()"
    )
    assert "The committed results of 2 stages belong" in printed(program, folder=pipeline.folder)


def test_outside_of_a_project_it_ends_in_one_line(tmp_path: Path) -> None:
    shown = Pipeline(tmp_path).invoke(stale_results.main, code=2)
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1


# The hashes of code.

FILES = {
    "stages/work.py": "from deepcompress import one\n",
    "src/deepcompress/__init__.py": "",
    "src/deepcompress/one.py": "def f():\n    from deepcompress.room import two\n    return two\n",
    "src/deepcompress/room/two.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from deepcompress import shown\n"
    ),
    "src/deepcompress/room/plugins/_helper.py": "HELP = 1\n",
    "src/deepcompress/room/plugins/mine.py": "from deepcompress.room.plugins._helper import HELP\n",
    "src/deepcompress/shown.py": "",
    "src/deepcompress/unused.py": "",
}
STAGE_CODE = {"stages/work.py", "src/deepcompress/one.py", "src/deepcompress/room/two.py"}
PLUGIN_CODE = {f"src/deepcompress/room/plugins/{name}.py" for name in ("mine", "_helper")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_hash_follows_what_can_be_imported_and_nothing_else(project: Path) -> None:
    assert {name: set(inner) for name, inner in code_hash.hashes(project).items()} == {
        "room": {"plugins"},
        "stages": {"work"},
    }
    assert set(code_hash.hashes(project)["room"]["plugins"]) == {"mine"}
    for name in FILES:
        stage, plugin = changed_by(project, name)
        assert stage == (name in STAGE_CODE), name
        assert plugin == (name in PLUGIN_CODE), name


def changed_by(project: Path, name: str) -> tuple[bool, bool]:
    """Whether the hashes of the stage and of the plug-in change when a statement is added to a file."""
    before = code_hash.hashes(project)
    (project / name).write_text(FILES[name] + "x = 1\n")
    code_hash.imports.cache_clear()
    code_hash.digest.cache_clear()
    after = code_hash.hashes(project)
    return before["stages"] != after["stages"], before["room"] != after["room"]


def digest(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return code_hash.digest(path)


PLAIN = 'def f(x):\n    y = "a#b"\n    return [\n        x,\n        y,\n    ]\n'


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (PLAIN.replace("def", '"""Words.\n\nMore words, ünd so weiter."""\n\n# a comment\ndef'), True),
        (PLAIN.replace("    y =", '    """What it does."""\n    y ='), True),
        (PLAIN.replace("x,", 'x,  # ähnlich, and "quoted"'), True),
        (PLAIN.replace("    return", "\n\n    # why\n    return"), True),
        (PLAIN.replace("[\n        x,\n        y,\n    ]", "[x, y]"), True),
        (PLAIN.replace("a#b", "a#c"), False),
        (PLAIN.replace("x,", "x, x,"), False),
        (PLAIN.replace("    return", "    if x:\n        return"), False),
        (PLAIN + "f(1)\n", False),
        (PLAIN.replace('y = "a#b"', 'y = """a\n\nb"""'), False),
    ],
)
def test_code_changes_a_hash_and_words_for_readers_do_not(text: str, same: bool, tmp_path: Path) -> None:
    assert (digest(tmp_path, "other", text) == digest(tmp_path, "plain", PLAIN)) == same


def test_broken_code_is_named(project: Path) -> None:
    (project / "src/deepcompress/one.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=r"one\.py: not Python"):
        code_hash.hashes(project)


@pytest.mark.parametrize("stage", ["finetune", "quantize", "report"])
def test_what_a_stage_loads_counts_as_its_code(stage: str) -> None:
    shown = printed(f"import sys, stages.{stage}; print(*sys.modules)")
    loaded = {name for name in shown.split() if name.startswith("deepcompress.")}
    files = {house.SOURCE / Path(*name.split(".")).with_suffix(".py") for name in loaded}
    counted = code_hash.closure(house.ROOT, house.ROOT / f"stages/{stage}.py")
    assert counted
    assert {file for file in files if file.is_file()} <= counted
