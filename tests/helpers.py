"""What several test files need: where things lie, small networks, what runs leave, data files, processes."""

import copy
import gzip
import hashlib
import inspect
import itertools
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import struct
import sys
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from bioplausible import (
    PEPITA,
    Backpropagation,
    Burstprop,
    CIFAR10DataModule,
    CorInfoMax,
    CorInfoMaxEBD,
    DifferenceTargetPropagation,
    DirectDifferenceTargetPropagation,
    DirectFeedbackAlignment,
    DualPropagation,
    EquilibriumPropagation,
    ErrorBroadcastDecorrelation,
    FeedbackAlignment,
    ForwardForward,
    IncrementalPredictiveCoding,
    KolenPollack,
    PredictiveCoding,
    rules,
)
from bioplausible.commands.recipes import snake_case
from bioplausible.commands.report.logs import _age
from bioplausible.network import Connection
from bioplausible.rules import LearningRule

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
EXAMPLES = ROOT / "tests/examples"
GOLDEN = ROOT / "tests/golden"
GOLDEN_NETWORKS = ROOT / "tests/golden-networks"
GOLDEN_RULES = ROOT / "tests/golden-rules"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
PUBLISHED_NETWORKS = [
    path
    for path in sorted(CONFIGS.glob("*/*.yaml"))
    if path.parent.name != "digits" and not path.stem.endswith("_conv") and "\n    network:" in path.read_text()
]
"""Recipes of published networks that are not dense, too large for a test with batches of their own size."""

PACKAGE = Path(rules.__file__).parents[1]


def of_the_package(warning: warnings.WarningMessage) -> bool:
    """Returns whether the package warns; of what names no place above itself Lightning's own function is the place."""
    deprecated = issubclass(warning.category, DeprecationWarning)
    return not deprecated and (
        Path(warning.filename).is_relative_to(PACKAGE) or warning.filename.endswith("rank_zero.py")
    )


# ------------------------------------------------------------------------------------------------------------- networks


class Depthwise(Connection):
    """A wiring of a user's own: one method, all else by automatic differentiation."""

    def __init__(self, pre_shape, kernel, stride=1, padding=1, **options):
        self.kernel, self.stride, self.padding = kernel, stride, padding
        super().__init__(pre_shape, (pre_shape[0], 1, kernel, kernel), **options)

    def transform(self, weight, pre):
        return torch.conv2d(pre, weight, stride=self.stride, padding=self.padding, groups=len(weight))


SIZES = [7, 6, 5, 4]
NETWORKS = {
    "dense": SIZES,
    "convolution": [[2, 5, 5], {"conv": 3, "kernel": 3, "padding": 1}, {"conv": 2, "kernel": 3}, 4],
    "stride": [
        [1, 8, 9],
        {"conv": 2, "kernel": 3, "stride": 2, "padding": 1},
        {"conv": 3, "kernel": 2, "stride": 2},
        4,
    ],
    "average pool": [
        [1, 8, 7],
        {"conv": 2, "kernel": 3, "padding": 1, "pool": "average"},
        {"conv": 3, "kernel": 2, "padding": 1, "pool": "average"},
        4,
    ],
    "max pool": [
        [1, 8, 7],
        {"conv": 2, "kernel": 3, "padding": 1, "pool": "max"},
        {"conv": 3, "kernel": 2, "padding": 1, "pool": "max"},
        4,
    ],
    "soft pool": [
        [1, 8, 7],
        {"conv": 2, "kernel": 3, "padding": 1, "pool": "soft"},
        {"conv": 3, "kernel": 2, "padding": 1, "pool": "soft"},
        4,
    ],
    "local": [[2, 5, 5], {"local": 2, "kernel": 3, "stride": 2, "padding": 1}, {"local": 3, "kernel": 2}, 4],
    "identity skip": [
        [1, 4, 4],
        {"conv": 3, "kernel": 3, "padding": 1},
        {"conv": 3, "kernel": 3, "padding": 1},
        {"conv": 3, "kernel": 3, "padding": 1, "skip": 1},
        4,
    ],
    "strided skip": [
        [2, 5, 5],
        {"conv": 3, "kernel": 3, "padding": 1},
        {"conv": 3, "kernel": 3, "stride": 2, "padding": 1, "skip": {"from": 0, "stride": 2}},
        {"conv": 2, "kernel": 1, "skip": {"from": 1, "stride": 2}},
        4,
    ],
    "two dense": [[1, 5, 5], {"conv": 2, "kernel": 3}, 5, 4],
    "own wiring": [
        [1, 6, 6],
        {"conv": 3, "kernel": 3, "padding": 1},
        {"class_path": "tests.helpers.Depthwise", "init_args": {"kernel": 3}, "pool": "average"},
        4,
    ],
}
"""Small networks by name: each kind of wiring, each more than one layer above the input, whose drive never changes."""


def all_rules() -> list[type[LearningRule]]:
    """Every rule that the package exports: a new one is tested without touching the tests."""
    return [
        cls
        for cls in vars(rules).values()
        # Mapping[…] is an instance of type to Python 3.10, but type() knows better
        if issubclass(type(cls), type) and issubclass(cls, LearningRule) and not inspect.isabstract(cls)
    ]


ALL_TERMS_OF_EBD = {"loss": "cross_entropy", "error_forgetting_factor": 0.8, "correlated": "square", "entropy": 0.02}
ALL_TERMS_OF_EBD |= {
    "forgetting_factor": 0.7,
    "epsilon": 0.1,
    "power": 0.05,
    "sparsity": 0.03,
    "forward_broadcast": 0.1,
}
ALL_TERMS_OF_CORINFOMAX_EBD = {"error_forgetting_factor": 0.8, "decorrelation": 0.5, "feedback_decorrelation": 0.4}
ALL_TERMS_OF_CORINFOMAX_EBD |= {"lateral_decorrelation": 0.2, "prediction": 0.3, "feedback_prediction": 0.1}
ALL_TERMS_OF_CORINFOMAX_EBD |= {"power": 0.05, "target_power": 0.1, "regularize_lateral": True, "epsilon": 0.1}

WHOLE_STEPS = {"step_size": 1.0, "beta": 0.5}
LAYER_BY_LAYER = {"prediction": "goodness", "order": "layer_by_layer", "updates_per_batch": 2, "goodness": "mean"}
LAYER_BY_LAYER |= {"normalization": "norm", "threshold": 0.5}

VARIANTS: dict[str, tuple[type[LearningRule], dict]] = {
    **{cls.__name__: (cls, {}) for cls in all_rules()},
    "equilibrium propagation, three phases": (EquilibriumPropagation, {"three_phase": True}),
    "equilibrium propagation, learned feedback": (EquilibriumPropagation, {"feedback": "learned"}),
    "equilibrium propagation, same update of learned feedback": (
        EquilibriumPropagation,
        {"feedback": "learned", "feedback_update": "same", "three_phase": True},
    ),
    "equilibrium propagation, readout": (
        EquilibriumPropagation,
        {"loss": "cross_entropy", "readout": True, "feedback": "learned"},
    ),
    "equilibrium propagation, asynchronous, output held": (
        EquilibriumPropagation,
        {
            **{"update_order": "asynchronous", "hold_output": True, "relax_free_again": True},
            **{"output_activation": "linear", "random_beta_sign": False},
        },
    ),
    "equilibrium propagation, five points": (
        EquilibriumPropagation,
        {"points": 5, "activation_function": "smooth_clip", "output_activation": "sigmoid", **WHOLE_STEPS},
    ),
    "equilibrium propagation, four points, readout, learned feedback": (
        EquilibriumPropagation,
        {
            **{"points": 4, "loss": "cross_entropy", "readout": True, "activation_function": "sigmoid"},
            **{"feedback": "learned", **WHOLE_STEPS},
        },
    ),
    "CorInfoMax, three phases": (CorInfoMax, {"three_phase": True, "regularize_lateral": True, "epsilon": 0.1}),
    "error broadcast and decorrelation, all terms": (ErrorBroadcastDecorrelation, ALL_TERMS_OF_EBD),
    "CorInfoMax by error broadcast and decorrelation, all terms": (CorInfoMaxEBD, ALL_TERMS_OF_CORINFOMAX_EBD),
    "predictive coding, fixed predictions": (PredictiveCoding, {"fixed_predictions": True}),
    "predictive coding, cross entropy": (
        PredictiveCoding,
        {"loss": "cross_entropy", "target_range": (0, 1), "stale_errors": True},
    ),
    "predictive coding, errors": (PredictiveCoding, {"inference": "errors"}),
    "predictive coding, errors with a free one at the output": (
        PredictiveCoding,
        {"inference": "errors", "free_output_error": True, "loss": "cross_entropy", "target_range": (0, 1)},
    ),
    "incremental predictive coding, all options": (
        IncrementalPredictiveCoding,
        {"loss": "cross_entropy", "step_size": 0.15, "step_size_discount": 0.5, "inference_momentum": 0.3},
    ),
    **{
        f"feedback alignment, {kind}": (FeedbackAlignment, {"feedback": kind})
        for kind in ("uniform_sign", "fixed_random_sign", "batchwise_random_sign")
    },
    "backpropagation, binary cross entropy": (Backpropagation, {"loss": "binary_cross_entropy"}),
    "direct feedback alignment at the output": (DirectFeedbackAlignment, {"projection": "output"}),
    "sign-DFA": (DirectFeedbackAlignment, {"projection": "output", "signal": "error_sign"}),
    "difference target propagation, last hidden target by the gradient": (
        DifferenceTargetPropagation,
        {"last_hidden_target": "gradient", "feedback_steps": 2},
    ),
    "difference target propagation, difference reconstruction": (
        DifferenceTargetPropagation,
        {"feedback_loss": "difference_reconstruction", "feedback_activation": "sigmoid", "sigma": 0.5},
    ),
    "direct difference target propagation, hidden units": (
        DirectDifferenceTargetPropagation,
        {"hidden_units": 5, "feedback_steps": 2},
    ),
    "Kolen–Pollack, mirror of zero mean": (KolenPollack, {"mirror": "zero_mean"}),
    "Kolen–Pollack, published mirror": (KolenPollack, {"mirror": "published"}),
    "dual propagation, RAOVR, forward": (
        DualPropagation,
        {"form": "raovr", "order": "forward", "alpha": 0.3, "beta": 0.5, "loss": "mean_squared_error"},
    ),
    "dual propagation, both ways": (DualPropagation, {"order": "forward_backward", "sweeps": 3, "alpha": 1.0}),
    "PEPITA, squared error": (
        PEPITA,
        {"loss": "mean_squared_error", "output_activation": "sigmoid", "activation_function": "tanh"},
    ),
    "burstprop, recurrent, fixed feedback": (Burstprop, {"feedback": "fixed", "recurrent_rate": 0.1, "decay": 0.99}),
    "forward-forward, peers": (ForwardForward, {"peer_normalization": 0.3, "negative_labels": "any"}),
    "forward-forward, by goodness, layer by layer": (ForwardForward, LAYER_BY_LAYER),
}
"""Every rule with its defaults, and those of their options that change what is computed."""


def build(cls: type[LearningRule], network=SIZES, **options) -> LearningRule:
    """Returns a small float64 network of a rule.

    Args:
        cls: the rule.
        network: a name in NETWORKS, sizes, or a list of layers.
        options: the rule's own.
    """
    network = NETWORKS[network] if isinstance(network, str) else network
    if options.get("points", 1) > 2:  # which refuse max pooling
        network = [{**e, "pool": "soft"} if isinstance(e, dict) and e.get("pool") == "max" else e for e in network]
    if "dual_step_sizes" in inspect.signature(cls.__init__).parameters:
        options.setdefault("dual_step_sizes", {1: 0.05, len(network) - 1: 0.1})
    if all(isinstance(entry, int) for entry in network):
        return cls(layer_sizes=list(network), **options).double()
    return cls(network=copy.deepcopy(network), **options).double()


def build_in_double(cls: type[LearningRule], network=SIZES, **options) -> LearningRule:
    """Returns such a network, its initial values drawn in float64: in float32 their last digit depends on the CPU."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return build(cls, network, **options)
    finally:
        torch.set_default_dtype(before)


def batch(network=SIZES, n=6, seed=0):
    """Returns inputs, classes and one-hot targets for a network as :func:`build` takes it."""
    network = NETWORKS[network] if isinstance(network, str) else network
    shape, classes = np.atleast_1d(network[0]), network[-1]
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *shape, generator=g, dtype=torch.float64)
    y = torch.randint(classes, (n,), generator=g)
    return x, y, torch.nn.functional.one_hot(y, classes).double()


@torch.no_grad()
def updates(rule: LearningRule, phases) -> dict[str, torch.Tensor]:
    """Returns the local update of each parameter by its name."""
    names = {id(p): name for name, p in rule.named_parameters()}
    return {names[id(p)]: u.clone() for p, u in rule.local_updates(phases)}


# ----------------------------------------------------------------------------------------------------------------- runs

QUICK = {
    *("corinfomax", "corinfomax_sparse", "equilibrium_propagation", "contrastive_similarity_matching"),
    *("predictive_coding", "nudged_predictive_coding", "feedback_alignment", "backpropagation"),
    *("forward_forward", "holomorphic_equilibrium_propagation", "corinfomax_ebd", "pepita"),
}
"""The paper's rules, and one for each of what other rules ask of the framework: several steps a batch, complex states,
running correlations, draws for each sample."""


def slow_but(quick: Iterable[str], recipes: Iterable[Path]) -> list[Any]:
    """Returns recipes as parameters, of which all but some wait for `make test-slow`: whole runs take long.

    Args:
        quick: names without the folder, such as ``corinfomax``.
        recipes: files.
    """
    return [
        pytest.param(path, id=path.stem, marks=[] if path.stem in quick else [pytest.mark.slow]) for path in recipes
    ]


FEW = ["--trainer.enable_progress_bar", "false", "--data.init_args.subset_size", "120"]
RUN = Path("lightning_logs/digits/corinfomax/version_0")
# 230 images less 23 for validation: 11 batches an epoch
ARGS = ["fit", "--trainer.max_epochs", "3", "--data.init_args.subset_size", "230", "--trainer.log_every_n_steps", "2"]
ARGS += ["--trainer.enable_progress_bar", "false"]


def run_of(recipe: Path) -> Path:
    """Returns the folder of a digits recipe's first run: it has the rule's name, which several recipes can share."""
    rule = yaml.safe_load(recipe.read_text())["model"]["class_path"]
    return RUN.parents[1] / snake_case(rule) / "version_0"


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """Returns all that a run logged, file after file in the order in which they were written.

    TensorBoard reads them in the order of their names, which is another one where two processes wrote in the same
    second and the later one's number has a digit more: they are read under names that sort right.
    """
    with TemporaryDirectory() as ordered:
        for number, file in enumerate(sorted(Path(folder).glob("events.out.tfevents.*"), key=_age)):
            shutil.copyfile(file, Path(ordered, f"events.out.tfevents.{number:04}"))
        events = EventAccumulator(ordered, size_guidance={"scalars": 0})
        events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def differences(a, b, where="checkpoint"):
    """Yields where two checkpoints differ, to the bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if not torch.equal(a, b):
            yield where
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            yield f"{where}: {a.keys() ^ b.keys()}"
        for key in a.keys() & b.keys():
            yield from differences(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            yield where
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{where}/{i}")
    elif a != b:
        yield f"{where}: {a!r} {b!r}"


def result(folder: Path, run: Path = RUN):
    """Returns a finished run's last checkpoint (weights, optimizer, scheduler, counters, …) and all it logged."""
    logged = {tag: values for tag, values in scalars(folder / run).items() if not tag.startswith("throughput")}
    return torch.load(folder / run / "checkpoints/last.ckpt", weights_only=True), logged


class Signals(Callback):
    """Sends SIGTERM after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def make_run(
    folder, accuracy, seed, recipe="fashion_mnist/equilibrium_propagation", epochs=50, planned=50, start=100, **model
):
    """Writes what `fit` leaves of a run, with made-up curves."""
    folder.mkdir(parents=True)
    config = yaml.safe_load((CONFIGS / f"{recipe}.yaml").read_text())
    config["seed_everything"] = seed
    config["trainer"]["max_epochs"] = planned
    config["model"]["init_args"].update(model)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.yaml").write_text("torch: 2.6\ngit_commit: abc\n")
    board = SummaryWriter(str(folder))
    for epoch in range(epochs):
        board.add_scalar(
            "train/accuracy", 0.5 + epoch / 100 + seed / 1000, (epoch + 1) * 10 - 1, walltime=start + 7 * epoch
        )
        board.add_scalar("throughput/samples_per_second", 1000 + seed, (epoch + 1) * 10 - 1)
        board.add_scalar("alignment/layer_2_angle", 80 - epoch, (epoch + 1) * 10 - 1)
    if accuracy is not None:
        board.add_scalar("test/accuracy", accuracy, epochs * 10, walltime=start + 7 * epochs)
    board.close()


# ----------------------------------------------------------------------------------------------------------- data files


def write_idx(folder: Path, train=40, test=20):
    """Writes the four gzipped IDX files."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    content = {}
    for name, n in (("train", train), ("t10k", test)):
        images = draw.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = draw.integers(0, 10, n, dtype=np.uint8)
        content[name] = images, labels
        for kind, magic, array in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            head = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
            with gzip.open(folder / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(head + array.tobytes())
    return content


def write_cifar(cls, mirror, monkeypatch, train=12, test=12):
    """Writes the archive in its true format, and lets torchvision know the checksums of its content."""
    official = cls.torchvision_class
    draw = np.random.default_rng(0)
    (mirror / official.base_folder).mkdir(parents=True)
    checksums, pixels = {}, {}

    def write(name, content):
        path = mirror / official.base_folder / name
        path.write_bytes(pickle.dumps(content))
        checksums[name] = hashlib.md5(path.read_bytes()).hexdigest()

    key = "labels" if cls is CIFAR10DataModule else "fine_labels"
    for names, n in ((official.train_list, train), (official.test_list, test)):
        for name, _ in names:
            pixels[name] = draw.integers(0, 256, (n, 3072), dtype=np.uint8)
            write(name, {"data": pixels[name], key: draw.integers(0, cls.num_classes, n).tolist()})
    write(official.meta["filename"], {"label_names": [], "fine_label_names": []})
    with tarfile.open(mirror / official.filename, "w:gz") as tar:
        tar.add(mirror / official.base_folder, official.base_folder)
    for which in ("train_list", "test_list"):
        monkeypatch.setattr(official, which, [[name, checksums[name]] for name, _ in getattr(official, which)])
    monkeypatch.setattr(official, "meta", {**official.meta, "md5": checksums[official.meta["filename"]]})
    monkeypatch.setattr(official, "tgz_md5", hashlib.md5((mirror / official.filename).read_bytes()).hexdigest())
    monkeypatch.setattr(cls, "sizes", {True: train * len(official.train_list), False: test})
    return pixels


# ------------------------------------------------------------------------------------------------------------ processes

# the server imports this checkout's package, whatever folder a test is in and whatever checkout is installed
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
# forked from a process that has imported everything but run nothing: a run starts in a fraction of a second
CONTEXT = multiprocessing.get_context("forkserver")
LONGEST = 1200
"""Seconds that a test waits at most for what a process does: many times what that takes on a machine that is busy."""
CONTEXT.set_forkserver_preload(["tests.preload"])


def _main(
    args: list[str],
    folder: str,
    environment: dict[str, str],
    number: int,
    exchange: str = LearningRule.exchange,
    prepare: Callable[[], None] | None = None,
    **moment: Any,
) -> None:
    LearningRule.exchange = exchange
    os.chdir(folder)
    os.environ.update(environment)
    if "ERRORS_IN" in environment:  # the process that forks these may be older than the test, and its stderr too
        os.dup2(os.open(environment["ERRORS_IN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    multiprocessing.set_start_method("fork", force=True)  # for the loader's workers, as at the command line
    from bioplausible.__main__ import main

    torch.set_num_threads(1)
    _kill(number, **moment)
    if prepare is not None:
        prepare()
    os._exit(main(args))


def _kill(
    number: int,
    before_step: int | None = None,
    after_seconds: float | None = None,
    after_bytes: int | None = None,
    at_moment: int | None = None,
    count_in: str | None = None,
    copy_before_steps: Sequence[int] = (),
) -> None:
    """Lets this process send itself a signal when the moment comes."""
    from pytorch_lightning.trainer import call

    from bioplausible.resume import checkpoint_files

    def kill():
        os.kill(os.getpid(), number)

    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step in copy_before_steps:
            shutil.copytree(".", f"../{self.global_step}")
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

    moments = itertools.count(1)

    def counted(function):
        """A moment is before or after a hook of all callbacks, or while a file takes its name."""

        def moment():
            current = next(moments)
            if count_in is not None:
                Path(count_in).write_text(str(current))
            if current == at_moment:
                kill()

        def call(*args, **options):
            moment()
            result = function(*args, **options)
            moment()
            return result

        return call

    if at_moment is not None or count_in is not None:
        call._call_callback_hooks = counted(call._call_callback_hooks)
        Path.replace = counted(Path.replace)
        Path.unlink = counted(Path.unlink)

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
    kill_at_moment: int | None = None,
    count_in: str | None = None,
    copy_before_steps: Sequence[int] = (),
    prepare: Callable[[], None] | None = None,
    errors_in: str | None = None,
) -> int:
    """Runs ``python -m bioplausible args`` in a folder and returns its exit status (−9: killed).

    Args:
        args: the command and its options.
        folder: where to run.
        number: the signal to send …
        kill_before_step: … before this training step, …
        kill_after_seconds: … this long after training started, …
        kill_after_bytes: … when this many bytes of checkpoints were written, …
        kill_at_moment: … or at this moment: before or after a hook of all callbacks, or before or after a file that was
            written aside takes its name, or another one is removed.
        count_in: file in which the moments are counted.
        copy_before_steps: training steps before which the folder is copied, beside itself under the step's number: what
            a kill would leave there and then.
        prepare: called in the process before the command runs.
        errors_in: file in the folder that gets what it says on stderr.
    """
    moment = {"before_step": kill_before_step, "after_seconds": kill_after_seconds, "after_bytes": kill_after_bytes}
    moment |= {"at_moment": kill_at_moment, "count_in": count_in, "copy_before_steps": copy_before_steps}
    environment = {} if errors_in is None else {"ERRORS_IN": errors_in}
    process = CONTEXT.Process(
        target=_main, args=(args, str(folder), environment, number), kwargs={"prepare": prepare, **moment}
    )
    process.start()
    return _status(process)


PORTS = itertools.count()


def free_port() -> str:
    """Returns the number of a free port, from where the system gives none to others: another one each time."""
    for i in itertools.islice(PORTS, 30):
        port = 20_000 + os.getpid() % 400 * 30 + i % 30  # no two test processes side by side have one in common
        with socket.socket() as candidate:
            try:
                candidate.bind(("", port))
            except OSError:
                continue
            return str(port)
    raise OSError("no port is free")


def command_line_together(
    args: list[str],
    folder,
    processes: int = 2,
    signal_before_step: int | None = None,
    to: int = 1,
    exchange: str = LearningRule.exchange,
    errors_in: str | None = None,
) -> list[int]:
    """Runs ``fit`` in several processes that train together, and returns their exit statuses.

    Args:
        args: as at the command line.
        folder: where to run.
        processes: how many.
        signal_before_step: step before which SIGTERM is sent …
        to: … to this process.
        exchange: what they exchange in a training step.
        errors_in: file in the folder that gets what they say on stderr.
    """
    port = free_port()
    args = [*args, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--trainer.devices", str(processes)]
    started = []
    for rank in range(processes):
        environment = {"LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        environment |= {} if errors_in is None else {"ERRORS_IN": errors_in}
        moment = {"before_step": signal_before_step if rank == to else None}
        command = (args, str(folder), environment, signal.SIGTERM, exchange)
        started.append(CONTEXT.Process(target=_main, args=command, kwargs=moment))
        started[-1].start()
    return [_status(process) for process in started]


def _work(rank: int, processes: int, port: str, folder: str, function, args) -> None:
    os.chdir(folder)
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=port)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=processes)
    torch.save(function(*args), f"{rank}.pt")


def work_together(function, *args, folder, processes: int = 2) -> list:
    """Returns what a function returns in each of several processes that train together.

    Args:
        function: one of a test module.
        args: its arguments.
        folder: an empty one, where the processes run.
        processes: how many.
    """
    port = free_port()
    started = [
        CONTEXT.Process(target=_work, args=(rank, processes, port, str(folder), function, args))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    assert [_status(process) for process in started] == [0] * processes
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(processes)]


def _status(process) -> int:
    """Returns a process's exit status; one that hangs is killed."""
    process.join(LONGEST)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode
