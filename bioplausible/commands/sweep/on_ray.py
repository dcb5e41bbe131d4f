"""Trials several at once, on Ray Tune."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from bioplausible.commands.sweep.running import run_trial
from bioplausible.commands.sweep.trials import Trial
from bioplausible.errors import UserError


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
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise UserError("sweep needs Ray Tune: pip install 'bioplausible[sweep]'.") from error

    class Announce(tune.Callback):
        """Prints a line for each trial that ends: a sweep takes hours."""

        def __init__(self) -> None:
            self.ended, self.start = 0, time.monotonic()

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            self.ended += 1
            seconds = (time.monotonic() - self.start) / self.ended * (len(waiting) - self.ended)
            outcome = "failed" if "failure" in result else f"{result['accuracy']:.2%}"
            left = f", about {timedelta(seconds=round(seconds))} left" if self.ended < len(waiting) else ""
            print(f"{trial.config['trial']['name']}: {outcome} ({self.ended} of {len(waiting)}{left})", flush=True)

    def trainable(config: dict[str, Any]) -> None:
        try:
            tune.report({"accuracy": run_trial(Trial(**config["trial"]))})
        except RuntimeError as error:  # told to Ray it would be printed with its whole stack
            tune.report({"failure": str(error)})

    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's would end as if all trials had come to their end
    os.environ.setdefault("RAY_worker_niceness", "0")  # training is all that there is to do
    here = None if address else cpus
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        ray.init(address=address, num_cpus=here, **quiet)
    except ConnectionError as error:
        raise UserError(
            f"No Ray cluster answers at {address}: start one with `ray start --head` and the same RAY_AUTH_MODE."
        ) from error
    try:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": waiting[0].threads}),
            param_space={"trial": tune.grid_search([asdict(trial) for trial in waiting])},
            run_config=tune.RunConfig(name="tune", storage_path=str(out / ".ray"), verbose=0, callbacks=[Announce()]),
        ).fit()
    finally:
        ray.shutdown()
        with contextlib.suppress(OSError):
            shutil.rmtree(out / ".ray")
    failures: dict[str, str] = {}
    for trial, result in zip(waiting, cast(Any, results), strict=True):
        if result.error is not None:
            failures[trial.name] = str(result.error).strip().splitlines()[-1]
        elif "failure" in result.metrics:
            failures[trial.name] = result.metrics["failure"]
    return failures
