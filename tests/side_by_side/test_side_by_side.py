"""A run side by side leaves what a serial one leaves; what it does when something fails or stops it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.side_by_side.conftest import STAGES, Pipeline, new_pipeline, stage

MEET = "touch {own}; for i in $(seq 300); do [ -e {other} ] && exit 0; sleep 0.1; done; exit 9"


def test_it_leaves_what_a_serial_run_leaves(tmp_path: Path) -> None:
    serial, ours = new_pipeline(tmp_path / "serial"), new_pipeline(tmp_path / "ours")
    serial.run("dvc", "repro", "-q")
    ours.side_by_side()
    assert (ours.folder / "dvc.lock").read_bytes() == (serial.folder / "dvc.lock").read_bytes()
    assert ours.kept() == serial.kept()
    assert "up to date" in ours.run("dvc", "status")
    assert "Data and pipelines are up to date." in ours.side_by_side()


def test_stages_that_do_not_wait_for_each_other_run_together(pipeline: Pipeline) -> None:
    pipeline.write(
        {
            "one": stage(f"({MEET.format(own='met1', other='met2')}) && echo > one", ["source"], ["one"]),
            "two": stage(f"({MEET.format(own='met2', other='met1')}) && echo > two", ["source"], ["two"]),
        }
    )
    pipeline.side_by_side()


def test_nothing_runs_beside_a_stage_that_is_to_be_alone(pipeline: Pipeline) -> None:
    busy = "touch busy-{0} && sleep 1 && rm busy-{0} && echo > {0}"
    pipeline.write(
        {
            "timed": stage("! ls busy-* && sleep 1 && ! ls busy-* && echo > timed", ["source"], ["timed"])
            | {"meta": {"alone": True}},
            "one": stage(busy.format("one"), ["source"], ["one"]),
            "two": stage(busy.format("two"), ["source"], ["two"]),
        }
    )
    pipeline.side_by_side()


def test_only_what_changed_runs_and_the_run_cache_is_used(pipeline: Pipeline) -> None:
    pipeline.side_by_side()
    before = pipeline.lock()
    (pipeline.folder / "source").write_text("cifar100\n")
    pipeline.side_by_side()
    assert pipeline.lock() != before
    (pipeline.folder / "source").write_text("shapes\n")
    shown = pipeline.side_by_side()
    assert "Running stage 'plan'" in shown  # its output is not cached
    assert "Stage 'teacher' is cached" in shown
    assert pipeline.lock() == before


def test_a_target_runs_with_all_that_it_needs_and_nothing_else(pipeline: Pipeline) -> None:
    pipeline.side_by_side("student@hint")
    assert set(pipeline.lock()) == {"plan", "teacher", "student@hint"}


def test_a_failure_ends_in_one_line_and_what_was_finished_stays(pipeline: Pipeline) -> None:
    broken = stage("echo no memory >&2; exit 3", ["plan.txt"], ["baseline"])
    pipeline.write({**STAGES, "baseline": broken})
    last = pipeline.side_by_side(code=2).splitlines()
    assert last[-1] == "error: stage 'baseline' failed with exit code 3; it says why above"
    assert "baseline | no memory" in last
    assert "plan" in pipeline.lock()
    assert {"baseline", "evaluate"}.isdisjoint(pipeline.lock())
    pipeline.write(STAGES)
    assert "Stage 'plan' didn't change, skipping" in pipeline.side_by_side()
    assert set(pipeline.lock()) == {"plan", "teacher", "baseline", "student@hint", "student@crd", "evaluate"}


def test_it_keeps_going_where_it_is_asked_to(pipeline: Pipeline) -> None:
    pipeline.write({**STAGES, "teacher": stage("exit 3", ["plan.txt"], ["teacher"])})
    shown = pipeline.side_by_side("--keep-going", "-j", "1", code=2)
    assert shown.splitlines()[-1] == "error: stage 'teacher' failed with exit code 3; it says why above"
    assert set(pipeline.lock()) == {"plan", "baseline"}
    assert "student" not in shown, "what depends on it does not run"


def test_a_stage_that_writes_nothing_fails_like_any_other(pipeline: Pipeline) -> None:
    pipeline.write({"teacher": stage("true", ["source"], ["teacher"])})
    shown = pipeline.side_by_side(code=2)
    assert shown.splitlines()[-1].startswith("error: stage 'teacher': output 'teacher' does not exist")


def test_a_killed_run_finds_what_was_finished_in_the_run_cache(pipeline: Pipeline) -> None:
    teacher = {**STAGES["teacher"], "cmd": "cp source teacher", "deps": ["source"]}
    late = stage("touch started; [ -e go ] || sleep 20; echo > late", ["teacher"], ["late"])
    pipeline.write({"teacher": teacher, "late": late})
    process = pipeline.start("deepcompress.side_by_side", "-j", "2")
    wait_for(pipeline.folder / "started")
    process.kill()
    process.wait(timeout=30)
    assert process.stdout is not None
    process.stdout.close()  # the command outlives its parent a while
    assert not (pipeline.folder / "dvc.lock").exists()
    (pipeline.folder / "go").touch()
    shown = pipeline.side_by_side()
    assert "Stage 'teacher' is cached" in shown
    assert set(pipeline.lock()) == {"teacher", "late"}


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopped_run_stops_its_commands_and_keeps_what_was_finished(pipeline: Pipeline) -> None:
    endless = stage("touch started; sleep 600; echo > late", ["plan.txt"], ["late"])
    pipeline.write({"plan": STAGES["plan"], "late": endless})
    process = pipeline.start("deepcompress.side_by_side", "-j", "2")
    wait_for(pipeline.folder / "started")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)  # ends only when the command has closed its pipe
    assert process.returncode != 0
    assert set(pipeline.lock()) == {"plan"}


def test_a_broken_pipeline_is_one_line(pipeline: Pipeline) -> None:
    (pipeline.folder / "dvc.yaml").write_text("stages: [")
    assert pipeline.side_by_side(code=2).splitlines()[-1].startswith("error: ")
