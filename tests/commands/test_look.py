"""``look``: figures of a trained network, drawn as observers draw them while it trains."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import (
    ArraysDataModule,
    Backpropagation,
    CorInfoMax,
    DigitsDataModule,
    FeedbackAlignment,
    ForwardForward,
)
from bioplausible.__main__ import main
from bioplausible.commands.look import FIGURES, ON_DEMAND, figures
from bioplausible.observers.alignment import cosines_of_batch, draw_alignment
from bioplausible.observers.drawings import draw_activity, draw_confusion
from bioplausible.rules.backpropagation import FeedforwardRule
from tests.helpers import NETWORKS, RUN, VARIANTS, all_rules, batch, build

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
FIT = ["fit", "--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false"]
FIT += ["--data.init_args.subset_size", "120"]
LOOK = Path("look/made")


def made(rule, data=None, loader=None) -> str:
    """Trains a rule for two batches from Python, and returns its checkpoint."""
    trainer = Trainer(enable_checkpointing=False, max_steps=2, **QUIET)
    trainer.fit(rule, loader, datamodule=data)
    trainer.save_checkpoint("made.ckpt")
    return "made.ckpt"


def drawn(folder) -> set[str]:
    for path in Path(folder).glob("*.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 50
    return {path.stem for path in Path(folder).glob("*")}


def digits(**options):
    return DigitsDataModule(subset_size=60, **options)


def test_every_figure_has_a_line_of_help_and_is_drawn_by_something(capsys):
    assert FIGURES.keys() == figures.DRAW.keys()
    with pytest.raises(SystemExit):
        main(["look", "--help"])
    said = capsys.readouterr().out.splitlines()
    for name, text in FIGURES.items():
        assert [line.split() for line in said].count([name, *text.split()]) == 1


@pytest.mark.sampled
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_every_rule_can_be_looked_at(cls, capsys):
    options = {"dual_step_sizes": {1: 0.01, 2: 0.02}} if cls.__name__ == "CorInfoMaxSparse" else {}
    path = made(cls([64, 8, 10], **options), digits(validation_split=0.2))
    capsys.readouterr()
    assert main(["look", path, "--samples", "20"]) == 0
    expected = {"receptive_fields", "settling", "activity", "confusion_matrix", "alignment"}
    if issubclass(cls, (FeedforwardRule, ForwardForward)):  # nothing iterates
        expected.remove("settling")
    assert drawn(LOOK) == expected
    said = capsys.readouterr().out
    for name in FIGURES.keys() - set(ON_DEMAND):
        (line,) = (line for line in said.splitlines() if f" {name}.png" in line)
        assert ("none: " in line) == (name not in expected)
    assert {path.stem for path in LOOK.glob("*.pdf")} == expected - {"receptive_fields"}


def test_a_network_that_was_trained_in_float64_can_be_looked_at():
    Trainer(max_steps=2, precision="64-true", default_root_dir="runs", **QUIET).fit(
        rule := CorInfoMax([64, 8, 10]), datamodule=digits(validation_split=0.2)
    )
    rule.trainer.save_checkpoint("made.ckpt")
    assert main(["look", "made.ckpt", "--samples", "20"]) == 0
    assert drawn(LOOK) == {"receptive_fields", "settling", "activity", "confusion_matrix", "alignment"}


def test_figures_are_those_of_the_observers(monkeypatch):
    observers = "[{class_path: Representations}, {class_path: Information}]"
    tracked = ["--model.track_correlations", "true", "--model.track_correlations_every_n_steps", "1"]
    assert main([*FIT, *tracked, "--trainer.callbacks", observers, "--data.validation_split", "0.3"]) == 0
    checkpoint = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    (expected,) = (s["confusion"] for s in checkpoint["callbacks"].values() if isinstance(s, dict) and "confusion" in s)
    seen = []

    def draw(confusion, split, names=None):
        seen.append((confusion, split))
        return draw_confusion(confusion, split, names)

    monkeypatch.setattr(figures, "draw_confusion", draw)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in RUN.rglob("*") if path.is_file()}
    assert main(["look", str(RUN)]) == 0
    for path, content in before.items():
        assert hashlib.sha256(path.read_bytes()).digest() == content
    look = RUN / "look/last"
    assert drawn(look) == FIGURES.keys() - set(ON_DEMAND)
    ((confusion, split),) = seen
    assert torch.equal(confusion, expected)
    assert split == "validation"
    observed = RUN / "figures/receptive_fields.png"
    assert (look / "receptive_fields.png").read_bytes() == observed.read_bytes()


def test_without_a_validation_split_the_test_split_is_shown_and_classes_have_their_names(monkeypatch):
    names = [f"class {i}" for i in range(10)]
    monkeypatch.setattr(DigitsDataModule, "class_names", names, raising=False)
    path = made(Backpropagation([64, 8, 10]), digits())
    seen = []
    monkeypatch.setattr(figures, "draw_confusion", lambda *given: seen.append(given) or draw_confusion(*given))
    assert main(["look", path, "--only", "confusion_matrix", "--out", "here/there"]) == 0
    assert drawn("here/there") == {"confusion_matrix"}
    ((confusion, split, given),) = seen
    assert (split, given) == ("test", names)
    assert confusion.shape == (10, 10)
    figure = draw_confusion(*seen[0])
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert [label.get_text() for label in labels] == names


def test_data_that_are_others_by_now_are_not_drawn_as_those_of_training(capsys):
    """Classes in another order would have wrong names, and of shuffled images some for validation were trained on."""
    x, y = np.random.default_rng(0).random((60, 4, 4), dtype=np.float32), np.arange(60) % 3
    content = {"x": x, "y": y, "x_test": x[:9], "y_test": y[:9], "class_names": ["ant", "bee", "cow"]}
    np.savez("set.npz", **content)
    path = made(Backpropagation([16, 3]), ArraysDataModule("set.npz", validation_split=0.2))

    def figure(**changed):
        np.savez("set.npz", **content | changed)
        capsys.readouterr()
        assert main(["look", path, "--only", "confusion_matrix"]) == 0
        return capsys.readouterr().out

    assert "confusion_matrix.png  which classes are taken for which" in figure()
    with pytest.warns(UserWarning, match="trained on the classes ant, bee, cow, and the data have cow, bee, ant"):
        said = figure(y=2 - y, y_test=2 - y[:9], class_names=["cow", "bee", "ant"])
    assert "confusion_matrix.png  none: the data on which" in said
    shuffled = np.random.default_rng(1).permutation(60)
    assert "confusion_matrix.png  none: The training images are others" in figure(x=x[shuffled], y=y[shuffled])


def test_a_map_is_drawn_on_demand_and_best_in_a_folder_of_its_own():
    assert main([*FIT, "--data.validation_split", "0.3"]) == 0
    assert main(["look", "last", "--which", "best", "--only", "tsne", "--samples", "30"]) == 0
    assert drawn(RUN / "look/best") == {"tsne"}


def test_of_a_run_without_a_data_module_what_the_weights_say_is_drawn(capsys):
    x, y, _ = batch([64, 8, 10], n=40)
    loader = DataLoader(TensorDataset(x.float(), y), batch_size=20)
    assert main(["look", made(FeedbackAlignment([64, 8, 10]), loader=loader), "--samples", "20"]) == 0
    said = capsys.readouterr().out
    assert drawn(LOOK) == {"alignment"}
    assert said.count("none: the data on which it was trained are not known, or not to be had here") == 3
    assert "receptive_fields.png  none: layer 1 sees no grey or coloured images" in said
    network = [[1, 8, 8], {"conv": 3, "kernel": 3}, 10]
    assert main(["look", made(Backpropagation(network=network), loader=loader), "--out", "second"]) == 0
    assert drawn("second") == {"receptive_fields"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "There is no run or checkpoint nothing: train first"),
        (["made.ckpt", "--samples", "0"], "samples is 0: it must be at least 1"),
        (["made.ckpt", "--only", "everything"], "invalid choice: 'everything'"),
        (["made.ckpt", "--out", "made.ckpt/here"], "The figures can't be written to made.ckpt/here (Not a directory)"),
        ([".", "--which", "best"], "There is no best.ckpt"),
    ],
)
def test_mistakes_are_told_in_one_sentence(words, sentence, capsys):
    made(Backpropagation([64, 8, 10]), digits())
    capsys.readouterr()
    assert main(["look", *words]) == 2
    assert sentence in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize("network", ["dense", "max pool", "strided skip"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cosines_of_a_batch_change_nothing(variant, network):
    cls, options = VARIANTS[variant]
    rule, (x, y, _) = build(cls, network, **options), batch(network)
    before = {name: value.clone() for name, value in rule.state_dict().items() if torch.is_tensor(value)}
    numbers = torch.get_rng_state()
    with torch.no_grad():
        found = cosines_of_batch(rule, x, y)
    names = {f"layer_{name}" for name, c in rule.network.wiring.items() if c.weight is not None}
    assert found.keys() in (names, set())
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for value in found.values())
    assert all(torch.equal(value, rule.state_dict()[name]) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(p.grad is None for p in rule.parameters())
    if cls is Backpropagation:
        assert list(found.values()) == pytest.approx([1] * len(names))
    if variant == "FeedbackAlignment":
        assert found[f"layer_{rule.network.L}"] == pytest.approx(1)
        assert abs(found["layer_1"]) < 0.99


def test_bars_are_the_angles_and_cosines():
    figure = draw_alignment({2: torch.tensor(70.0), 3: torch.tensor(30.0)}, {"layer_1": 0.5, "layer_3_from_1": -0.25})
    heights = [[bar.get_height() for bar in axis.patches] for axis in figure.axes]
    assert heights == [[70, 30], [0.5, -0.25]]
    labels = [[label.get_text() for label in axis.get_xticklabels()] for axis in figure.axes]
    assert labels == [["layer 2", "layer 3"], ["layer 1", "layer 3 from 1"]]
    assert len(draw_alignment({}, {"layer_1": 0.5}).axes) == len(draw_alignment({2: torch.tensor(1.0)}, {}).axes) == 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cls", [CorInfoMax, ForwardForward, Backpropagation])
@torch.no_grad()
def test_activities_are_shown_whole(cls, network):
    rule, (x, _, target) = build(cls, network), batch(network)
    phases = rule.settled(x, target)
    figure = draw_activity(phases)
    assert [axis.get_title() for axis in figure.axes] == [f"layer {k}" for k in range(1, rule.network.L + 1)]
    for k, axis in enumerate(figure.axes, start=1):
        assert [stairs.get_label() for stairs in axis.patches] == [f"{name} phase" for name in phases]
        for stairs, phase in zip(axis.patches, phases.values(), strict=True):
            data = stairs.get_data()
            assert data.values.sum() == pytest.approx(1)
            middles = (data.edges[1:] + data.edges[:-1]) / 2
            width = data.edges[1] - data.edges[0]
            assert (data.values * middles).sum() == pytest.approx(float(phase.activity[k].mean()), abs=width / 2)
