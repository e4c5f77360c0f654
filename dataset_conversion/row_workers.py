"""Worker processes that may die: one row is lost with them, never the run.

A damaged stream can crash a compiled decoder, and with it the process, or keep it busy for ever. Each worker here is a
process of its own behind two pipes. One that dies is reported for the row it held and replaced; one that takes too
long is ended and reported likewise. Workers end at once when their parent does, so that nobody writes any more when
the same command runs again; until then they hold the parent's lock (``held``).
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Generic, TypeVar, cast

import joblib
from joblib.parallel import get_active_backend

from femur_nnunet.command_line import worker_count
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.archives import remove_folders_of

Task = TypeVar("Task")
Result = TypeVar("Result")
START_LIMIT_S = 300.0
_LOCAL_BACKENDS = "joblib._parallel_backends"
_MAIN = "import sys; sys.path[:] = {path!r}; from femur_nnunet.dataset_conversion.row_workers import serve; serve()"
# What a process raises by what it does itself; any other signal is sent by somebody else.
_OWN_SIGNALS = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"})
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                     "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class WorkerLoss:
    """What became of a task whose worker was lost.

    Attributes
    ----------
    reason : str
        In words.
    timed_out : bool
        It was ended at its time limit.
    by_machine : bool
        It was ended from outside, as the kernel does when memory is short and a batch system when time is over; else
        it died of itself, as a decoder does that crashes.
    """

    reason: str
    timed_out: bool = False
    by_machine: bool = False


def run_rows(function: Callable[[Task], Result], tasks: Sequence[Task], options: ConversionOptions,
             lock: int) -> Iterator[Result | WorkerLoss]:
    """Yield the results in the order of the tasks, one scan a worker at a time, as the command's options say.

    Where joblib has been given another backend (``joblib.parallel_config``), as a dask cluster, the rows go there
    (docs/howto_dask.md).

    Parameters
    ----------
    function, tasks
        See :func:`run_in_workers`.
    options : ConversionOptions
        Number of workers, the time limit of a row, and whether one worker alone is a process of its own.
    lock : int
        File descriptor of the target's lock, which the workers hold as well.
    """
    jobs = max(1, min(worker_count(options.jobs), len(tasks)))
    # joblib's own backends are of this machine, where the workers below are better guarded.
    if jobs > 1 and type(get_active_backend()[0]).__module__ != _LOCAL_BACKENDS:
        rows = joblib.Parallel(n_jobs=jobs, return_as="generator")(
            joblib.delayed(_run_row)(function, task, options.row_limit_s) for task in tasks)
        return cast(Iterator[Result | WorkerLoss], rows)
    if jobs == 1 and not options.isolated:
        return map(function, tasks)
    return run_in_workers(function, tasks, jobs, time_limit_s=options.row_limit_s, held=(lock,))


def _run_row(function: Callable[[Task], Result], task: Task, time_limit_s: float) -> Result | WorkerLoss:
    """Run one row in a process of its own, on whatever machine this is: the guards are those of a local run."""
    # Its neighbours on that machine have rows of their own.
    (result,) = run_in_workers(function, [task], 1, time_limit_s=time_limit_s, threads=1)
    return result


def run_in_workers(function: Callable[[Task], Result], tasks: Sequence[Task], n_workers: int, *,
                   time_limit_s: float, held: Sequence[int] = (),
                   threads: int | None = None) -> Iterator[Result | WorkerLoss]:
    """Yield the results of ``function`` in the order of the tasks, a :class:`WorkerLoss` where a worker was lost.

    Parameters
    ----------
    function : callable
        Importable by name; tasks and results must pickle.
    tasks : sequence
        One argument each.
    n_workers : int
        Processes at a time, each with one task.
    time_limit_s : float
        After which a task is given up.
    held : sequence of int
        File descriptors that the workers hold as well, such as that of a lock.
    threads : int, optional
        Threads of a worker; without it the machine's processors are shared out.

    Raises
    ------
    FemurError
        A worker cannot be started at all.
    """
    pool = _Pool(function, time_limit_s, tuple(held), threads or max(1, (os.cpu_count() or 1) // n_workers))
    for numbered in enumerate(tasks):
        pool.waiting.put(numbered)
    drivers = [threading.Thread(target=pool.drive, daemon=True) for _ in range(n_workers)]
    for driver in drivers:
        driver.start()
    done: dict[int, Any] = {}
    try:
        for number in range(len(tasks)):
            while number not in done:
                index, result = pool.finished.get()
                if isinstance(result, FemurError):
                    raise result
                done[index] = result
            yield done.pop(number)
    finally:
        pool.stop()
        for driver in drivers:
            driver.join()


@dataclass
class _Pool(Generic[Task, Result]):
    function: Callable[[Task], Result]
    time_limit_s: float
    held: tuple[int, ...]
    threads_of_each: int
    waiting: queue.SimpleQueue[tuple[int, Task]] = field(default_factory=queue.SimpleQueue)
    finished: queue.SimpleQueue[tuple[int, Result | WorkerLoss | FemurError]] = field(
        default_factory=queue.SimpleQueue)
    _living: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopped: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def drive(self) -> None:
        """Feed one worker after another until no task is left; runs in a thread of the parent."""
        worker: subprocess.Popen[bytes] | None = None
        # Whatever ends this thread is told to the one that waits for results: it would wait for ever.
        failure: FemurError | None = FemurError(
            "a worker process that could not be started or fed", expected="memory and process handles for the workers",
            action="run the same command again with fewer --jobs")
        try:
            while True:
                try:
                    index, task = self.waiting.get_nowait()
                except queue.Empty:
                    failure = None
                    return
                worker = self._start() if worker is None else worker
                if worker is None:
                    failure = None
                    return
                result = _ask(worker, task, self.time_limit_s)
                if isinstance(result, WorkerLoss):
                    self._end(worker)
                    worker = None
                self.finished.put((index, result))
        except FemurError as error:
            failure = error
        finally:
            if failure is not None:
                self.finished.put((-1, failure))
            if worker is not None:
                self._end(worker)

    def stop(self) -> None:
        """End all workers; no further one starts."""
        with self._guard:
            self._stopped = True
            for worker in self._living:
                worker.kill()
        while not self.waiting.empty():
            try:
                self.waiting.get_nowait()
            except queue.Empty:
                break

    def _start(self) -> subprocess.Popen[bytes] | None:
        threads = str(self.threads_of_each)
        with self._guard:
            if self._stopped:
                return None
            worker = subprocess.Popen(
                [sys.executable, "-c", _MAIN.format(path=sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                # What compiled code prints may hold names of files.
                stderr=subprocess.DEVNULL, pass_fds=self.held,
                # An interrupt from the keyboard is for the parent to handle.
                start_new_session=True,
                env={**{name: threads for name in _THREAD_VARIABLES}, **os.environ})
            self._living.add(worker)
        ready = _ask(worker, self.function, START_LIMIT_S)
        if isinstance(ready, WorkerLoss) and not self._stopped:
            self._end(worker)
            raise FemurError(f"a worker process that did not start ({ready.reason})",
                             expected="room and permission for worker processes",
                             action="run femur_doctor, or the same command with fewer --jobs")
        return worker

    def _end(self, worker: subprocess.Popen[bytes]) -> None:
        with self._guard:
            self._living.discard(worker)
        worker.kill()
        worker.wait()
        remove_folders_of(worker.pid)
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was still to be sent to a dead worker
                    continue


def _ask(worker: subprocess.Popen[bytes], message: Any, limit_s: float) -> Any:
    """Send a message and return the answer, or how the worker was lost."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        _send(worker.stdin, message)
        ready, _, _ = select.select([worker.stdout], [], [], limit_s)
        if ready:
            return pickle.load(worker.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        worker.kill() if worker.poll() is None and not _ends_soon(worker) else None
        return _loss(worker.wait())
    return WorkerLoss(f"no end after {limit_s:g} s", timed_out=True)


def _ends_soon(worker: subprocess.Popen[bytes]) -> bool:
    """Wait a moment for the exit status of a process whose pipe has closed."""
    try:
        worker.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return True


def _loss(code: int) -> WorkerLoss:
    if code >= 0:
        return WorkerLoss(f"ended with exit status {code}")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return WorkerLoss(f"died by {name}", by_machine=name not in _OWN_SIGNALS)


def _send(pipe: IO[bytes], message: Any) -> None:
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def serve() -> None:
    """Be a worker: take a function from standard input, then a task at a time, and answer on standard output."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    # Whatever else writes to standard output must not come between the answers.
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    function = pickle.load(inbox)
    _send(outbox, None)
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, tasks), daemon=True).start()
    while True:
        _send(outbox, function(tasks.get()))


def _listen(inbox: IO[bytes], tasks: queue.SimpleQueue[Any]) -> None:
    """Pass tasks on; when the parent is gone, end the process whatever it does."""
    try:
        while True:
            tasks.put(pickle.load(inbox))
    except (EOFError, OSError):
        os._exit(1)
