"""Times every rule's step on a GPU, launched kernel by kernel and as one CUDA graph, beside backpropagation's.

    python tests/benchmarks/gpu.py > gpu.md

Each step is the rule's own, of the recipe in configs/fashion_mnist, on random images, with plain SGD; times are medians
of events on the device, in milliseconds.
"""

import copy
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml

import bioplausible
from bioplausible.rules import LearningRule

CONFIGS = Path(__file__).parents[2] / "configs/fashion_mnist"
DENSE = ["backpropagation", "feedback_alignment", "equilibrium_propagation", "contrastive_similarity_matching"]
DENSE += ["predictive_coding", "nudged_predictive_coding", "corinfomax", "corinfomax_sparse"]
BATCHES = (20, 128, 1024)
ROUNDS, STEPS = 7, 20


def rule_of(recipe: Path) -> LearningRule:
    """Returns a recipe's rule, with a fixed sign of β: a graph repeats what it was captured with."""
    model = yaml.safe_load(recipe.read_text())["model"]
    options = model["init_args"]
    for name in ("optimizer", "lr_scheduler", "lr_scheduler_interval"):
        options.pop(name, None)
    if "random_beta_sign" in options:
        options["random_beta_sign"] = False
    return getattr(bioplausible, model["class_path"])(**copy.deepcopy(options))


def median_ms(work) -> float:
    """Returns the milliseconds of one call, the median over rounds of the mean over steps."""
    times = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(STEPS):
            work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / STEPS)
    return statistics.median(times)


def step_times(recipe: Path, n: int) -> tuple[float, float]:
    """Returns the times of a step launched kernel by kernel, and of the same step as a CUDA graph."""
    torch.manual_seed(0)
    rule = rule_of(recipe).cuda()
    x = torch.rand(n, *rule.network.shapes[0], device="cuda")
    target = rule.one_hot(torch.randint(10, (n,), device="cuda"), x.dtype)
    groups = [{**group, "lr": 1e-6} for group in rule.parameter_groups()]
    optimizer = torch.optim.SGD(groups, lr=1e-6)

    def step() -> None:
        rule.learn(x, target, optimizer)

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    eager = median_ms(step)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return eager, median_ms(graph.replay)


def first_error(error: BaseException) -> str:
    """Returns the first line of what came first: a capture that fails ends with an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0]


def tried(recipe: Path, n: int) -> tuple[float, float] | str:
    """Returns a step's times, or why there are none."""
    try:
        return step_times(recipe, n)
    except Exception as error:  # the others' times are worth having
        return first_error(error)


def processes() -> ProcessPoolExecutor:
    """Returns one process that works: a failed capture leaves CUDA unusable, so another one follows it."""
    return ProcessPoolExecutor(1, get_context("spawn"))


def main() -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| recipe | batch | kernel by kernel, ms | CUDA graph, ms | × backpropagation | as graphs |")
    print("| --- | --- | --- | --- | --- | --- |")
    worker = processes()
    for kind, recipes in (
        ("dense", [CONFIGS / f"{name}.yaml" for name in DENSE]),
        ("convolutional", sorted(CONFIGS.glob("*_conv.yaml"), key=lambda p: (p.stem != "backpropagation_conv", p))),
    ):
        for n in BATCHES:
            base = None
            for recipe in recipes:
                found = worker.submit(tried, recipe, n).result()
                if isinstance(found, str):
                    print(f"{recipe.stem} ({kind}), batch {n}: {found}", file=sys.stderr, flush=True)
                    worker.shutdown()
                    worker = processes()
                    continue
                eager, graph = found
                if recipe is recipes[0]:
                    base = found
                ratios = "– | –" if base is None else f"{eager / base[0]:.1f} | {graph / base[1]:.1f}"
                print(f"| {recipe.stem} | {n} | {eager:.2f} | {graph:.3f} | {ratios} |", flush=True)
    worker.shutdown()


if __name__ == "__main__":
    main()
