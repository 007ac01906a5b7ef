"""What a run tells: watched by a person, or in a log; how long it takes yet; where the report lies."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import networkx
import pytest

from deepcompress import progress, repro
from deepcompress.progress import Progress, chains, durations, spoken
from deepcompress.report.page import BEGIN, END

BLOCK = f"# Title\n**Not this.**\n{BEGIN}\n**The baseline reaches 96 %.** (20 classes)\n\n**Note.**\n{END}\n"


def made(**changes: Any) -> tuple[Progress, dict[str, Any]]:
    """A chain first - second - third with wide beside it, on two places; the clock is `clock["now"]`."""
    stages = {name: cast("Any", _Stage(name)) for name in ("first", "second", "third", "wide")}
    graph = networkx.DiGraph()
    graph.add_nodes_from(stages.values())
    graph.add_edge(stages["second"], stages["first"])
    graph.add_edge(stages["third"], stages["second"])
    clock = {"now": 100.0}
    seconds = {"first": 10.0, "second": 20.0, "third": 30.0, "wide": 100.0}
    options = {"seconds": seconds, "size": 2, "watched": True, "now": lambda: clock["now"], **changes}
    return Progress(graph, list(stages.values()), **options), {**stages, "clock": clock}


class _Stage:
    def __init__(self, addressing: str) -> None:
        self.addressing = addressing


def test_a_person_sees_what_runs_how_much_is_done_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    told, stages = made()
    told.skipped(stages["first"])
    told.started(stages["second"])
    stages["clock"]["now"] += 18
    told.ended(stages["second"])
    told.ended(stages["wide"])
    told.started(stages["third"])
    told.ended(stages["third"])
    assert capsys.readouterr().out.splitlines() == [
        "Stage 'first' didn't change, skipping",
        "Running stage 'second', 20 s last time (1 of 4 done, 2 min left)",
        "Stage 'second' took 18 s (2 of 4 done, 2 min left)",
        "Stage 'wide' came from the run cache (3 of 4 done, 30 s left)",
        "Running stage 'third', 30 s last time (3 of 4 done, 30 s left)",
        "Stage 'third' took 0 s (4 of 4 done)",
    ]


def test_a_log_has_the_starts_alone(capsys: pytest.CaptureFixture[str]) -> None:
    told, stages = made(watched=False)
    told.started(stages["first"])
    told.ended(stages["first"])
    assert capsys.readouterr().out == "Running stage 'first'\n"


def test_what_is_left_is_the_longest_chain_or_the_sum_over_the_places() -> None:
    assert made()[0].left() == 100
    assert made(size=1)[0].left() == 160
    seconds = {"first": 10.0, "second": 20.0, "third": 30.0}
    told, stages = made(seconds=seconds)
    assert told.left() == 60, "wide counts as their mean, 20"
    told.started(stages["first"])
    stages["clock"]["now"] += 4
    assert told.left() == 56
    stages["clock"]["now"] += 40
    assert told.left() == 50, "a stage that takes longer than last time is about to end"
    assert made(seconds={})[0].left() is None


def test_chains_count_what_is_behind_a_stage_and_nothing_that_is_left_out() -> None:
    told, _ = made()
    first, second, third, wide = told.order
    usual = durations(told.order, told.seconds)
    assert chains(usual, told.graph) == {first: 60, second: 50, third: 30, wide: 100}
    del usual[third]
    assert chains(usual, told.graph) == {first: 30, second: 20, wide: 100}
    assert list(durations(told.order, {}).values()) == [1, 1, 1, 1]


def test_nobody_watches_a_ci_or_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, ci, watched in ((True, "", True), (True, "true", False), (False, "", False)):
        monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda terminal=terminal: terminal))
        monkeypatch.setenv(progress.CI_VARIABLE, ci)
        assert progress.is_watched() is watched


@pytest.mark.usefixtures("inside")
def test_times_of_this_machine_come_before_those_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPCOMPRESS_SCRATCH", raising=False)
    assert progress.last_seconds() == {}
    progress.STAGES.parent.mkdir(parents=True)
    progress.STAGES.write_text("stage,seconds\nplan,2.0\nfinetune,58.0\n")
    Path(".scratch/seconds").mkdir(parents=True)
    Path(".scratch/seconds/plan.json").write_text(json.dumps({"stage": "plan", "seconds": 3.5}))
    assert progress.last_seconds() == {"plan": 3.5, "finetune": 58.0}
    for damaged in ("stage,seconds\nplan,many\n", "a,b\n1,2\n", "\xff"):
        progress.STAGES.write_text(damaged, encoding="latin-1")
        assert progress.last_seconds() == {"plan": 3.5}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (7500, "2 h 5 min")]
)
def test_times_are_spoken_in_a_unit_that_suits(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


@pytest.mark.parametrize(
    ("system", "program", "end"),
    [
        ("Darwin", None, "look at it by `open report.html`"),
        ("Windows", None, "look at it by `start report.html`"),
        ("Linux", "/usr/bin/xdg-open", "look at it by `xdg-open report.html`"),
        ("Linux", None, "copy the file to a machine with a browser; it needs nothing beside it"),
    ],
)
def test_a_run_ends_with_the_headline_and_where_the_page_lies(
    inside: Path, monkeypatch: pytest.MonkeyPatch, system: str, program: str | None, end: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("shutil.which", lambda name: program)
    report, other = cast("Any", _Stage("report")), cast("Any", _Stage("plan"))
    Path("README.md").write_text(BLOCK)
    assert list(repro.closing([report])) == [], "there is no page"
    Path("report.html").touch()
    assert list(repro.closing([other])) == []
    lies = f"{inside / 'report.html'}: {end}"
    assert list(repro.closing([other, report])) == ["\nThe baseline reaches 96 %.", lies]
    Path("README.md").write_text("no results")
    assert list(repro.closing([report])) == [lies]
