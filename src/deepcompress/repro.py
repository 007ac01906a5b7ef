"""`dvc repro` with several stages at a time: `python -m deepcompress.repro -j 2`, or on a Dask cluster.

DVC runs one stage after the other, and reads and writes all of dvc.lock for each. Here DVC does what it always does
with a stage (is it up to date, is it in the run cache, hash and cache what it wrote), one stage at a time in this one
process. Only the commands of stages that do not wait for each other run together, on an executor: threads of this
machine, or workers of a cluster that see the same working tree. dvc.lock is written once, at the end, also after a
failure and after Ctrl-C. What a run leaves is what `dvc repro` leaves.

Source: `Stage.reproduce`, `Stage.run` and `run_stage` of DVC, which take the same steps without a pause between them.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepcompress import dependencies, files, forks, stale
from deepcompress.errors import STAGE_VARIABLE, Command, UserError
from deepcompress.forks import THREADS_VARIABLE
from deepcompress.progress import Progress, chains, durations, last_seconds

if TYPE_CHECKING:
    from dvc.dvcfile import ProjectFile
    from dvc.repo import Repo
    from dvc.stage import PipelineStage, Stage

REPORT, PAGE, README = "report", "report.html", Path("README.md")
ALONE = "alone"  # under `meta:` of a stage in dvc.yaml: what it measures, others at its side would disturb
ON_DEVICE = "train"  # a stage that depends on this section of params.yaml uses a GPU where there is one
GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
MOST = 8  # stages at a time on one machine without being asked: each takes about a gigabyte of memory
MOST_ON_CLUSTER = 1000  # the scheduler has a queue of its own
SECONDS_BETWEEN_STOPS = 0.2
FRIENDLY_STOPS = 150  # by SIGTERM, before what does not heed it is killed
STOPS_ON_CLUSTER = 50  # tries to end what runs: workers may be gone
STOPPING = "Stopping: what is finished is kept, and the next run goes on from there."


@dataclass(frozen=True)
class Job:
    """The command of a stage."""

    root: str  # of the DVC project
    name: str
    command: str  # for a shell
    folder: str  # to run it in
    alone: bool = False  # nothing runs beside it
    on_device: bool = False  # it uses a GPU where there is one
    share: Mapping[str, str] = field(default_factory=dict)  # beside the environment of the process that starts it

    @classmethod
    def of(cls, stage: Stage) -> Job:
        """As DVC would run the stage's command."""
        command = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd)
        on_device = any(ON_DEVICE in dep.params for dep in stage.params)
        return cls(stage.repo.root_dir, stage.addressing, command, stage.wdir, is_alone(stage), on_device)


def is_alone(stage: Stage) -> bool:
    """Whether dvc.yaml says that nothing may run beside the stage."""
    return bool((stage.meta or {}).get(ALONE))


RUNNING: dict[tuple[str, str], int] = {}  # root and name of each job that this process runs -> its process group


def run(job: Job, echo: Callable[[str], object] = click.echo, may_fork: bool = False) -> int:
    """Run a command in a process group of its own, and print its lines with the stage's name before each.

    Its `python` is the one that runs this, on a cluster the worker's, whether or not its environment is activated. With
    `may_fork` a Python script runs in a fork of a process that has its libraries loaded (forks.py). Returns the exit
    code; negative: the signal that ended it.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "DVC_ROOT": job.root, STAGE_VARIABLE: job.name, **job.share}
    reader, writer = multiprocessing.Pipe(duplex=False)
    alive, held = multiprocessing.Pipe(duplex=False)
    process = forks.forked(job.command, environment, job.folder, writer) if may_fork else None
    command = process or subprocess.Popen(
        job.command,
        shell=True,
        cwd=job.folder,
        env=environment,
        stdout=writer.fileno(),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=[alive.fileno()] if forks.POSIX else [],
    )
    if isinstance(command, subprocess.Popen):
        forks.end_with(alive.fileno(), command.pid)
    writer.close()
    assert command.pid is not None
    RUNNING[job.root, job.name] = command.pid
    try:
        with held, alive:
            with reader, os.fdopen(os.dup(reader.fileno()), errors="replace") as lines:
                for line in lines:
                    echo(f"{job.name} | {line.rstrip()}")
            code = command.wait() if isinstance(command, subprocess.Popen) else forks.exit_code(command)
            if code == 0:
                forks.leave_alone(alive.fileno())
            return code
    finally:
        del RUNNING[job.root, job.name]


def stop(root: str, names: Iterable[str], by: signal.Signals = signal.SIGTERM) -> None:
    """End those jobs of a project that this process runs."""
    for name in names:
        if group := RUNNING.get((root, name)):
            with suppress(ProcessLookupError):
                os.killpg(group, by)


@dataclass(frozen=True)
class Place:
    """Where jobs run: on an executor."""

    submit: Callable[[Job], Future[int]]
    stop: Callable[[str, list[str], signal.Signals], object]  # ends jobs of the project in this folder by their names
    size: int  # jobs at a time
    stops: float = math.inf  # tries to end what runs, after which it is left to itself


@contextmanager
def machine(jobs: int | None) -> Iterator[Place]:
    """This machine: a thread for each job at a time, each with its share of the cores and a GPU of its own."""
    environments = shares(jobs, os.environ)
    free: queue.LifoQueue[Mapping[str, str]] = queue.LifoQueue()
    for environment in reversed(environments):
        free.put(environment)

    def work(job: Job) -> int:
        environment = free.get()
        try:
            if job.alone:  # as in a run of DVC: all cores, all GPUs, a process of its own
                return run(job)
            return run(replace(job, share=environment), may_fork=True)
        finally:
            free.put(environment)

    with ThreadPoolExecutor(len(environments)) as threads:

        def submit(job: Job) -> Future[int]:
            forks.heat(environments[0][THREADS_VARIABLE])
            return threads.submit(work, job)

        yield Place(submit, stop, len(environments))


@contextmanager
def cluster(address: str, jobs: int | None) -> Iterator[Place]:
    """The workers of a Dask scheduler; a job that uses a GPU takes one where the workers say that they have some.

    A job whose worker is lost starts again on another one.
    """
    try:
        import distributed
    except ImportError:
        raise UserError("dask is not installed; run this by `uv run --group dask`") from None
    try:
        client = distributed.Client(address)
    except OSError as error:
        raise UserError(f"--scheduler: no Dask scheduler at {address}: {error}") from error
    with client:

        def submit(job: Job) -> Future[int]:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            gpu = job.on_device and any(worker["resources"].get("GPU") for worker in workers)
            executor = client.get_executor(pure=False, resources={"GPU": 1} if gpu else {})
            future: Future[int] = executor.submit(run, job, distributed.print)
            return future

        yield Place(submit, partial(client.run, stop), jobs or MOST_ON_CLUSTER, STOPS_ON_CLUSTER)


def shares(jobs: int | None, environment: Mapping[str, str]) -> list[Mapping[str, str]]:
    """What the environment of each job at a time has besides that of this process.

    By default there is a job for each GPU, or without GPUs one for each core, up to MOST. A number of threads that the
    environment names stays; GPUs that it hides stay hidden.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus(environment)
    count = jobs or len(gpus) or min(cores, MOST)
    threads = environment.get(THREADS_VARIABLE, str(max(1, cores // count)))
    own = [{GPUS_VARIABLE: gpus[place % len(gpus)]} if gpus else {} for place in range(count)]
    return [{THREADS_VARIABLE: threads, **gpu} for gpu in own]


def _gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of NVIDIA's GPUs as CUDA_VISIBLE_DEVICES takes them; asked of the driver, since torch takes a second."""
    if GPUS_VARIABLE in environment:
        return [name for name in environment[GPUS_VARIABLE].split(",") if name.strip()]
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


class Interruption:
    """SIGINT and SIGTERM in this process: the first raises KeyboardInterrupt, at once or once it may.

    A second one would leave stages that go on, or disturb what is noted at the end. Of one press `make seeds` makes
    two, its own and that of the terminal.
    """

    def __init__(self) -> None:
        self._came = self._is_held = self._is_told = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """While this lasts, signals come here; Ctrl-C that is ignored, as in the background of a shell, stays so."""
        numbers = {signal.SIGTERM, signal.SIGINT}
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            numbers.remove(signal.SIGINT)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self, back: bool = True) -> Iterator[None]:
        """While this lasts, a signal waits for its end; with `back=False` it comes through, within one that waits."""
        before, self._is_held = self._is_held, back
        try:
            self._tell()
            yield
        finally:
            self._is_held = before
        self._tell()

    def _handle(self, *_: object) -> None:
        self._came = True
        self._tell()

    def _tell(self) -> None:
        if self._came and not self._is_held and not self._is_told:
            self._is_told = True
            raise KeyboardInterrupt


@dataclass
class Reproduction:
    """Stages that are brought up to date, each as soon as what it depends on is done."""

    waiting: list[Stage]  # the most urgent first
    place: Place
    progress: Progress
    interruption: Interruption
    keeps_going: bool = False  # after a failure, with all that does not depend on what failed
    changed: list[Stage] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    running: dict[Future[int], Stage] = field(default_factory=dict)

    def run(self) -> None:
        """Go on until all is done, or nothing more can start and what runs has ended; a UserError names what failed."""
        try:
            self._start_ready()
            while self.running:
                ended, _ = wait(self.running, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._finish(future, self.running[future])
                    del self.running[future]
                self._start_ready()
        except KeyboardInterrupt:
            click.echo(STOPPING)
            raise
        finally:  # what still runs here was left by Ctrl-C, or is about to start
            self._stop()
        if self.failures:
            raise UserError("; ".join(self.failures))

    def _stop(self) -> None:
        """End what runs, again and again, since a fork may wait for its libraries; record what ended well before."""
        tries = 0
        while tries < self.place.stops and wait(self.running, timeout=SECONDS_BETWEEN_STOPS).not_done:
            by = signal.SIGTERM if tries < FRIENDLY_STOPS else signal.SIGKILL
            for root in {stage.repo.root_dir for stage in self.running.values()}:
                self.place.stop(root, [stage.addressing for stage in self.running.values()], by)
            tries += 1
        for future, stage in self.running.items():
            if not future.cancel():
                self._finish(future, stage)

    def _start_ready(self) -> None:
        """Start commands until none is ready, the place is full or a failure stops the run."""
        while (self.keeps_going or not self.failures) and (stage := self._next()):
            self.waiting.remove(stage)
            with self._noting_failure(stage):
                if not stage.changed():
                    self.progress.skipped(stage)
                elif self._restored(stage):
                    self._record(stage)
                else:
                    self.progress.started(stage)
                    with self.interruption.held():  # what runs is to be known
                        self.running[self.place.submit(Job.of(stage))] = stage

    def _next(self) -> Stage | None:
        busy = bool(self.running)
        if len(self.running) >= self.place.size or any(map(is_alone, self.running.values())):
            return None
        ready = (
            stage for stage in self.waiting if self.progress.done.issuperset(self.progress.graph.successors(stage))
        )
        return next((stage for stage in ready if not (busy and is_alone(stage))), None)

    def _restored(self, stage: Stage) -> bool:
        """Remove the stage's outputs, and bring them from the run cache if it ran on the same inputs before."""
        from dvc.stage.cache import RunCacheNotFoundError

        stage.remove_outs(ignore_remove=False, force=False)
        try:
            stage.repo.stage_cache.restore(stage)
        except RunCacheNotFoundError:
            stage.save_deps()
            return False
        return True

    def _finish(self, future: Future[int], stage: Stage) -> None:
        code = f"has no end: {future.exception()}" if future.exception() else future.result()
        if code:
            self.failures.append(f"stage '{stage.addressing}' {code if isinstance(code, str) else _failure(code)}")
            return
        with self._noting_failure(stage):
            # DVC would record what holds now, and the stage may have read what held before.
            if changes := [change for dep in stage.params for change in stale.changes(dep)]:
                told = f"{', '.join(changes)} since it started; run this again"
                self.failures.append(f"stage '{stage.addressing}' is not recorded: {told}")
                return
            self._record(stage)

    def _record(self, stage: Stage) -> None:
        """Hash and cache what the stage wrote; the run cache takes no stage with an uncached table."""
        uncached = any(not (out.use_cache or out.is_metric or out.is_plot) for out in stage.outs)
        stage.save(run_cache=not uncached)
        stage.commit()
        self.changed.append(stage)
        self.progress.ended(stage)

    @contextmanager
    def _noting_failure(self, stage: Stage) -> Iterator[None]:
        from dvc.exceptions import DvcException

        try:
            yield
        except DvcException as error:
            self.failures.append(f"stage '{stage.addressing}': {error}")


def _failure(code: int) -> str:
    """How a command failed: one that a signal ended could say nothing."""
    number = -code if code < 0 else code - 128  # of a shell whose command was ended
    if number not in set(signal.Signals):
        return f"failed with exit code {code}; it says why above"
    reason = (
        ", most likely for lack of memory; run fewer at a time (make repro JOBS=1)" if number == signal.SIGKILL else ""
    )
    return f"was ended by {signal.Signals(number).name}{reason}"


def reproduce(
    repo: Repo, targets: Iterable[str], place: Place, interruption: Interruption, *, keep_going: bool = False
) -> None:
    """Bring stages of a locked repository, by default all of dvc.yaml, and all that they depend on up to date.

    What was finished is recorded, also where a UserError says that a stage failed, and after Ctrl-C.
    """
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    order = plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))
    times = last_seconds()
    urgency = chains(durations(order, times), graph)
    by_urgency = sorted(order, key=lambda stage: -urgency[stage])
    work = Reproduction(by_urgency, place, Progress(graph, order, times, place.size), interruption, keep_going)
    with interruption.held():
        try:
            with interruption.held(back=False):
                work.run()
        finally:
            for dvcfile in {stage.dvcfile for stage in work.changed}:
                _lock(dvcfile, [stage for stage in order if stage in work.changed and stage.dvcfile == dvcfile])
    if not work.changed:
        click.echo("Data and pipelines are up to date.")
    for line in closing(work.progress.done):
        click.echo(line)


def _lock(dvcfile: ProjectFile, stages: list[PipelineStage]) -> None:
    """Write what stages made into the dvc.lock of a dvc.yaml, whole or not at all; DVC would leave a part."""
    from dvc.dvcfile import Lockfile

    path = Path(dvcfile.path).with_suffix(".lock")

    class Partial(Lockfile):
        """Speaks of the file that it is going to be."""

        relpath = Lockfile(dvcfile.repo, str(path)).relpath

    with files.atomic(path) as partial:
        if path.is_file():
            shutil.copyfile(path, partial)
        with redirect_stdout(io.StringIO()):  # where the YAML library prints the word that it could not write
            Partial(dvcfile.repo, str(partial)).dump_stages(stages)


def closing(done: Iterable[Stage]) -> Iterator[str]:
    """Where the report is up to date, the headline of the README, and where the page lies and what shows it."""
    if not any(stage.addressing == REPORT for stage in done) or not Path(PAGE).is_file():
        return
    if sentence := headline():
        yield f"\n{sentence}"
    yield f"{Path(PAGE).absolute()}: {viewer()}"


def headline() -> str | None:
    """The sentence in bold at the top of the README's results."""
    from deepcompress.report.page import BEGIN, END  # loads pandas, which a run's start need not wait for

    try:
        block = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    except (OSError, UnicodeDecodeError):
        return None
    return " ".join(block.partition("**")[2].partition("**")[0].split()) or None


def viewer() -> str:
    """The command that shows the page on this system."""
    opener = {"Darwin": "open", "Windows": "start"}.get(platform.system()) or shutil.which("xdg-open")
    if not opener:
        return "copy the file to a machine with a browser; it needs nothing beside it"
    return f"look at it by `{Path(opener).name} {PAGE}`"


@click.command(cls=Command)
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Stages at a time; default: one per GPU, or per core.")
@click.option("-k", "--keep-going", is_flag=True, help="After a failure, run all that does not depend on what failed.")
@click.option("--scheduler", help="Address of a Dask scheduler, such as tcp://HOST:8786; its workers run the stages.")
@click.argument("targets", nargs=-1)
def main(jobs: int | None, keep_going: bool, scheduler: str | None, targets: tuple[str, ...]) -> None:
    """Bring TARGETS (default: every stage) up to date, several stages at a time."""
    interruption = Interruption()
    with (
        interruption.handled(),
        cluster(scheduler, jobs) if scheduler else machine(jobs) as place,
        dependencies.opened_project() as repo,
    ):
        from dvc.repo import lock_repo

        with lock_repo(repo), repo.scm_context(quiet=True):
            reproduce(repo, targets, place, interruption, keep_going=keep_going)


if __name__ == "__main__":
    from deepcompress import repro  # workers import `run` by this name; they have another __main__

    repro.main()
