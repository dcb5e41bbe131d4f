"""Runs the command line in processes of its own, so that it can be killed for real."""

import multiprocessing
import os
import signal
import socket
import sys

# forked from a process that has imported everything but run nothing: a run starts in a fraction of a second
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["bioplausible.cli", "bioplausible.verify", "sklearn.datasets"])


def _main(args: list[str], folder: str, kill_before_step: int | None, number: int, together: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(together)
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    multiprocessing.set_start_method("fork", force=True)  # for the loader's workers, as at the command line
    import torch

    from bioplausible.__main__ import main
    from bioplausible.rules import LearningRule

    torch.set_num_threads(1)
    if kill_before_step is not None:

        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == kill_before_step:
                os.kill(os.getpid(), number)

        LearningRule.on_train_batch_start = on_train_batch_start
    os._exit(main(args))


def command_line(args: list[str], folder, kill_before_step: int | None = None, number: int = signal.SIGKILL) -> int:
    """Runs ``python -m bioplausible args`` in a folder and returns its exit status (−9: killed)."""
    process = CONTEXT.Process(target=_main, args=(args, str(folder), kill_before_step, number, {}))
    process.start()
    process.join()
    return process.exitcode


def free_port() -> str:
    """Returns the number of a free port."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


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
        together = {"LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        step = signal_before_step if rank == to else None
        started.append(CONTEXT.Process(target=_main, args=(args, str(folder), step, signal.SIGTERM, together)))
        started[-1].start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]
