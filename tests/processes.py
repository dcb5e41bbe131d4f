"""Runs the command line in processes of its own, so that it can be killed for real."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from pathlib import Path

# the server imports this checkout's package, whatever folder a test is in and whatever checkout is installed
_ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
# forked from a process that has imported everything but run nothing: a run starts in a fraction of a second
CONTEXT = multiprocessing.get_context("forkserver")
LONGEST = 300
"""Seconds that a run of a test takes at most."""
CONTEXT.set_forkserver_preload(
    [f"bioplausible.commands.{name}" for name in ("command_line", "verify")] + ["sklearn.datasets"]
)


def _main(args: list[str], folder: str, environment: dict[str, str], number: int, **moment: float | None) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    multiprocessing.set_start_method("fork", force=True)  # for the loader's workers, as at the command line
    import torch

    from bioplausible.__main__ import main

    torch.set_num_threads(1)
    _kill(number, **moment)
    os._exit(main(args))


def _kill(
    number: int, before_step: int | None = None, after_seconds: float | None = None, after_bytes: int | None = None
) -> None:
    """Lets this process send itself a signal when the moment comes."""
    from bioplausible.resume import checkpoint_files
    from bioplausible.rules import LearningRule

    def kill():
        os.kill(os.getpid(), number)

    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == before_step:
            kill()

    def on_train_start(self):
        if after_seconds is not None:
            clock = threading.Timer(after_seconds, kill)
            clock.daemon = True
            clock.start()

    def write(self, data, plain=checkpoint_files._Hashed.write):
        nonlocal after_bytes
        if after_bytes is not None and len(data) > after_bytes:
            plain(self, bytes(data)[:after_bytes])
            self.flush()
            kill()
        after_bytes = None if after_bytes is None else after_bytes - len(data)
        return plain(self, data)

    LearningRule.on_train_batch_start = on_train_batch_start
    LearningRule.on_train_start = on_train_start
    checkpoint_files._Hashed.write = write


def command_line(
    args: list[str],
    folder,
    number: int = signal.SIGKILL,
    kill_before_step: int | None = None,
    kill_after_seconds: float | None = None,
    kill_after_bytes: int | None = None,
) -> int:
    """Runs ``python -m bioplausible args`` in a folder and returns its exit status (−9: killed).

    Args:
        args: the command and its options.
        folder: where to run.
        number: the signal to send …
        kill_before_step: … before this training step, …
        kill_after_seconds: … this long after training started, …
        kill_after_bytes: … or when this many bytes of checkpoints were written.
    """
    moment = {"before_step": kill_before_step, "after_seconds": kill_after_seconds, "after_bytes": kill_after_bytes}
    process = CONTEXT.Process(target=_main, args=(args, str(folder), {}, number), kwargs=moment)
    process.start()
    return _status(process)


def free_port() -> str:
    """Returns the number of a free port, from where the system gives none to others: another one a test process."""
    for port in range(20_000 + os.getpid() % 8_000, 32_000):
        with socket.socket() as candidate:
            try:
                candidate.bind(("localhost", port))
            except OSError:
                continue
            return str(port)
    raise OSError("no port is free")


def command_line_together(
    args: list[str], folder, processes: int = 2, signal_before_step: int | None = None, to: int = 1
) -> list[int]:
    """Runs ``fit`` in several processes that train together, and returns their exit statuses.

    Args:
        args: as at the command line.
        folder: where to run.
        processes: how many.
        signal_before_step: step before which SIGTERM is sent …
        to: … to this process.
    """
    port = free_port()
    args = [*args, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--trainer.devices", str(processes)]
    started = []
    for rank in range(processes):
        environment = {"LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        moment = {"before_step": signal_before_step if rank == to else None}
        started.append(
            CONTEXT.Process(target=_main, args=(args, str(folder), environment, signal.SIGTERM), kwargs=moment)
        )
        started[-1].start()
    return [_status(process) for process in started]


def _status(process) -> int:
    """Returns a process's exit status; one that hangs is killed."""
    process.join(LONGEST)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode
