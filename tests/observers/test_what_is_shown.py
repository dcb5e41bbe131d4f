"""Numbers that observers log, of states and matrices made up here so that each mistake shows."""

import re
from types import SimpleNamespace

import pytest
import torch
from matplotlib.markers import MarkerStyle
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import TrainerFn

from bioplausible import Backpropagation, CorInfoMax, EquilibriumPropagation, observers
from bioplausible.observers import Cost, Guard, alignment, cost, information, representations
from bioplausible.observers.alignment import cosine
from bioplausible.observers.drawings import confusion_of, draw_confusion, draw_tsne
from bioplausible.observers.information import Information
from bioplausible.observers.representations import Representations
from bioplausible.observers.settling import Trajectory, draw_settling
from tests.helpers import SIZES, batch, build


def trainer_of(**entries):
    known = {"loggers": [], "logger": None, "log_dir": None, "global_step": 1, "sanity_checking": False}
    return SimpleNamespace(**{**known, "state": SimpleNamespace(fn=TrainerFn.FITTING), **entries})


def test_a_confusion_matrix_has_a_row_for_each_true_class_and_sums_to_one_along_it():
    look, rule = Representations(samples=10), build(EquilibriumPropagation)
    true = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
    predicted, x = torch.tensor([0, 1, 1, 2, 1, 1, 0, 3]), torch.rand(8, 7)
    for part in (slice(0, 5), slice(5, None)):
        look.on_validation_batch_end(trainer_of(), rule, predicted[part], (x[part], true[part]), 0)
    look.on_validation_epoch_end(trainer_of(), rule)
    expected = [[0.25, 0.5, 0.25, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert look._confusion.tolist() == expected
    look.on_validation_batch_end(trainer_of(), rule, true[:1], (x[:1], true[:1]), 0)
    look.on_validation_epoch_end(trainer_of(), rule)
    assert look._confusion.sum() == 1  # of that validation alone
    for other in ({"sanity_checking": True}, {"state": SimpleNamespace(fn=TrainerFn.VALIDATING)}):
        look.on_validation_batch_end(trainer_of(), rule, predicted, (x, true), 0)
        look.on_validation_epoch_end(trainer_of(**other), rule)
        assert look._confusion.sum() == 1


def test_dead_saturated_and_silent_units_are_told_apart(monkeypatch):
    """Of ten units: three silent for all images, two constant, one silent for half of them, the rest alive."""
    logged = {}
    monkeypatch.setattr(representations, "log_scalars", lambda trainer, scalars: logged.update(scalars))
    rule = build(EquilibriumPropagation, [7, 10, 4])
    r = torch.rand(20, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    r[:, :3] = torch.tensor([0.0, 9e-4, -9e-4])
    r[:, 3:5] = torch.tensor([1.0, 0.3])
    r[::2, 5] = 0
    r[:, 6] *= -1  # far below 0 is not silent
    monkeypatch.setattr(rule, "activity", lambda x: [x, r, r[:, :4]])
    look = Representations(samples=20)
    monkeypatch.setattr(look, "_images", lambda trainer, rule: (torch.rand(20, 7), None))
    look.look(trainer_of(), rule, None, None)
    assert logged["representation/layer_1_dead"] == pytest.approx(0.3)
    assert logged["representation/layer_1_saturated"] == pytest.approx(0.2)
    assert logged["representation/layer_1_silent"] == pytest.approx(0.3 + 0.1 / 2)
    assert logged["representation/layer_2_dead"] == pytest.approx(0.75)
    assert logged["representation/layer_2_saturated"] == pytest.approx(0.25)


@torch.no_grad()
@pytest.mark.parametrize("regularized", [False, True])
def test_the_distance_of_B_is_that_from_the_nudged_phases_correlation(regularized, monkeypatch):
    logged = {}
    monkeypatch.setattr(information, "log_scalars", lambda trainer, scalars: logged.update(scalars))
    monkeypatch.setattr(information, "log_figure", lambda *args: None)
    rule = build(CorInfoMax, track_correlations=True, regularize_lateral=regularized, epsilon=0.1)
    for name, correlations in rule.correlations.items():
        for k in (1, 2, 3):
            A = torch.rand(SIZES[k], SIZES[k], dtype=torch.float64)
            correlations.of_state(k).copy_(A @ A.t() + (2 if name == "free" else 1) * torch.eye(SIZES[k]))
    x, y, _ = batch()
    Information().look(trainer_of(), rule, x, y)
    for k in (1, 2, 3):
        B, R = rule.network.laterals[k].weight, rule.correlations["nudged"].of_state(k)
        inverse = (R + (0.1 if regularized else 0) * torch.eye(len(R))).inverse()
        assert logged[f"information/B_layer_{k}_distance"] == pytest.approx(
            float((B - inverse).norm() / inverse.norm())
        )
        eigenvalues = torch.linalg.eigvalsh(B)
        assert logged[f"information/B_layer_{k}_smallest"] == pytest.approx(float(eigenvalues.min()), abs=1e-9)
        assert logged[f"information/B_layer_{k}_largest"] == pytest.approx(float(eigenvalues.max()))


@torch.no_grad()
def test_the_information_drawn_is_that_of_each_phases_states_and_estimates():
    """A third phase is drawn with the estimates of the second, for it has none."""
    rule = build(CorInfoMax, track_correlations=True, three_phase=True)
    for number, correlations in enumerate(rule.correlations.values(), start=2):
        for R in correlations.buffers():
            R.mul_(number)
    x, _, target = batch()
    phases = rule.settle(x, target)
    axes = information.draw_information(rule, x, target).axes
    for i, (name, phase) in enumerate(phases.items()):
        expected = information.information_of(rule, phase.activity, "free" if name == "free" else "nudged")
        for axis, published in zip(axes[2 * i : 2 * i + 2], (False, True), strict=True):
            assert axis.get_title().startswith(f"{name} phase")
            said = [f"forward: layer {k} from below" for k in (1, 2, 3)]
            said += [f"backward: layer {k} from above" for k in (1, 2)]
            assert sorted(line.get_label() for line in axis.lines) == sorted(said)
            for line in axis.lines:
                way, k = re.fullmatch(r"(\w+): layer (\d) .*", line.get_label()).groups()
                key = f"{'published ' * published}{way} {int(k) + (way == 'backward')}"  # of V_k, which predicts k − 1
                assert float(line.get_ydata()[-1]) == pytest.approx(expected[key])
            steps = rule.nudged_step_sizes if i else rule.free_step_sizes
            assert all(len(line.get_ydata()) == len(steps) + 1 for line in axis.lines)


def test_a_drawn_confusion_matrix_has_the_true_classes_as_rows_from_the_top_and_says_so():
    confusion = confusion_of(predicted=torch.tensor([1, 1, 2, 0]), true=torch.tensor([0, 0, 1, 2]), classes=3)
    assert confusion.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    axis = draw_confusion(confusion, "test", ["cat", "dog", "eel"]).axes[0]
    (image,) = axis.images
    assert image.get_array().tolist() == confusion.tolist()
    assert image.origin == "upper"
    assert image.get_clim() == (0, 1)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted class", "true class")
    assert "test split" in axis.get_title()


@pytest.mark.parametrize("names", [None, ["cat", "dog", "eel", "fox"]])
def test_a_map_shows_each_image_at_its_place_as_the_number_of_its_class(names, monkeypatch):
    hidden, labels = [torch.rand(9, 4), torch.rand(9, 2, 3, 3)], torch.tensor([3, 0, 2, 2, 0, 3, 3, 0, 2])
    # a map that shows the first two values of each image
    monkeypatch.setattr("sklearn.manifold.TSNE.fit_transform", lambda self, r: r[:, :2])
    figure = draw_tsne(hidden, labels, 4, names)
    for axis, r in zip(figure.axes, hidden, strict=True):
        for dots, c in zip(axis.collections, (0, 2, 3), strict=True):
            marker = MarkerStyle(f"${c}$")
            shape = marker.get_path().transformed(marker.get_transform())
            assert dots.get_paths()[0].vertices == pytest.approx(shape.vertices)
            assert dots.get_offsets().data == pytest.approx(r.flatten(1)[labels == c][:, :2].numpy())
    said = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert said == ([] if names is None else ["0 = cat", "2 = eel", "3 = fox"])


def test_what_settling_draws_is_each_layers_residual_by_iteration_and_each_energy_from_the_start_on():
    found = {
        "free": Trajectory([[0.5, 0.25, 0.0], [0.4, 0.0, 0.0]], [3.0, 2.0, 1.5], [0.0, 0.0, 0.0], 0.25),
        "nudged": Trajectory([[0.8, 0.7, 0.6]], [], [1.0, 1.0, 1.0], 1.0),
        "last": Trajectory([[0.1, 0.2, 0.3]], [1.0, 0.5], [0.0, 0.0, 0.0], 0.0),
    }
    *phases, energy = draw_settling(found, 0.3).axes
    for axis, (name, trajectory) in zip(phases, found.items(), strict=True):
        assert axis.get_title() == f"{name} phase: {trajectory.samples_unsettled:.0%} of the samples not settled"
        *layers, tolerance = axis.lines
        assert list(tolerance.get_ydata()) == [0.3, 0.3]
        at_rest = [", at rest" * (not any(of_layer)) for of_layer in zip(*trajectory.residuals, strict=True)]
        assert [line.get_label() for line in layers] == [f"layer {k}{rest}" for k, rest in enumerate(at_rest, start=1)]
        for line, of_layer in zip(layers, zip(*trajectory.residuals, strict=True), strict=True):
            assert list(line.get_xdata()) == list(range(1, len(of_layer) + 1))
            shown = [value for value in line.get_ydata() if value == value]  # a logarithmic axis has no 0
            assert shown == [value for value in of_layer if value]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in energy.lines}
    assert lines == {"free phase": ([0, 1, 2], [3.0, 2.0, 1.5]), "last phase": ([0, 1], [1.0, 0.5])}


def test_a_cosine_has_a_sign_and_no_length():
    a = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    b = torch.tensor([[6.0, 1.0], [0.0, 0.0]])
    assert float(cosine(a, b)) == pytest.approx(18 / 5 / 37**0.5)
    assert float(cosine(-2 * a, b)) == pytest.approx(-18 / 5 / 37**0.5)
    assert float(cosine(None, b)) == float(cosine(torch.zeros_like(b), b)) == 0


def test_the_cosine_compares_the_update_with_the_descent_not_the_ascent(monkeypatch):
    logged = {}
    monkeypatch.setattr(alignment, "log_scalars", lambda trainer, scalars: logged.update(scalars))
    rule = build(EquilibriumPropagation)
    x, y, _ = batch()
    watch = alignment.Alignment(every_n_steps=3)
    for step in range(3):
        trainer = trainer_of(global_step=step)
        watch.on_train_batch_start(trainer, rule, (x, y), step)
        for k, c in enumerate(rule.network.connections, start=1):
            g = watch._gradients.get(f"layer_{k}")
            c.weight.grad = torch.zeros_like(c.weight) if g is None else (-1) ** k * 5 * g
        watch.on_train_batch_end(trainer, rule, None, (x, y), step)
        assert bool(logged) == (step == 2)
    assert logged == {f"alignment/layer_{k}_cosine": pytest.approx((-1) ** k) for k in (1, 2, 3)}


@pytest.mark.parametrize("together", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [6, 7, 20])
@pytest.mark.parametrize("cls", [Backpropagation, EquilibriumPropagation])
def test_a_sample_costs_what_it_costs_alone_however_many_processes_share_the_batch(cls, samples, together, monkeypatch):
    rule, trainer = build(cls), Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    alone = cost.operations_per_sample(trainer, rule, 1)  # each of these products has a row a sample
    monkeypatch.setattr(cost, "processes", lambda: together)
    assert cost.operations_per_sample(trainer, rule, samples) == pytest.approx(alone, rel=1e-12)
    assert rule.trainer is trainer


SAVED = [
    (Guard, {"_collapsed_looks": 3, "_collapsed_batches": 7, "_how": "all classes get the same output"}),
    (Cost, {"_seconds": 1.5, "_samples": 40, "_operations_per_sample": 2.5}),
    (Representations, {"_confusion": torch.eye(3)}),
]


@pytest.mark.parametrize(("cls", "held"), SAVED, ids=lambda value: getattr(value, "__name__", ""))
def test_observers_take_up_all_that_they_save(cls, held):
    before, after = cls(), cls()
    for name, value in held.items():
        setattr(before, name, value)
    assert len(before.state_dict()) == len(held)
    after.load_state_dict(before.state_dict())
    for name, value in held.items():
        found = getattr(after, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, name


def test_every_observer_that_saves_something_is_looked_at_above():
    own = {cls for cls in vars(observers).values() if isinstance(cls, type) and "state_dict" in vars(cls)}
    assert own == {cls for cls, _ in SAVED}
