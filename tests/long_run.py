"""Trains rules for many batches on digits, as the command line does, and prints whether anything grew.

    python -m tests.long_run                               # every rule, 200,000 batches each: hours
    python -m tests.long_run corinfomax --batches 20000 --model.init_args.regularize_lateral true

Each rule has a process of its own; further options are those of ``fit``. Memory is the resident memory, in brackets
what of it no file backs; time is the process's own (CPU) time a batch. The last tenth of the run is compared with the
second one.
"""

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback

from bioplausible.commands.command_line import run
from bioplausible.commands.quiet import quiet
from bioplausible.commands.recipes import recipes
from bioplausible.network import InverseCorrelation


class Watch(Callback):
    """Reads memory, clock and B's spectrum a hundred times, at ends of epochs."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.readings: list[tuple[int, float, float, float]] = []
        self.spectra: list[str] = []

    def read(self, trainer, rule) -> None:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        resident, anonymous = (int(status[name].removesuffix("kB")) / 1024 for name in ("VmRSS", "RssAnon"))
        self.readings.append((trainer.global_step, time.process_time(), resident, anonymous))

    def spectrum(self, trainer, rule) -> None:
        ends = [
            torch.linalg.eigvalsh(module.weight.double())[[0, -1]].tolist()
            for module in rule.modules()
            if isinstance(module, InverseCorrelation)
        ]
        if ends:
            self.spectra.append(f"{trainer.global_step}: " + ", ".join(f"{a:.3g} … {b:.3g}" for a, b in ends))

    def on_train_start(self, trainer, rule) -> None:
        self.read(trainer, rule)
        self.spectrum(trainer, rule)

    def on_train_epoch_end(self, trainer, rule) -> None:
        if trainer.global_step >= len(self.readings) * self.batches / 100:
            self.read(trainer, rule)
            if len(self.readings) % 25 == 0:
                self.spectrum(trainer, rule)

    def on_train_end(self, trainer, rule) -> None:
        self.read(trainer, rule)
        self.spectrum(trainer, rule)
        self.accuracy = float(trainer.callback_metrics["val/accuracy"])
        self.weights = torch.cat([t.flatten().double() for t in (*rule.parameters(), *rule.buffers())])

    def tenth(self, number: int) -> tuple[float, float, float]:
        """Returns milliseconds a batch, and mean resident and anonymous memory in MiB, of a tenth counted from 1."""
        inside = [r for r in self.readings if (number - 1) / 10 <= r[0] / self.batches <= number / 10]
        milliseconds = 1000 * (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])
        resident, anonymous = (sum(r[i] for r in inside) / len(inside) for i in (2, 3))
        return milliseconds, resident, anonymous


def long_run(recipe: str, batches: int, options: list[str]) -> None:
    torch.set_num_threads(1)
    quiet()
    watch = Watch(batches)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        os.chdir(folder)
        steps = ["--trainer.max_epochs", "-1", "--trainer.max_steps", str(batches)]
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            run(["fit", "--config", recipe, *steps, *options], [watch])
        os.chdir("/")
    (before, resident_before, own_before), (after, resident, own) = watch.tenth(2), watch.tenth(10)
    print(
        f"{Path(recipe).stem}: {watch.readings[-1][0]} batches",
        f"memory {resident_before:.1f} → {resident:.1f} MiB ({resident / resident_before - 1:+.2%})"
        f" [{own_before:.1f} → {own:.1f}]",
        f"a batch {before:.2f} → {after:.2f} ms (× {after / before:.2f})",
        f"weights {'finite' if watch.weights.isfinite().all() else 'NOT FINITE'}"
        f", up to {watch.weights.abs().max():.3g}; validation accuracy {watch.accuracy:.2%}",
        *(f"B at {spectrum}" for spectrum in watch.spectra),
        sep="\n    ",
        flush=True,
    )
    if "LONG_RUN_READINGS" in os.environ:
        for reading in watch.readings:
            print("    ", *reading, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {path.stem: path for path in sorted((recipes() / "digits").glob("*.yaml"))}
    parser.add_argument("rules", nargs="*", choices=[[], *known], default=[], metavar="rule", help=", ".join(known))
    parser.add_argument("--batches", type=int, default=200_000)
    arguments, options = parser.parse_known_args()
    for name in arguments.rules or known:
        process = multiprocessing.get_context("spawn").Process(
            target=long_run, args=(str(known[name].resolve()), arguments.batches, options)
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
