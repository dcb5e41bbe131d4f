"""What a training batch of each rule costs, a line a recipe."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pytorch_lightning import seed_everything

from bioplausible.commands.benchmark.cost import cost, timed
from bioplausible.commands.benchmark.recipe_files import batch_size_of, recipe_rule
from bioplausible.commands.benchmark.whole_training import training


def print_machine() -> None:
    """Prints how fast this machine computes one product."""
    a, b, out = torch.rand(20, 500), torch.rand(500, 500), torch.empty(20, 500)
    unit = min(timed(lambda: torch.mm(a, b, out=out), 100, torch.device("cpu")) for _ in range(9))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; a 20 x 500 x 500 product: {unit:.3f} ms\n")


def print_costs(files: Sequence[Path], batches: int) -> None:
    """Prints what a training batch of each recipe costs.

    Args:
        files: the recipes.
        batches: batches of whole training a recipe; 0 leaves it out.
    """
    print(f"{'recipe':48} {'MFLOP':>7} {'GFLOP/s':>8} {'step ms':>8} {'of it':>6} {'MB':>6}", end="")
    print(f" {'fit ms':>8} {'framework ms':>13}" if batches else "")
    for file in files:
        seed_everything(0, verbose=False)
        bare = cost(recipe_rule(file), batch_size_of(file))
        line = (
            f"{f'{file.parent.name}/{file.stem}':48} {bare.operations / 1e6:7.1f}"
            f" {bare.operations / bare.products / 1e6:8.1f} {bare.step:8.2f} {bare.products / bare.step:6.0%}"
            f" {bare.memory / 1e6:6.2f}"
        )
        if batches:
            whole = training(file, batches)
            line += f" {whole:8.2f} {whole - bare.step:13.2f}"
        print(line, flush=True)
