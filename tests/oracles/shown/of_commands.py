"""What other commands draw, print and write of numbers: look, predict, fit's last words, verify, benchmark."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.io import write_png

from bioplausible import trained
from bioplausible.commands import benchmark, look, own_pictures, summary, verify
from bioplausible.commands.benchmark import cost, growth, table
from bioplausible.commands.look import figures
from bioplausible.commands.own_pictures import OwnPictures, PicturesCSV
from bioplausible.commands.verify import replay
from bioplausible.observers.predictions import PredictionsCSV
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, LastCheckpoint
from tests.helpers import CONFIGS, GOLDEN
from tests.oracles.shown.catching import catching
from tests.oracles.shown.keeping import Shown
from tests.oracles.shown.training import TRAININGS, FewImages

Case = tuple[str, str, Shown]


def options_of(arguments: Callable[[], argparse.ArgumentParser]) -> set[str]:
    """Returns the names of a command's options."""
    return {action.dest for action in arguments()._actions if action.option_strings} - {"help"}


# ----------------------------------------------------------------------------------------------------------------- look

SOME_OF_LOOK = ["--only", "settling", "tsne", "alignment"]
ALL_OF_LOOK = ["--only", *look.FIGURES]

LOOKED_AT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "two phases": ({}, ALL_OF_LOOK),
    "images": ({}, ["--only", "receptive_fields", "activity", "tsne", "alignment"]),
    "feedback": ({}, ALL_OF_LOOK),
    "goodness": ({}, ALL_OF_LOOK),
    "complex": ({}, ["--only", "activity", "tsne", "confusion_matrix"]),
    "skip": ({}, ["--only", "settling", "alignment"]),
    "not validated": ({"one_class": True}, ALL_OF_LOOK),
}
"""Networks, further options of the data that they are shown, and which figures are drawn of them."""


def of_look(disturbance: float) -> Iterator[Case]:
    """Yields what ``look`` draws of trained networks, and of one whose data is not known."""
    for name, (data, args) in LOOKED_AT.items():
        yield name, "", _looked(name, data, args, disturbance)
    first = "feedback"
    for case, args in {
        "only=tsne alignment": ["--only", "tsne", "alignment"],
        "only=": [],
        "samples=7": ["--samples", "7", *SOME_OF_LOOK],
        "samples=0": ["--samples", "0"],
        "which=best": [*ALL_OF_LOOK, "--which", "best"],
        "out=drawn": [*ALL_OF_LOOK, "--out", "drawn"],
    }.items():
        yield first, case, _looked(first, LOOKED_AT[first][0], args, disturbance)
    yield "unknown data", "", _looked("untracked", None, ALL_OF_LOOK, disturbance)


def _looked(name: str, data: Mapping[str, Any] | None, args: list[str], disturbance: float) -> Shown:
    training = TRAININGS[name]
    with catching() as before:
        _, rule, _ = training.run(before, [], disturbance)
    rule.trainer = None
    with catching() as caught:
        of_network = None if data is None else FewImages(**training.data, **data)
        caught.patch.setattr(figures, "load_and_compare", lambda checkpoint: ((rule, of_network), None))
        caught.patch.setattr(look, "run_named", lambda name: None)
        caught.patch.setattr(trained, "checkpoint_of", lambda run, which: Path(run, "checkpoints", f"{which}.ckpt"))
        look.run(["run", *args])
        caught.shown["files"] = " ".join(sorted(map(str, Path().rglob("*.png"))))
    return caught.shown


# -------------------------------------------------------------------------------------------------------------- predict


class Unnamed(FewImages):
    """Images whose classes have no names but their numbers."""

    class_names = ()


class Framed(FewImages):
    """Images that are dark at their border."""

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns them."""
        images, labels = super().load(train)
        images[:, :, [0, -1]] = images[:, :, :, [0, -1]] = 0.0
        return images, labels


def of_predictions(disturbance: float) -> Iterator[Case]:
    """Yields tables of predictions: of a test split with and without names, and of pictures of one's own."""
    for name, module in (("two phases", FewImages), ("feedforward", FewImages), ("goodness", Unnamed)):
        with catching() as caught:
            trainer, rule, _ = TRAININGS[name].run(caught, [], disturbance)
            caught.shown.clear()
            trainer.callbacks.append(PredictionsCSV(Path("made/predictions.csv")))
            trainer.predict(rule, datamodule=module(), return_predictions=False)
            caught.shown |= _lines(Path("made/predictions.csv"))
        yield name, "", caught.shown
    for module in (FewImages, Unnamed, Framed):
        for invert in (False, True):
            with catching() as caught:
                trainer, rule, _ = TRAININGS["feedforward"].run(caught, [], disturbance)
                caught.shown.clear()
                pictures = OwnPictures(module(), _pictures(), invert)
                trainer.callbacks.append(PicturesCSV(Path("pictures.csv"), pictures))
                predicted = trainer.predict(rule, datamodule=pictures)
                print(own_pictures.as_table(pictures, predicted))
                print(own_pictures.warning(pictures))
                caught.shown |= _lines(Path("pictures.csv"))
            yield f"pictures of {module.__name__}{', inverted' * invert}", "", caught.shown


def _lines(file: Path) -> Shown:
    return {f"{file.name} {i}": line for i, line in enumerate(file.read_text().splitlines())}


def _pictures() -> list[str]:
    draw, names = np.random.RandomState(4), []
    for i, (height, width) in enumerate([(4, 4), (8, 8), (6, 12), (4, 4), (9, 5)]):
        names.append(f"{'long_' * i}{i}.png")
        pixels = draw.randint(0, 256 if i else 90, size=(1, height, width)).astype(np.uint8)
        write_png(torch.from_numpy(255 - pixels if i == 3 else pixels), names[-1])
    return names


# ---------------------------------------------------------------------------------------------------- fit's last words


def of_summary(disturbance: float) -> Iterator[Case]:
    """Yields what ``fit`` says at its end, and of how many images."""
    for name in ("two phases", "images", "cut", "not validated", "few tested", "unlogged"):
        training = TRAININGS[name]
        for validated in (True, False):
            with catching() as caught:
                callbacks = [LastCheckpoint(), BestCheckpoint()] if name != "unlogged" else []
                if validated and training.data.get("validation_split", 1):
                    training = training.but(limit_val_batches=1) if name == "few tested" else training
                trainer, rule, data = training.run(caught, callbacks, disturbance)
                caught.shown.clear()
                found: list[Mapping[str, Any]] = [{}, {}]
                if validated:
                    checked = trainer.validate(rule, datamodule=data, verbose=False) if data.has_validation else []
                    found = [*(checked or [{}]), *trainer.test(rule, datamodule=data, verbose=False)]
                    caught.shown.clear()
                print("\n".join(summary.summary(trainer, rule, data, 3723.6, *found)))
            yield name if validated else f"{name}, not evaluated", "", caught.shown


# --------------------------------------------------------------------------------------------------------------- verify

MADE_UP = (("weights", 3e-7, "W_1[0, 2]"), ("activity", 2e-9, "r[1]"), ("weights", 4e-5, "W_2[1]"), ("B", 0.0, "B"))
"""Groups, errors and places."""


def _made_up(path: Path, accelerator: str) -> list[replay.Difference]:
    scale = 1.0 if "slow" in path.name else 1e-3
    return [replay.Difference(group, scale * error, f"{place} ({accelerator})") for group, error, place in MADE_UP]


def of_verify(disturbance: float) -> Iterator[Case]:
    """Yields what ``verify`` prints of differences that are made up here: real ones are nothing but rounding."""
    (first, second, *_) = sorted(GOLDEN.glob("*.npz"))
    for case, args in {
        "": [],
        "tolerance=1e-06": ["--tolerance", "1e-6"],
        "tolerance=0.001": ["--tolerance", "1e-3"],
        "tolerance=4e-05": ["--tolerance", "4e-5"],
        "accelerator=gpu": ["--accelerator", "gpu"],
        "accelerator=gpu, with the cpu alone": ["--accelerator", "gpu"],
    }.items():
        with catching() as caught:
            caught.patch.setattr(replay, "replay", _made_up)
            caught.patch.setattr(torch.cuda, "is_available", lambda case=case: "cpu" not in case)
            caught.shown["status"] = float(verify.run([str(first), str(second), *args]))
        yield "made up", case, caught.shown


# ------------------------------------------------------------------------------------------------------------ benchmark

TIMED = ["digits/backpropagation.yaml", "digits/corinfomax.yaml", "digits/feedback_alignment_conv.yaml"]


def of_benchmark(disturbance: float) -> Iterator[Case]:
    """Yields the tables of ``benchmark``, by a clock whose readings are always the same."""
    for case, args in {
        "": [],
        "batches=0": ["--batches", "0"],
        "batches=300": ["--batches", "300"],
        "batches=70": ["--batches", "70"],
        "threads=2": ["--threads", "2"],
        "threads=0": ["--threads", "0"],
        "sweep=True": ["--sweep"],
    }.items():
        with catching() as caught:
            threads = [1]
            caught.patch.setattr(torch, "set_num_threads", threads.append)
            caught.patch.setattr(torch, "get_num_threads", lambda threads=threads: threads[-1])
            caught.patch.setattr(cost, "timed", Timed())
            caught.patch.setattr(table, "timed", Timed())
            caught.patch.setattr(cost, "peak_memory", lambda step, device: 1_234_567)
            caught.patch.setattr(table, "training", lambda file, batches: batches / 7 + len(file.name))
            caught.patch.setattr(growth, "cost", _cost)
            caught.patch.setattr(torch, "__version__", "2.6")
            names = TIMED[1:] if case == "sweep=True" else TIMED  # wide networks take long to build
            benchmark.run([*(str(CONFIGS / name) for name in names), *args])
        yield "three recipes", case, caught.shown


class Timed:
    """In the place of what measures a time: each is another one, by a fixed rule, and the work is done once."""

    def __init__(self) -> None:
        self._calls = count()

    def __call__(self, work: Callable[[], Any], repeats: int, device: torch.device) -> float:
        """Returns milliseconds."""
        work()
        return (1 + 7 * next(self._calls) % 11) / (20 + repeats)


def _cost(rule: Any, batch_size: int, rounds: int) -> cost.Cost:
    """Returns a cost that tells the network, its iterations and the batch size: to measure it would take minutes."""
    iterations = rule.hparams.get("free_steps", 1)
    operations = batch_size * iterations * sum(p.numel() for p in rule.parameters())
    return cost.Cost(operations, operations**0.9 / 1e6, operations**0.95 / 1e6, 4 * operations // rounds)


SUBJECTS: dict[str, tuple[Callable[[float], Iterator[Case]], Callable[[], set[str]]]] = {
    "Look": (of_look, lambda: options_of(look.arguments)),
    "Predictions": (of_predictions, set),
    "Summary": (of_summary, set),
    "Verify": (of_verify, lambda: options_of(verify.arguments)),
    "Benchmark": (of_benchmark, lambda: options_of(benchmark.arguments)),
}
"""What is shown by name, and the names of the options that are varied."""
