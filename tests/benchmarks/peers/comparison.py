"""Ours and the peers in turns: each checked to learn the same, then timed."""

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bioplausible.commands.benchmark.recipe_files import batch_size_of, recipe_rule
from tests.benchmarks.peers.agreement import Agreement
from tests.benchmarks.peers.ours import CONFIGS, NAMES
from tests.benchmarks.peers.problem import Arrays, Problem
from tests.benchmarks.peers.process import NotRunError, Process, cores, python_of

CODES = {
    "predictive_coding": ("ours", "ours_compiled", "ours_fit", "pcx", "ngclearn", "fabricpc"),
    "feedback_alignment": ("ours", "ours_fit", "biotorch"),
    "backpropagation": ("ours", "ours_fit", "plain_torch"),
}
"""By recipe the scripts of this folder that learn so; first ours, which the others are compared with."""


def problem_of(recipe: str, batches: int = 50) -> Problem:
    """Returns a recipe's network with the rule's first weights, and random images in Fashion-MNIST's shape."""
    torch.manual_seed(0)
    file = CONFIGS / f"{recipe}.yaml"
    rule, n = recipe_rule(file), batch_size_of(file)
    options, state, (d0, _, d2) = rule.hparams, rule.state_dict(), rule.network.sizes
    # what the scripts have written out
    assert options.activation_function == ("sigmoid" if "inference_steps" in options else "relu")
    assert options.get("step_size_rule", "constant") == "constant"
    return Problem(
        weights={name: state[key].numpy() for name, key in NAMES.items() if key in state},
        images=torch.rand(batches, n, d0).numpy(),
        targets=rule.one_hot(torch.randint(d2, (batches, n)), torch.float32).numpy(),
        recipe=recipe,
        rate=rule.optimizer(rule.parameter_groups()).param_groups[0]["lr"],
        iterations=options.get("inference_steps", 0),
        step_size=options.get("step_size", 0.0),
        target_range=tuple(options.get("target_range", (0.0, 1.0))),
    )


@dataclass
class Row:
    """What was found of a code.

    Attributes:
        code: its script.
        versions: of its packages.
        agreement: with ours; None of ours.
        reason: why it has no times, if so.
        times: by number of cores, of each round the milliseconds of a batch, and those of all cores together.
    """

    code: str
    versions: dict[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None
    reason: str = ""
    times: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def median(self, count: int, which: int, of: "Row | None" = None) -> float:
        """Returns the median over rounds of one of the two times, or of its ratio to another's in the same round."""
        times = [time[which] for time in self.times[count]]
        if of is not None:
            times = [a / b[which] for a, b in zip(times, of.times[count], strict=True)]
        return statistics.median(times)


def compare(
    recipe: str, environments: Path, folder: Path, counts: Sequence[int], rounds: int, batches: int
) -> list[Row]:
    """Returns what is found of each code that learns as a recipe does.

    Args:
        recipe: a key of :data:`CODES`.
        environments: folder of the peers' environments, each by its script's name.
        folder: for files.
        counts: numbers of cores.
        rounds: how often each code takes its turn.
        batches: how many it then learns.
    """
    file = folder / f"{recipe}.npz"
    problem_of(recipe).save(file)
    rows = [Row(code) for code in CODES[recipe]]
    ours: Arrays = {}
    for count in counts:
        with cores(count), ExitStack() as running:
            processes: list[tuple[Row, Process]] = []
            for row in rows:
                if row.reason:
                    continue
                try:
                    process = Process(python_of(row.code, environments), row.code, file, folder)
                    running.callback(process.close)
                    learned, row.versions = process.learned(), process.versions
                    if row.code == "ours":
                        assert learned is not None
                        ours = learned
                    elif learned is not None:
                        row.agreement = Agreement.of(ours, learned)
                    process.time(batches)  # the first ones are slower
                    processes.append((row, process))
                except (NotRunError, ValueError) as reason:
                    row.reason = str(reason)
            for turn in range(rounds):
                print(f"{recipe}, {count} of the cores, turn {turn + 1} of {rounds}", file=sys.stderr, flush=True)
                first = turn % len(rows)
                for row, process in processes[first:] + processes[:first]:
                    if not row.reason:
                        try:
                            row.times.setdefault(count, []).append(process.time(batches))
                        except NotRunError as reason:
                            row.reason = str(reason)
    return rows
