"""Any configuration either trains for three batches with finite weights, or is refused with one sentence.

The generator knows no rule, optimizer or scheduler by its options: it reads them from the signatures, draws sensible
values for some, and spoils up to two. As many examples as one likes, other ones each time::

    CONFIGURATIONS=1500 python -m pytest tests/commands/test_configurations.py -k a_conf --hypothesis-show-statistics
"""

import contextlib
import inspect
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from pytorch_lightning import Trainer
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from bioplausible import CorInfoMax, DigitsDataModule, PiecewisePower, UserError, WarmupCosine, rules
from bioplausible.__main__ import main
from bioplausible.data import ImageDataModule
from bioplausible.errors.sentences import sentence
from tests.helpers import CONFIGS, all_rules

EXAMPLES = int(os.environ.get("CONFIGURATIONS", "0"))
FEW_OR_MANY = settings(max_examples=EXAMPLES or 40, derandomize=not EXAMPLES, deadline=None)

NAN, INF = float("nan"), float("inf")
NO_NUMBER = ["nonsense", None, [], {}, True]
BAD_FLOATS = [0.0, -1.0, 1e-30, 1e30, -1e30, 1e-300, 1e300, NAN, INF, -INF, 10**400, *NO_NUMBER]
BAD_INTEGERS = [0, -1, 10**12, 10**30, 1.5, NAN, INF, *NO_NUMBER]
OPTIMIZERS = [c for c in vars(torch.optim).values() if inspect.isclass(c) and c is not torch.optim.Optimizer]
SCHEDULERS = [lr_scheduler.ReduceLROnPlateau, PiecewisePower, WarmupCosine] + [
    cls
    for cls in vars(lr_scheduler).values()
    if inspect.isclass(cls) and issubclass(cls, LRScheduler) and cls.get_lr is not LRScheduler.get_lr
]
# the command line takes no functions, nor optimizers within options
SCHEDULERS = [c for c in SCHEDULERS if not {"schedulers", "lr_lambda"} & inspect.signature(c).parameters.keys()]

CLASSES = {f"{cls.__module__}.{cls.__name__}": cls for cls in [*OPTIMIZERS, *SCHEDULERS]}

IMAGES = {"conv": 3, "kernel": 3}
# what no default or annotation tells: (sensible values, foolish ones)
KNOWN: dict[str, tuple[list[Any], list[Any]]] = {
    "layer_sizes": (
        [[64, 10], [64, 5, 10], [64, 5, 4, 10], [64, 1, 1, 1, 10]],
        [[], [64], [10, 64], [64, 0, 10], [64, -3, 10], [64, 10**9, 10], [64, 10**30, 10], [64.5, 10], 64, "nonsense"],
    ),
    "network": (
        [
            [64, 5, 10],
            [[1, 8, 8], 10],
            [[1, 8, 8], {"conv": 3, "kernel": 3, "stride": 2}, 5, 10],
            [[1, 8, 8], {**IMAGES, "gain": 0.5}, {"dense": 10, "gain": {"weight": 2}}],
            [[1, 8, 8], {"conv": 2, "kernel": 3, "pool": "max"}, {"local": 3, "kernel": 2, "pool": {"average": 2}}, 10],
            [
                [1, 8, 8],
                {"conv": 2, "kernel": 3, "padding": 1},
                {"conv": 2, "kernel": 3, "padding": 1, "skip": 1},
                {"conv": 1, "kernel": 3, "stride": 2, "padding": 1, "skip": [{"from": 0, "stride": 2}]},
                10,
            ],
        ],
        [
            *([[], [64], [10, 64], [[1, 8], 10], [[8, 8], 10], [[1, 4, 16], IMAGES, 10], [[8, 8, 1], IMAGES, 10]]),
            *([[1, 8, 8], layer, 10] for layer in (0, -3, 10**9, 10**30, 64.5, "nonsense", NAN, None, {}, [], True)),
            *(
                [[1, 8, 8], {**IMAGES, key: value}, 10]
                for key in IMAGES
                for value in (0, -1, 10**9, 1.5, NAN, "nonsense")
            ),
            *([[1, 8, 8], {**IMAGES, "stride": value}, 10] for value in (0, -1, 1.5, NAN, None)),
            *([[1, 8, 8], {**IMAGES, "padding": value}, 10] for value in (-1, 10**9, 1.5, NAN, None)),
            *([[1, 8, 8], {**IMAGES, "pool": value}, 10] for value in ("min", 3, {"max": 0}, {"max": 9}, {}, ["max"])),
            *(
                [[1, 8, 8], {**IMAGES, "gain": value}, 10]
                for value in (0, -1, NAN, INF, 1e300, True, "nonsense", {}, {"bias": 1}, {"weights": 1}, [1])
            ),
            *([[1, 8, 8], {**IMAGES, "skip": value}, 10] for value in (0, 1, -1, "nonsense", {"from": 0, "stride": 3})),
            *(
                [[1, 8, 8], {**IMAGES, "skip": value}, 10]
                for value in ({"stride": 1}, {"from": 0, "to": 1}, [0, 0], NAN)
            ),
            *([[1, 8, 8], {**IMAGES, key: 3}, 10] for key in ("local", "dense", "nonsense", "class_path", "kernels")),
            *([[1, 8, 8], {"class_path": path}, 10] for path in ("nonsense", "torch.nn.Linear", "no.such.Class", 3)),
            *(
                [
                    [[1, 8, 8], {"conv": 3}, 10],
                    [[1, 8, 8], IMAGES],
                    [[1, 8, 8], 10, IMAGES, 10],
                    64,
                    "nonsense",
                    {"conv": 3},
                ]
            ),
        ],
    ),
    "dual_step_sizes": (
        [{}, {1: 1e-6}, {1: 0.01}],
        [{0: 0.1}, {9: 0.1}, {-1: 0.1}, {1: 0}, {1: -1}, {1: NAN}, {1: INF}, {1: 1e30}, {1: 1e300}, {"a": 1}, 3],
    ),
    "target_range": ([[0.03, 0.97], [0, 1], [-1, 1]], [[1, 0], [0.5], [NAN, 1], [0, INF], [0, 1, 2], [0, 1e300], 3]),
    "betas": ([[0.9, 0.999], [0, 0]], [[1, 1], [-1, 0], [NAN, 0.5], [0.9], 3]),
    "etas": ([[0.5, 1.2]], [[1, 1], [-1, 0], [NAN, 2], 3]),
    "step_sizes": ([[1e-6, 50]], [[1, 0], [-1, 0], [NAN, 2], 3]),
    "eps": ([1e-8], BAD_FLOATS),
    "momentum": ([0, 0.9], [-1, 1.5, NAN, "nonsense"]),
    "lr": ([0.01, 0.1, 0], BAD_FLOATS),
    "feedforward_learning_rates": ([None, 0.1, 0], [[0.1] * 9, [], [NAN], [-1], [INF], *BAD_FLOATS]),
    "feedback_learning_rates": ([None, 0.1, 0], [[0.1] * 9, [], [NAN], [-1], [INF], *BAD_FLOATS]),
    "learning_rates": ([None, 0.1, 0], [[0.1] * 9, [], [NAN], [-1], [INF], *BAD_FLOATS]),
    "weight_decays": ([None, 0.1, 0], [[0.1] * 9, [], [NAN], [-1], [INF], *BAD_FLOATS]),
    "gradient_norm_limit": ([None, 1.0], BAD_FLOATS),
    "inference_momentum": ([0, 0.5], BAD_FLOATS),
    "beta_growth": ([0, 0.01], BAD_FLOATS),
    "border": ([0], BAD_INTEGERS),
    "floor": ([0, 1e-5], [[0.1] * 99, [], [NAN], [-1], *BAD_FLOATS]),
    "lateral_learning_rates": ([0.1, 0], [[0.1] * 9, [], [NAN], [-1], [INF], *BAD_FLOATS]),
    "batch_size": ([1, 2, 7, 20], BAD_INTEGERS),
    "evaluation_batch_size": ([1000, 50], BAD_INTEGERS),
    "subset_size": ([None, 1, 2, 9, 60], [*BAD_INTEGERS, 1438, 1439]),
    "validation_split": ([0, 0.1, 0.5, 0.9], [1, 1e-9, 0.9999999, *BAD_FLOATS]),
    "mean": ([None, [0.5]], [[], [0.5, 0.5], [NAN], [INF], [1e30], [1e300], 0.5]),
    "std": ([None, [0.5]], [[], [0.5, 0.5], [0], [-1], [NAN], [INF], [1e-30], [1e-300], 0.5]),
    "crop_padding": ([0, 1, 8], [-1, 9, 10**9, 10**30, 1.5, "nonsense", None]),
    "num_workers": ([0], [-1, 1.5, "nonsense", None]),
    "milestones": ([[1, 2], []], [[-1], [2, 1], [NAN], 3, "nonsense"]),
    "bases": (
        [{0: 0.9}, {0: 0.9, 2: 0.5}],
        [{}, {1: 0.9}, {0: 0}, {0: -1}, {-1: 1, 0: 1}, {0: NAN}, {0: 1e300}],
    ),
    "step_size": ([1, 2], BAD_INTEGERS),
    "gamma": ([0.9, 1], BAD_FLOATS),
    "ns_coefficients": ([[3.4445, -4.775, 2.0315]], [[1], [NAN, 1, 1], 3]),
    "T_max": ([1, 9], BAD_INTEGERS),
    "T_0": ([1, 9], BAD_INTEGERS),
    "max_lr": ([0.1], BAD_FLOATS),
    "base_lr": ([0.01], BAD_FLOATS),
    "total_steps": ([9, 3], [1, 2, *BAD_INTEGERS]),
    "last_epoch": ([-1], [3, -7, *BAD_INTEGERS]),
    "monitor": (["train/loss"], ["val/nonsense", "", 3]),
    "entropy": ([None, 0.01, 0], [[0.1] * 9, [], [NAN], [-1], [INF], *BAD_FLOATS]),
    "lr_scheduler_interval": (["epoch", "step"], ["week", None, 3]),
    "target_step": ([0.1, 0.5], [0, -1, *BAD_FLOATS]),
    "sigma": ([0.1, 0.3], [[0.1] * 9, [], [NAN], [-1], [0], *BAD_FLOATS]),
    "threshold": ([None, 1.0], [[0.1] * 9, [], [NAN], [INF], *BAD_FLOATS]),
    "recurrent_rate": ([None, 0.01], [[0.1] * 9, [], [NAN], [-1], *BAD_FLOATS]),
    "points": ([None, 1, 2], BAD_INTEGERS),
    "activation_slope": ([None], [0, -1, *BAD_FLOATS]),
    "sweeps": ([None, 1, 3], BAD_INTEGERS),
    "read_from": ([None, 1], [99, *BAD_INTEGERS]),
    "hidden_units": ([None, 5], BAD_INTEGERS),
}
TRAINER: dict[str, tuple[list[Any], list[Any]]] = {
    "accelerator": (["cpu", "auto"], ["gpu", "cuda", "tpu", "mps", "nonsense", None, 3]),
    "devices": ([1, "1", "auto"], [0, -1, -2, "", "nonsense", [], [0], [0, 0], 1.5, NAN, None]),
    "num_nodes": ([1], [0, -1, 1.5, "nonsense"]),
    "strategy": (["auto", "single_device"], ["nonsense", "dp", "fsdp", "deepspeed", "xla", "single_xla", None, 3]),
    "precision": (
        [None, "32-true", "64-true", 32, 64, "32", "64", "bf16-mixed"],
        ["16-mixed", "16-true", "bf16-true", "transformer-engine", "nonsense", 8, 16, "bf16"],
    ),
    "limit_train_batches": ([1.0, 3, None], [-1, 1.5, NAN, 1e-9, "nonsense"]),
    "limit_val_batches": ([1.0, 1, 0], [-1, 1.5, NAN, "nonsense"]),
    "val_check_interval": ([None, 1.0], [0, -1, 10**6, 1.5, NAN, "nonsense"]),
    "check_val_every_n_epoch": ([1, 2, None], [0, -1, 1.5, "nonsense"]),
    "num_sanity_val_steps": ([0, 1], [-2, -1, 1.5, "nonsense"]),
    "log_every_n_steps": ([0, 1, 50, None], [-1, 1.5, "nonsense"]),
    "gradient_clip_val": ([None], [1.0, 0, -1, "nonsense"]),
    "gradient_clip_algorithm": ([None, "norm"], ["nonsense"]),
    "accumulate_grad_batches": ([1], [0, 2, -1, "nonsense"]),
    "deterministic": ([True, False, "warn"], ["nonsense"]),
    "benchmark": ([None, False], ["nonsense"]),
    "inference_mode": ([True, False], ["nonsense"]),
    "detect_anomaly": ([False, True], ["nonsense"]),
    "profiler": ([None], ["nonsense"]),
    "sync_batchnorm": ([False, True], ["nonsense"]),
    "reload_dataloaders_every_n_epochs": ([0, 1], [-1, 1.5, "nonsense"]),
    "use_distributed_sampler": ([False, True], ["nonsense"]),
    "min_epochs": ([None, 1], [-1, "nonsense"]),
    "min_steps": ([None, 3], [-1, "nonsense"]),
    "max_time": ([None, "01:00:00:00"], ["nonsense", "1", -1]),
    "fast_dev_run": ([False], [-1, 1.5, "nonsense"]),
    "overfit_batches": ([0.0], [2, 0.5, -1, 1.5, NAN, "nonsense"]),
    "barebones": ([False], [True, "nonsense"]),
    "plugins": ([None], ["nonsense", [3]]),
    "callbacks": ([None, ["Guard"], ["Settling", "Alignment"]], [["Nonsense"], ["Information"], "nonsense", [3]]),
    "default_root_dir": ([None], ["/dev/null/logs"]),
}
RUN = {
    "seed_everything": ([True, 0, 7], [False, -1, 2**32, 2**70, 1.5, NAN, "nonsense", None]),
    "checkpoint_every_n_steps": ([None, 1, 2], BAD_INTEGERS),
    "checkpoint_keep": ([1, 2, -1], BAD_INTEGERS),
}


def choices(name: str, kind: Any, default: Any) -> tuple[list[Any], list[Any]]:
    """Returns sensible and foolish values of an option, from its annotation and its default."""
    kinds = [k for k in get_args(kind) if k is not type(None)]
    if name.endswith("_steps") and (kind is int or int in kinds):
        return [1, 2, 3], BAD_INTEGERS
    if kind is float and isinstance(default, float):
        return [default, default / 2, default * 1.5], BAD_FLOATS
    if get_origin(kind) is Literal:
        return list(get_args(kind)), ["nonsense", None, 3]
    if name in KNOWN:
        return KNOWN[name]
    if isinstance(default, bool) or default is None:  # torch's foreach and fused are bool | None
        return [True, False], ["nonsense", 3, -1]
    if isinstance(default, (int, float)):
        return [default], BAD_FLOATS
    if isinstance(default, str):
        return [default], ["nonsense", None, 3]
    raise NotImplementedError(f"say in KNOWN what values {name} may have")


def options(cls: type) -> dict[str, tuple[list[Any], list[Any]]]:
    """Returns the choices for each argument of a class, those that it passes on to its base class included."""
    found = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(base.__init__).parameters
        hints = get_type_hints(base.__init__) if base.__module__.startswith("bioplausible") else {}
        for name, p in parameters.items():
            named = p.kind is p.POSITIONAL_OR_KEYWORD or p.kind is p.KEYWORD_ONLY
            if named and name not in ("self", "params", "optimizer", "lr_scheduler", "defaults", "scale_fn"):
                found.setdefault(name, choices(name, hints.get(name), p.default))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def kinds(value: Any) -> set[type]:
    """Returns the types of a value, or of what is in it."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return {type(value)} | {kind for entry in entries if entry is not value for kind in kinds(entry)}


def well_typed(sensible: list[Any], foolish: list[Any]) -> list[Any]:
    """Returns the foolish values whose types a sensible one has too, an int counting as a float."""
    allowed = {kind for value in sensible for kind in kinds(value)}
    allowed |= {int} if float in allowed else set()
    shapes = {type(value) for value in sensible}
    return [
        value
        for value in foolish
        if kinds(value) <= allowed and (type(value) in shapes or {type(value), float} <= {int, *shapes})
    ]


@st.composite
def configurations(draw, python: bool = False) -> dict[str, Any]:
    """Draws the options of ``fit`` by their names; for Python those of rule and data, of the right types."""
    rule = draw(st.sampled_from(all_rules()), label="rule")
    possible: dict[str, tuple[list[Any], list[Any]]] = {}
    fixed: dict[str, Any] = {"model": rule.__name__}

    def add(prefix: str, choices: dict[str, tuple[list[Any], list[Any]]]) -> list[str]:
        possible.update({f"{prefix}{name}": value for name, value in choices.items()})
        return [f"{prefix}{name}" for name in choices]

    needed = [name for name in add("model.init_args.", options(rule)) if name.endswith(("_steps", "sizes"))]
    if draw(st.booleans(), label="a list of layers"):
        needed[needed.index("model.init_args.layer_sizes")] = "model.init_args.network"
    for part, classes in (("optimizer", OPTIMIZERS), ("lr_scheduler", SCHEDULERS)):
        cls = draw(st.none() | st.sampled_from(classes), label=part)
        if cls is not None:
            fixed[f"model.init_args.{part}"] = f"{cls.__module__}.{cls.__name__}"
            names = add(f"model.init_args.{part}.init_args.", options(cls))
            required = [p for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
            needed += [n for n in names if n.rpartition(".")[2] in {p.name for p in required} | {"lr", "total_steps"}]
    add("data.init_args.", options(ImageDataModule))
    if python:
        possible = {name: (good, well_typed(good, bad) or good) for name, (good, bad) in possible.items()}
    else:
        add("trainer.", TRAINER)
        add("", RUN)
    chosen = [*needed, *draw(st.lists(st.sampled_from(sorted(possible)), unique=True, max_size=6), label="options")]
    drawn = {name: draw(st.sampled_from(possible[name][0]), label=name) for name in dict.fromkeys(chosen)}
    spoilt = draw(st.lists(st.sampled_from(sorted(possible)), unique=True, max_size=2), label="spoilt")
    drawn |= {name: draw(st.sampled_from(possible[name][1]), label=name) for name in spoilt}
    return fixed | drawn


def written(value: Any) -> str:
    """Returns a value as the command line takes it: YAML on one line."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()


def outcome(configuration: dict[str, Any]) -> str:
    """Returns ``trained`` or the sentence of the refusal; anything else fails."""
    Path("small.yaml").write_text(
        "data: {class_path: DigitsDataModule}\n"
        "trainer: {logger: false, enable_progress_bar: false, max_epochs: -1, max_steps: 3, limit_test_batches: 1}\n"
    )
    args = [f"--{name}={written(value)}" for name, value in configuration.items()]
    note(f"fit {shlex.join(args)}")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["fit", "--config", "small.yaml", *args])
    said = err.getvalue()
    note(f"exit status {status}: {said}")
    if status == 0:
        # three steps may leave a network that tells no classes apart, which is said
        assert re.fullmatch(r"(warning: Every test image is classified as \d: the network has collapsed.*\n)?", said)
        checkpoint = torch.load("checkpoints/last.ckpt", weights_only=True)
        assert checkpoint["global_step"] == 3
        assert all(t.isfinite().all() for t in checkpoint["state_dict"].values())
        return "trained"
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert len(said) < 600
    return said


@contextlib.contextmanager
def fresh_folder() -> Iterator[None]:
    """A folder of its own as the current one, and nothing left over from an earlier run in this process."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.pop("PL_GLOBAL_SEED", None)
        try:
            yield
        finally:
            os.chdir(here)
            torch.use_deterministic_algorithms(False)


@given(configurations())
@FEW_OR_MANY
def test_a_configuration_trains_or_is_refused_with_one_sentence(configuration):
    with fresh_folder():
        said = outcome(configuration)
    event("trained" if said == "trained" else "refused")


def nested(configuration: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the arguments below a prefix, the callables for optimizer and scheduler among them."""
    start = f"{prefix}.init_args."
    own = {name[len(start) :]: value for name, value in configuration.items() if name.startswith(start)}
    found = {name: value for name, value in own.items() if "." not in name}
    for part in {"optimizer", "lr_scheduler"} & found.keys():
        found[part] = partial(CLASSES[found[part]], **nested(configuration, f"{start}{part}"))
    return found


@given(configurations(python=True))
@FEW_OR_MANY
def test_a_configuration_trains_or_raises_user_error_from_python(configuration):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with fresh_folder():
        torch.manual_seed(0)
        trainer = Trainer(max_epochs=-1, max_steps=3, accelerator="cpu", enable_model_summary=False, **quiet)
        try:
            data = DigitsDataModule(**nested(configuration, "data"))
            rule = vars(rules)[configuration["model"]](**nested(configuration, "model"))
            trainer.fit(rule, data)
        except UserError:
            event("refused")
        else:
            event("trained")
            assert trainer.global_step == 3
            assert all(t.isfinite().all() for t in rule.state_dict().values())


SGD = torch.optim.SGD


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epsilon": NAN}, "epsilon is nan"),
        ({"beta": INF}, "beta is inf"),
        ({"epsilon": 1e-300}, "epsilon is 1e-300"),
        ({"forgetting_factor": 1e-30}, "forgetting_factor is 1e-30"),
        ({"feedforward_learning_rates": [1e300]}, "feedforward_learning_rates is 1e\\+300"),
        ({"beta": None}, "beta is None"),
        ({"step_size_decay": -1.0}, "step_size_decay is -1"),
        ({"free_steps": 10**12}, "free_steps is 1000000000000"),
        ({"layer_sizes": [64, 10**9, 10]}, "layer_sizes is .64, 1000000000, 10"),
        ({"optimizer": torch.optim.LBFGS, "layer_sizes": [64, 10]}, "LBFGS evaluates a loss several times a step"),
        ({"optimizer": torch.optim.SparseAdam}, "SparseAdam can't take a step"),
        ({"optimizer": partial(SGD, lr=-1)}, "The optimizer can't be built .Invalid learning rate: -1"),
        ({"optimizer": partial(SGD, lr=NAN)}, "The optimizer sets a learning rate to nan"),
        ({"lr_scheduler": partial(lr_scheduler.ExponentialLR, gamma=-1)}, "ExponentialLR sets a learning rate to -"),
        ({"lr_scheduler": partial(lr_scheduler.StepLR, step_size=0)}, "StepLR|The lr_scheduler can't be built"),
        ({"lr_scheduler": partial(lr_scheduler.CosineAnnealingLR, T_max=0)}, "CosineAnnealingLR can't take a step"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_never_be_meant_is_refused_from_python(options, said):
    rates: dict[str, Any] = {"feedforward_learning_rates": None, "feedback_learning_rates": None}
    if "lr_scheduler" in options:
        rates["lr_scheduler_interval"] = "step"
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=3, accelerator="cpu", enable_model_summary=False, **quiet)
    with pytest.raises(UserError, match=said):
        trainer.fit(CorInfoMax(**{"layer_sizes": [64, 5, 10], **rates, **options}), DigitsDataModule(subset_size=60))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model.init_args.epsilon=null"], "epsilon is None"),
        (["--data.init_args.batch_size=null"], "batch_size is None"),
        (["--trainer.val_check_interval=0"], "val_check_interval is 0"),
        (["--trainer.val_check_interval=1000000"], "must be less than or equal to the number of the training batches"),
        (["--trainer.check_val_every_n_epoch=0"], "check_val_every_n_epoch is 0"),
        (["--trainer.accelerator=nonsense"], "The Trainer can't be built"),
        (["--trainer.accelerator=tpu"], "accelerator is tpu, and none works here"),
        (["--seed_everything=-1"], "seed_everything is -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_reached_a_traceback_gets_its_sentence(args, said, capsys):
    more = ["--model.init_args.feedforward_learning_rates=1", "--model.init_args.feedback_learning_rates=1"]
    assert main(["fit", *more, *args]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_memory_that_is_not_there_gets_its_sentence():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**48)
    assert sentence(caught.value) == "There is not enough memory for this run: make the network or batch_size smaller."


@pytest.mark.parametrize("every", [[], ["--checkpoint_every_n_steps=3"]], ids=["epoch", "step"])
def test_divergence_ends_training_and_keeps_the_last_good_checkpoint(every, capsys):
    """A rate of 1e30 is legal; what comes of it is not: nothing goes on silently, and no checkpoint is overwritten."""
    small = ["--trainer.enable_progress_bar=false", "--data.init_args.subset_size=60", "--trainer.max_epochs=1"]
    assert main(["fit", "--config", str(CONFIGS / "digits/nudged_predictive_coding.yaml"), *small]) == 0
    last = Path("lightning_logs/digits/nudged_predictive_coding/version_0/checkpoints/last.ckpt")
    good = last.read_bytes()
    capsys.readouterr()
    explode = ["--model.init_args.optimizer.init_args.lr=1e30", "--trainer.max_epochs=2", *every]
    assert main(["fit", "--ckpt_path=last", *explode]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Training has diverged: network.wiring.")
    assert said.count("\n") == 1
    assert last.read_bytes() == good
    assert [path.name for path in last.parent.glob("step=*")] == []
