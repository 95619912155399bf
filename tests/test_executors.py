"""Executors: the same bits whoever computes, in order, quietly, and never more than a bounded number at once."""

import contextlib
import importlib.util
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl
from ensembles import NET, Counting, same_bits

import mfdnn
from mfdnn._support.blas import single_blas_thread
from mfdnn.architectures import mlp
from mfdnn.ensembles import ensemble
from mfdnn.jobs import run, watch
from mfdnn.jobs import threads as jobs_threads
from mfdnn.jobs.streams import Streams
from mfdnn.jobs.threads import Threads


class Recording(Executor):
    """Computes nothing until somebody waits, and counts what it holds."""

    def __init__(self):
        self.batches, self.held, self.most = [], 0, 0

    def submit(self, function, *args):
        future = _Lazy(self, function, args)
        self.batches.append(len(args[-1]))
        self.held += 1
        self.most = max(self.most, self.held)
        return future


class _Lazy(Future):
    """Finished as soon as it can be told."""

    def __init__(self, owner, function, args):
        super().__init__()
        self.compute = lambda: function(*args)
        self.owner = owner

    def add_done_callback(self, callback):
        callback(self)

    def result(self):
        self.owner.held -= 1
        return self.compute()


@contextlib.contextmanager
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@contextlib.contextmanager
def processes():
    # Not forked: a fork of a process with threads is deprecated.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextlib.contextmanager
def loky():
    executor = pytest.importorskip("loky").get_reusable_executor(2)
    yield executor
    executor.shutdown()


@contextlib.contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster) as client:
        yield client.get_executor(pure=False)


@pytest.fixture(scope="module", params=[threads, processes, loky, dask], ids=lambda kind: kind.__name__)
def pool(request):
    with request.param() as executor:
        yield executor


def value(i):
    """A short task."""
    return {"x": np.array(float(i))}


def fails_at_three(i):
    """A short task that may fail."""
    return {"x": np.array(1.0 / (i - 3))}


def blas_threads(i):
    """How many threads a product would take here."""
    pools = threadpoolctl.threadpool_info()
    return {"n": np.array([float(p["num_threads"]) for p in pools if p["user_api"] == "blas"]).max()}


def test_the_same_bits_from_any_executor(pool):
    reference = ensemble(NET, 30, 12, rng=2, executor=Counting())
    assert same_bits(ensemble(NET, 30, 12, rng=2, executor=pool), reference)


def test_results_come_back_in_order_whatever_their_number(pool):
    found = run.run(value, range(300), executor=pool)
    assert [float(r["x"]) for r in found] == list(range(300))
    assert np.array_equal(run.stack(value, range(300), executor=pool)["x"], np.arange(300))


def test_a_sweep_is_the_same_from_any_executor(pool):
    spec = {"inputs": 8, "outputs": 1, "width": [9, 10], "depth": 3, "seed": [0, 1, 2], "n_samples": 6}
    spec |= {"quantities": ["chi_1", "lambda_max", "final_loss"], "learning_rate": [0.1, 1.0], "n_steps": 3}
    one, other = (mfdnn.sweep(spec, executor=executor) for executor in (Counting(), pool))
    for name in one.values:
        assert np.array_equal(one.values[name], other.values[name])


def test_an_error_is_that_of_the_task(pool):
    with pytest.raises(ZeroDivisionError, match="division"):
        run.run(fails_at_three, range(9), executor=pool)


def test_every_worker_has_one_blas_thread(pool):
    """Also where the machine, or the environment, would give it more."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        found = run.stack(blas_threads, range(20), executor=pool)
    assert np.all(found["n"] == 1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_tasks_rate_and_time_left(pool, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ensemble(NET, 5, 6, rng=0, progress=True, executor=pool)
    last = terminal.getvalue().split("\r")[-1]
    assert "6/6" in last and "<00:00" in last
    assert "network/s" in last or "s/network" in last  # whichever is above 1


def test_resumed_work_counts_as_done_in_the_progress_but_not_in_its_rate(tmp_path, monkeypatch):
    ensemble(NET, 5, 4, rng=0, checkpoint=tmp_path / "run")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ensemble(NET, 5, 6, rng=0, checkpoint=tmp_path / "run", progress=True)
    assert "4/6" in terminal.getvalue().split("\r")[1]


def test_progress_is_silent_unless_asked_and_on_a_terminal(capfd):
    ensemble(NET, 5, 2, rng=0, progress=True)
    ensemble(NET, 5, 2, rng=0)
    assert capfd.readouterr() == ("", "")


def test_a_bounded_number_of_tasks_is_in_flight(monkeypatch):
    monkeypatch.setattr(run, "n_cores", lambda: 2)
    monkeypatch.setattr(run, "MANY", 40)
    monkeypatch.setattr(run, "BATCHES", 1)
    monkeypatch.setattr(run, "LARGEST_BATCH", 4)
    executor = Recording()
    tasks = 500
    found = run.stack(value, range(tasks), executor=executor)
    assert np.array_equal(found["x"], np.arange(tasks))
    assert executor.most == 10
    assert max(executor.batches) == 4  # these tasks take microseconds
    assert sum(executor.batches) == tasks


def test_memory_does_not_grow_with_the_number_of_tasks():
    """But for the numbers themselves: with whole results held, each takes half a kilobyte."""

    def peak(n_tasks):
        tracemalloc.start()
        run.stack(value, range(n_tasks), workers=1)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    in_flight = peak(2 * run.LARGEST_BATCH * run.BATCHES)
    assert peak(40_000) < in_flight + 40_000 * (np.dtype(float).itemsize + np.dtype(bool).itemsize) + 2**20


def test_seeds_are_those_of_spawn_and_are_made_one_by_one():
    for n in (1, 5, 2500):
        one, other = (np.random.default_rng([3, 4]).bit_generator.seed_seq for _ in range(2))
        one.spawn(2), other.spawn(2)  # used before
        seeds, expected = Streams(one, n), other.spawn(n)
        assert len(seeds) == n
        for i in {0, n // 2, n - 1}:
            assert np.array_equal(seeds[i].generate_state(4), expected[i].generate_state(4))
            assert seeds[i].spawn_key == expected[i].spawn_key
        assert one.n_children_spawned == other.n_children_spawned == n + 2
        with pytest.raises(IndexError):
            seeds[n]


def test_long_tasks_are_sent_one_by_one(monkeypatch):
    monkeypatch.setattr(run, "BATCH_SECONDS", 0.0)  # any task is long beside that
    executor = Recording()
    run.run(value, range(50), executor=executor)
    assert executor.batches == [1] * 50


def test_the_same_bits_for_any_number_of_blas_threads():
    net = mlp([200, 200, 4], "tanh", 1.5, 0.1)  # large enough for BLAS to use its threads
    results = []
    for n in (1, 2):
        with threadpoolctl.threadpool_limits(n, user_api="blas"):
            results.append(ensemble(net, 100, 2, rng=2))
    assert same_bits(*results)


def test_blas_stays_limited_until_the_last_has_left():
    """A first thread that leaves must not give the second its threads back."""
    entered, leave = threading.Event(), threading.Event()

    def first():
        with single_blas_thread():
            entered.set()
            leave.wait()

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads(0)["n"]
        other = threading.Thread(target=first)
        other.start()
        entered.wait()
        with single_blas_thread():
            leave.set()
            other.join()
            assert blas_threads(0)["n"] == 1
        assert blas_threads(0)["n"] == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_without_a_limit():
    """Its parent's threads, one of which may hold the lock, are not there to leave."""
    script = (
        "import os, sys\n"
        "from mfdnn._support.blas import _shared, single_blas_thread\n"
        "with single_blas_thread(), _shared.lock:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        with single_blas_thread():\n"
        "            os._exit(10 + _shared.users)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], timeout=60).returncode == 11


def test_a_dask_client_is_not_its_executor():
    class Client:
        map = submit = get_executor = None

    with pytest.raises(TypeError, match=r"pass client\.get_executor\(\)"):
        ensemble(NET, 5, 2, rng=0, executor=Client())


def test_lost_workers_are_named():
    class Lost(Recording):
        def submit(self, *args):
            future = Future()
            future.cancel()
            return future

    with pytest.raises(RuntimeError, match="its workers, or the connection to them, are gone"):
        run.run(value, range(3), executor=Lost())


def test_the_same_bits_from_mpi4py(tmp_path):
    if importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None:
        pytest.skip("no MPI here")
    script = tmp_path / "script.py"
    script.write_text(
        "import mfdnn, numpy\n"
        "from mpi4py.futures import MPIPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "    net = mfdnn.mlp([20, 25, 30, 2], 'tanh', 1.5, 0.1)\n"
        "    with MPIPoolExecutor() as pool:\n"
        "        ens = mfdnn.ensemble(net, 30, 12, rng=2, executor=pool)\n"
        "    numpy.save('lambda_max.npy', ens.values['lambda_max'])\n"
    )
    command = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", str(script)]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    reference = ensemble(NET, 30, 12, rng=2)
    assert np.array_equal(np.load(tmp_path / "lambda_max.npy"), reference.values["lambda_max"])


# -- what is long ------------------------------------------------------------------------------------------


def endless(task, begun, ended):
    """Task 0 trains for ever; task 1 fails once that has begun."""
    if task == 1:
        begun.wait(60)
        raise ValueError("of task 1")
    one, X = mfdnn.sample(mfdnn.mlp([3, 4, 1], "relu"), rng=0), np.ones((5, 3))
    begun.set()
    try:
        mfdnn.train(one, X, np.zeros((5, 1)), 1e-9, 10**8)
    finally:
        ended.set()


@pytest.mark.parametrize("own", [False, True], ids=["threads of the run", "threads of one's own"])
def test_training_ends_when_its_run_does(own):
    """As after Ctrl-C, which reaches the main thread alone: an error, too, leaves nobody who waits."""
    begun, ended = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) if own else contextlib.nullcontext() as executor:
        with pytest.raises(ValueError, match="of task 1"):
            run.run(lambda task: endless(task, begun, ended), [0, 1], executor=executor, workers=2)
        assert ended.wait(60)


def test_nobody_waits_for_threads_after_an_error(monkeypatch):
    monkeypatch.setattr(jobs_threads, "PATIENCE", 0.01)
    free = threading.Event()
    with pytest.raises(KeyboardInterrupt), Threads(2) as pool:
        busy = [pool.submit(free.wait) for _ in range(2)]  # as a call of LAPACK, they hear of nothing
        waiting = pool.submit(int)
        raise KeyboardInterrupt
    assert waiting.cancelled()
    free.set()
    assert [future.result(60) for future in busy] == [True, True]


def test_threads_are_waited_for_without_an_error():
    with Threads(2) as pool:
        futures = [pool.submit(pow, 2, i) for i in range(10)]
        assert list(pool.map(abs, range(-3, 0))) == [3, 2, 1]
    assert [future.result(0) for future in futures] == [2**i for i in range(10)]
    pool = Threads()
    failed = pool.submit(int, "x")
    pool.shutdown()
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(0)


LONG_CALLS = {
    "a task": "from mfdnn.jobs.run import run; run(long, [0])",
    "aside": "from mfdnn.jobs.threads import aside; aside(long, 0)",
    "a row of a table": "from mfdnn.jobs.threads import Threads\nwith Threads() as pool: list(pool.map(long, [0, 1]))",
}


@pytest.mark.parametrize("what", LONG_CALLS)
def test_ctrl_c_ends_a_process_whose_threads_hear_nothing(what):
    """Sleep stands for a call of LAPACK; that the process ends at all is what is tested."""
    script = f"""
import signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
def long(task):
    print("begun", flush=True)
    threading.Event().wait(1000)
{LONG_CALLS[what]}
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"begun\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert err.endswith(b"KeyboardInterrupt\n")


def test_what_stops_is_the_task_of_a_run_that_is_over():
    over = threading.Event()
    with watch.in_task(over):
        assert watch.stop_if_asked() is None
        over.set()
        with pytest.raises(watch.Stopped):
            watch.stop_if_asked()
    # Outside a run, and in a task of another one, nothing stops.
    assert watch.stop_if_asked() is None
    with watch.in_task():
        assert watch.stop_if_asked() is None


def test_what_takes_long_says_so_once_and_not_in_a_run(monkeypatch):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        monkeypatch.setattr(watch, "LONG", 0.0)
        with watch.told_if_long(lambda: "this takes long"):
            while not said:
                time.sleep(0.001)
            time.sleep(0.01)
        with watch.in_task(), watch.told_if_long(lambda: "this takes long"):
            time.sleep(0.01)
        monkeypatch.setattr(watch, "LONG", 1000.0)
        with watch.told_if_long(lambda: "this does not"):
            pass
    assert [str(one.message) for one in said] == ["this takes long (Ctrl-C stops it)"]
    assert said[0].category is RuntimeWarning


def test_a_bar_nobody_asked_for_comes_when_a_run_is_long(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    ensemble(NET, 5, 3, rng=0)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(run, "LONG", 1e-9)
    ensemble(NET, 5, 3, rng=0)
    assert "3/3" in terminal.getvalue()


def test_a_timer_keeps_nothing_of_what_it_would_tell():
    """Its thread may end with the process, and must not be the last to hold arrays or tensors."""

    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    with watch.told_if_long(lambda held=held: f"{held} takes long"):
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    del held
    assert timers and gone() is None
