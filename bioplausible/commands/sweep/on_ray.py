"""Trials several at once, on Ray Tune."""

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from heapq import heapify, heapreplace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from bioplausible.commands.sweep.running import run_trial
from bioplausible.commands.sweep.trials import Trial
from bioplausible.errors import UserError


@contextlib.contextmanager
def on_ray(cpus: int, address: str | None, out: Path) -> Iterator[None]:
    """Starts Ray, or joins a cluster, and leaves nothing of Ray's behind.

    Args:
        cpus: cores to use.
        address: of a cluster; None: this machine.
        out: folder of the whole sweep.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise UserError("sweep needs Ray Tune: pip install 'bioplausible[sweep]'.") from error
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's would end as if all trials had come to their end
    os.environ.setdefault("RAY_worker_niceness", "0")  # training is all that there is to do
    here = None if address else cpus
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.CRITICAL}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, num_cpus=here, **quiet)
    except ConnectionError as error:
        raise UserError(
            f"No Ray cluster answers at {address}: start one with `ray start --head` and the same RAY_AUTH_MODE."
        ) from error
    for number, handler in handlers.items():  # Ray's own would end with status 1 and say nothing
        signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()
        with contextlib.suppress(OSError):
            shutil.rmtree(_storage(out))


def run_config(out: Path, callback: Any) -> Any:
    """Returns how Tune runs: quietly, with a callback that says what a user wants to know."""
    from ray import tune

    return tune.RunConfig(
        name="tune",
        storage_path=str(_storage(out)),
        verbose=0,
        callbacks=[callback],
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials write their own
    )


def why(error: BaseException) -> str:
    """Returns in short why Tune lost a trial: of its worker's death Ray makes half a page."""
    from ray.exceptions import OutOfMemoryError, RayActorError

    if isinstance(error, (RayActorError, OutOfMemoryError)):
        return "killed with Ray's worker"
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


class Countdown:
    """Says how many of some trials have ended, and about how long the others take.

    Args:
        trials: how many there are.
    """

    def __init__(self, trials: int) -> None:
        self._trials, self._at_once = trials, 0
        self._began: dict[str, float] = {}
        self._took: list[float] = []
        self._ended: set[str] = set()

    def begin(self, trial: str) -> None:
        """Notes that a trial, by its id, has begun; one that has ended and is begun again counts as ended."""
        if trial not in self._ended:
            self._began[trial] = time.monotonic()
            self._at_once = max(self._at_once, len(self._began))

    def tell(self, trial: str, name: str, outcome: str | None) -> None:
        """Prints a line for a trial that has ended, once: a sweep takes hours.

        Args:
            trial: its id.
            name: its name.
            outcome: what it came to; None: it failed, and how long the others take can't be told from it.
        """
        if trial in self._ended:
            return
        self._ended.add(trial)
        began, now = self._began.pop(trial, None), time.monotonic()
        if began is not None and outcome is not None:
            self._took.append(now - began)
        count = f"{len(self._ended)} of {self._trials}"
        if self._took and len(self._ended) < self._trials:
            count += f", about {timedelta(seconds=round(self._left(now)))} left"
        print(f"{name}: {outcome or 'failed'} ({count})", flush=True)

    def _left(self, now: float) -> float:
        """Returns the seconds until all have ended, if each takes as long as the mean of those that have.

        What has outlasted that by a time is taken to go on for as long again: a search stops most candidates early.
        """
        usual = fmean(self._took)
        ends = [abs(began + usual - now) for began in self._began.values()]
        ends += [0.0] * (self._at_once - len(ends))  # free places
        heapify(ends)
        for _ in range(self._trials - len(self._ended) - len(self._began)):
            heapreplace(ends, ends[0] + usual)  # what waits goes on the place that is free first
        return max(ends)


def train(waiting: Sequence[Trial], cpus: int, address: str | None, out: Path) -> dict[str, str]:
    """Trains trials and returns the reasons of those that failed, by name.

    Args:
        waiting: the trials, at least one.
        cpus: cores to use.
        address: of a cluster; None: this machine.
        out: folder of the whole sweep.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    with on_ray(cpus, address, out):
        from ray import tune

        class Announce(tune.Callback):
            """Tells of each trial that ends."""

            def __init__(self) -> None:
                self.countdown = Countdown(len(waiting))

            def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
                self.countdown.begin(trial.trial_id)

            def on_trial_result(
                self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
            ) -> None:
                outcome = None if "failure" in result else f"{result['accuracy']:.2%}"
                self.countdown.tell(trial.trial_id, trial.config["trial"]["name"], outcome)

            def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
                self.countdown.tell(trial.trial_id, trial.config["trial"]["name"], None)

        def trainable(config: dict[str, Any]) -> None:
            try:
                tune.report({"accuracy": run_trial(Trial(**config["trial"]))})
            except (RuntimeError, UserError, OSError) as error:  # told to Ray it would be printed with its whole stack
                tune.report({"failure": str(error)})

        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": waiting[0].threads}),
            param_space={"trial": tune.grid_search([asdict(trial) for trial in waiting])},
            run_config=run_config(out, Announce()),
        ).fit()
    failures: dict[str, str] = {}
    for trial, result in zip(waiting, cast(Any, results), strict=True):
        if result.error is not None:
            failures[trial.name] = why(result.error)
        elif "failure" in result.metrics:
            failures[trial.name] = result.metrics["failure"]
    return failures


def _storage(out: Path) -> Path:
    return out / ".ray"
