"""``python -m bioplausible benchmark``: what a training batch costs, against what the machine can do."""

import contextlib
import inspect
import io
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from jsonargparse import ArgumentParser
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import bioplausible.data
from bioplausible.commands.arguments import CommandArguments, recipe_named
from bioplausible.commands.command_line import run as run_command_line
from bioplausible.commands.recipes import recipe_of
from bioplausible.data import ImageDataModule
from bioplausible.errors import UserError
from bioplausible.lightning_internals import TorchDispatchMode, memory_changes
from bioplausible.rules import RULES, LearningRule

LEAST = 71
"""Batches of whole training without which there is no window to time: warm-up, a window, and one to end it."""

COUNTED = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")
"""torch's operators that are matrix products and convolutions; ``addmm_`` and the like are the same ones in place."""


class RandomImages(ImageDataModule):
    """Random images and classes in the shape of a data set, so that a benchmark needs no files.

    Args:
        shape: (channels, height, width).
        classes: number of classes.
        size: number of images.
        options: those of :class:`bioplausible.data.ImageDataModule`.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int = 10, size: int = 6000, **options: Any) -> None:
        self.image_shape, self.num_classes, self.size = shape, classes, size  # type: ignore[misc]  # of this instance
        super().__init__(**options)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns uniform random images and classes."""
        draws = torch.Generator().manual_seed(0)
        return torch.rand(self.size, *self.image_shape, generator=draws), torch.randint(
            self.num_classes, (self.size,), generator=draws
        )


@dataclass(frozen=True)
class Stored:
    """A tensor but for its values.

    Attributes:
        shape: its shape.
        stride: where its entries lie.
        dtype: their type.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self, device: torch.device) -> Tensor:
        """Returns a tensor that is stored so, of random numbers."""
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        return torch.rand(last + 1, device=device).to(self.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Product:
    """A matrix product or a convolution, its adjoint or its correlation, but for the numbers in it.

    Attributes:
        operator: torch's.
        arguments: its arguments, a :class:`Stored` in the place of each tensor and 1 in that of each factor.
        options: those that it takes by name, likewise.
    """

    operator: Any
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, operator: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> "Product":
        """Returns the product of a call."""
        return cls(operator, _described(arguments), tuple((name, _described(v)) for name, v in options.items()))

    def work(self, device: torch.device) -> Callable[[], Any]:
        """Returns the work of it, on tensors of the same shapes that are stored alike."""
        arguments, options = _built(self.arguments, device), {name: _built(v, device) for name, v in self.options}
        return lambda: self.operator(*arguments, **options)

    @property
    def operations(self) -> int:
        """Its floating-point operations: a multiplication and an addition each, by the zeros around an image too."""
        counted = getattr(torch.ops.aten, _name(self.operator))
        meta = torch.device("meta")
        with FlopCounterMode(display=False) as counter:
            counted(*_built(self.arguments, meta), **{n: _built(v, meta) for n, v in self.options if n != "out"})
        return int(counter.get_total_flops())


def _name(operator: Any) -> str:
    """Returns an operator's name, that of ``addmm`` for ``addmm_`` too."""
    return str(operator.overloadpacket.__name__).removesuffix("_")


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Stored(tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(map(_described, value))
    return 1.0 if isinstance(value, float) else value  # a step size, say: it takes no time of its own


def _built(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_built(entry, device) for entry in value)
    return value.tensor(device) if isinstance(value, Stored) else value


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the matrix products and convolutions that are computed under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _name(function) in COUNTED:
            self.counts[Product.of(function, args, kwargs or {})] += 1
        return function(*args, **(kwargs or {}))

    @property
    def operations(self) -> int:
        """Floating-point operations of all of them."""
        return sum(product.operations * count for product, count in self.counts.items())


@dataclass(frozen=True)
class Cost:
    """What one training batch of a rule costs.

    Attributes:
        operations: floating-point operations in matrix products and convolutions.
        products: milliseconds that these take alone, at their shapes, on this machine.
        step: milliseconds of the bare rule: settling, updates, optimizer.
        memory: bytes that the step holds at most beyond weights, lateral matrices, optimizer state and the batch.
    """

    operations: int
    products: float
    step: float
    memory: int


class Clock(Callback):
    """Milliseconds a batch of whole training: loader, Trainer, metrics, logging and progress bar included.

    Args:
        warm_up: batches to leave out at the start.
        window: batches a window; the fastest window counts, for nothing but the rest of the machine slows one down.
    """

    def __init__(self, warm_up: int = 20, window: int = 50) -> None:
        self.warm_up, self.window = warm_up, window
        self.times: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Reads the clock."""
        self.times.append(time.perf_counter())

    @property
    def milliseconds(self) -> float:
        """Milliseconds a batch."""
        times = self.times[self.warm_up :: self.window]
        return min(b - a for a, b in pairwise(times)) / self.window * 1e3


def timed(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Returns the milliseconds of one call, the mean over some repeats."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats * 1e3


def cost(rule: LearningRule, batch_size: int, rounds: int = 7) -> Cost:
    """Measures a rule's bare step and its products and convolutions alone, in turns, and returns the fastest of each.

    Args:
        rule: any rule.
        batch_size: samples a batch.
        rounds: how often each is measured.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rule = rule.to(device)
    network = rule.network
    x = torch.rand(batch_size, *network.shapes[0], device=device)
    target = rule.one_hot(torch.randint(network.sizes[-1], (batch_size,), device=device), x.dtype)
    optimizer = rule.optimizer(cast(Any, rule.parameter_groups()))

    def step() -> None:
        rule.learn(x, target, optimizer)

    step()  # the optimizer makes its state
    with Products() as products:
        step()
    repeats = max(2, round(60 / max(timed(step, 3, device), 0.1)))
    works = {product: product.work(device) for product in products.counts}
    steps: list[float] = []
    alone: dict[Product, list[float]] = {product: [] for product in works}
    with torch.no_grad():
        for _ in range(rounds):
            steps.append(timed(step, repeats, device))
            for product, work in works.items():
                once = timed(work, 1, device)
                alone[product].append(timed(work, min(20, max(2, round(10 / max(once, 0.1)))), device))
    return Cost(
        products.operations,
        sum(products.counts[product] * min(times) for product, times in alone.items()),
        min(steps),
        peak_memory(step, device),
    )


def peak_memory(step: Callable[[], None], device: torch.device) -> int:
    """Returns the bytes that a step holds at most beyond what was there before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or its profiler tells on stderr when it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    return max(accumulate(memory_changes(profiler), initial=0))


def recipe_rule(recipe: Path, **changes: Any) -> LearningRule:
    """Returns the rule of a recipe, built as the command line does.

    Args:
        recipe: YAML file.
        changes: arguments that replace the recipe's.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=LearningRule)
    model = yaml.safe_load(recipe.read_text())["model"]
    model["init_args"].update(changes)
    return cast(LearningRule, parser.instantiate_classes(parser.parse_object({"model": model})).model)


def training(recipe: Path, batches: int) -> float:
    """Returns the milliseconds a batch of ``fit`` with a recipe, on random images in its data set's shape."""
    data = yaml.safe_load(recipe.read_text())["data"]
    source: type[ImageDataModule] = getattr(bioplausible.data, data["class_path"].rpartition(".")[2])
    clock = Clock()
    images = {
        "class_path": "bioplausible.commands.benchmark.RandomImages",
        "init_args": {
            "shape": list(source.image_shape),
            "classes": source.num_classes,
            "batch_size": _batch_size(recipe),
        },
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        logs = Path(folder) / "logs"
        arguments = ["fit", "--config", str(recipe), "--data", json.dumps(images), "--trainer.max_steps", str(batches)]
        arguments += ["--trainer.max_epochs", "-1", "--trainer.logger.init_args.save_dir", str(logs)]
        arguments += ["--trainer.enable_checkpointing", "false", "--trainer.limit_test_batches", "0"]
        with (Path(folder) / "bar").open("w") as bar, contextlib.redirect_stderr(bar):
            run_command_line(arguments, callbacks=[clock])
    return clock.milliseconds


def of_all_rules() -> list[Path]:
    """Returns the recipe on Fashion-MNIST of each rule that has one."""
    found = (recipe_of("FashionMNISTDataModule", cls.__name__) for cls in RULES)
    return [path for path in found if path is not None]


def run(args: Sequence[str]) -> int:
    """Prints what a training batch of each rule costs, and returns 0.

    Raises:
        UserError: there is no such rule or recipe.
    """
    parser = CommandArguments(
        prog="python -m bioplausible benchmark",
        description="What a training batch costs: floating-point operations in matrix products and convolutions; how"
        " fast this machine computes those of these shapes; the bare rule; their share of it; the memory it needs for"
        " the while; whole training through fit; and what of it is the framework's.",
    )
    parser.add_argument(
        "recipes", nargs="*", type=recipe_named, help="recipes; default: all rules on Fashion-MNIST's shape"
    )
    parser.add_argument("--batches", type=int, default=520, help="batches of whole training a rule; 0 leaves it out")
    parser.add_argument("--threads", type=int, help="threads that torch computes with; default: its own choice")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="instead: cost against batch size, iterations and, where a recipe has layer_sizes, width and depth",
    )
    options = parser.parse_args(args)
    if options.threads is not None:
        if options.threads < 1:
            raise UserError(f"threads is {options.threads}: it must be at least 1.")
        torch.set_num_threads(options.threads)
    files = options.recipes or of_all_rules()
    if options.batches and options.batches < LEAST:
        raise UserError(f"batches is {options.batches}: it takes {LEAST} to tell a time, or 0 for none.")
    for file in files:
        if not file.is_file():
            raise UserError(f"There is no recipe {file}: name YAML files such as those in configs/.")
        _batch_size(file)
    a, b, out = torch.rand(20, 500), torch.rand(500, 500), torch.empty(20, 500)
    unit = min(timed(lambda: torch.mm(a, b, out=out), 100, torch.device("cpu")) for _ in range(9))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; a 20 x 500 x 500 product: {unit:.3f} ms\n")
    if options.sweep:
        sweep(files)
        return 0
    print(f"{'recipe':48} {'MFLOP':>7} {'GFLOP/s':>8} {'step ms':>8} {'of it':>6} {'MB':>6}", end="")
    print(f" {'fit ms':>8} {'framework ms':>13}" if options.batches else "")
    for file in files:
        seed_everything(0, verbose=False)
        bare = cost(recipe_rule(file), _batch_size(file))
        line = (
            f"{f'{file.parent.name}/{file.stem}':48} {bare.operations / 1e6:7.1f}"
            f" {bare.operations / bare.products / 1e6:8.1f} {bare.step:8.2f} {bare.products / bare.step:6.0%}"
            f" {bare.memory / 1e6:6.2f}"
        )
        if options.batches:
            whole = training(file, options.batches)
            line += f" {whole:8.2f} {whole - bare.step:13.2f}"
        print(line, flush=True)
    return 0


def _batch_size(recipe: Path) -> int:
    """Returns a recipe's batch size, the data module's default where it names none.

    Raises:
        UserError: it is no recipe, or not of one of the package's data sets.
    """
    try:
        config = yaml.safe_load(recipe.read_text())
        name = config["data"]["class_path"].rpartition(".")[2]
        assert issubclass(getattr(bioplausible.data, name), ImageDataModule)
        assert config["model"]["class_path"]
        default = inspect.signature(ImageDataModule).parameters["batch_size"].default
        return int((config["data"].get("init_args") or {}).get("batch_size", default))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, AssertionError, UnicodeDecodeError) as error:
        raise UserError(f"{recipe} is no recipe of a rule on one of the package's data sets.") from error


def sweep(files: Sequence[Path]) -> None:
    """Prints each rule's cost per sample against batch size, iterations and, of layer_sizes, hidden width and depth.

    ``growth`` is the time's ratio to the line before, divided by that of the operations: 1 means that they grow alike.
    """
    print(f"{'recipe':40} {'what':>22} {'MFLOP/sample':>13} {'µs/sample':>10} {'of it':>6} {'MB':>8} {'growth':>7}")
    for file in files:
        config = yaml.safe_load(file.read_text())
        options: dict[str, Any] = config["model"]["init_args"]
        batch_size = _batch_size(file)
        iterations = [name for name in options if name in ("free_steps", "inference_steps")]
        points: dict[str, list[tuple[int, int, dict[str, Any]]]] = {
            "batch size": [(n, n, {}) for n in (20, 80, 320, 1280, 4096)]
        }
        sizes: list[int] | None = options.get("layer_sizes")
        if sizes is not None:  # a list of layers has no one width or depth
            nets = {d: [sizes[0], d, sizes[-1]] for d in (256, 512, 1024, 2048, 4096)}
            points["width"] = [(d, batch_size, {"layer_sizes": net}) for d, net in nets.items()]
            nets = {L: [sizes[0], *[sizes[1]] * (L - 1), sizes[-1]] for L in (2, 4, 8, 16)}
            points["depth"] = [(L, batch_size, {"layer_sizes": net}) for L, net in nets.items()]
        points |= {name: [(t, batch_size, {name: t}) for t in (10, 20, 40, 80)] for name in iterations}
        for what, values in points.items():
            last: Cost | None = None
            for value, n, changes in values:
                rule = recipe_rule(file, **one_rate_for_all(options, changes))
                now = cost(rule, n, rounds=3)
                growth = "" if last is None else f"{now.step / last.step / (now.operations / last.operations):7.2f}"
                print(
                    f"{f'{file.parent.name}/{file.stem}':40} {f'{what} {value}':>22} {now.operations / n / 1e6:13.2f}"
                    f" {now.step / n * 1e3:10.1f} {now.products / now.step:6.0%} {now.memory / 1e6:8.1f} {growth:>7}",
                    flush=True,
                )
                last = now


def one_rate_for_all(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns changes with one small rate in the place of each list of rates, which a new depth would not fit."""
    rates = [name for name, value in options.items() if name.endswith("learning_rates") and isinstance(value, list)]
    small: dict[str, Any] = dict.fromkeys(rates, 1e-6)
    if "dual_step_sizes" in options and "layer_sizes" in changes:
        small["dual_step_sizes"] = {len(changes["layer_sizes"]) - 1: 0.01}
    return {**small, **changes}
