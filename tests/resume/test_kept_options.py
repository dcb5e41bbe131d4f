"""Options of optimizer and schedule that nobody names on resume stay the checkpoint's, those that are named act.

Oracle: a run that nobody interrupted, or one whose options were all named again.
"""

import warnings
from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.cli import ReduceLROnPlateau
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, StepLR

from bioplausible import (
    Backpropagation,
    CorInfoMax,
    DigitsDataModule,
    EquilibriumPropagation,
    NudgedPredictiveCoding,
    PiecewisePower,
    PredictiveCoding,
    UserError,
    WarmupCosine,
)
from bioplausible.__main__ import main
from bioplausible.resume.told_callables import plain_state, schedule_options
from tests.helpers import FEW, differences

OPTIMIZERS = {
    "SGD": partial(SGD, lr=0.2, momentum=0.5, nesterov=True),
    "Adam": partial(Adam, lr=0.01, betas=(0.8, 0.9), amsgrad=True),
    "AdamW": partial(AdamW, lr=0.01, weight_decay=0.3),
    "RMSprop": lambda groups: RMSprop(groups, lr=0.02, alpha=0.7, centered=True),
}
SCHEDULES = {
    "none": None,
    "StepLR": partial(StepLR, step_size=1, gamma=0.5),
    "CosineAnnealingLR": partial(CosineAnnealingLR, T_max=5, eta_min=1e-4),
    "OneCycleLR": partial(OneCycleLR, max_lr=0.1, total_steps=9),
    "ReduceLROnPlateau": partial(ReduceLROnPlateau, monitor="train/loss", patience=0, threshold=9.0),
    "PiecewisePower": lambda optimizer: PiecewisePower(optimizer, {0: 0.9, 1: 0.5}),
    "WarmupCosine": partial(WarmupCosine, total_steps=3, warmup_steps=1, peak=1.5, floor=[1e-3]),
}


def fit(rule, epochs, path, ckpt_path=None):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, enable_checkpointing=False, **quiet)
    seed_everything(1, verbose=False)
    trainer.fit(rule, DigitsDataModule(subset_size=60), ckpt_path=ckpt_path)
    trainer.save_checkpoint(path)
    return torch.load(path, weights_only=True)


@pytest.fixture(autouse=True)
def _same_first_weights(monkeypatch):
    first = Backpropagation.build_network

    def build_network(self, **options):
        torch.manual_seed(0)
        return first(self, **options)

    for rule in (Backpropagation, CorInfoMax, EquilibriumPropagation, PredictiveCoding, NudgedPredictiveCoding):
        monkeypatch.setattr(rule, "build_network", build_network)


def state(checkpoint):
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")}


each_optimizer_and_schedule = pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [*((name, "StepLR") for name in OPTIMIZERS), *(("Adam", name) for name in SCHEDULES if name != "StepLR")],
)


@each_optimizer_and_schedule
def test_what_nobody_names_stays(optimizer, schedule, tmp_path):
    def rule():
        return Backpropagation([64, 10], optimizer=OPTIMIZERS[optimizer], lr_scheduler=SCHEDULES[schedule])

    half = tmp_path / "half.ckpt"
    whole = fit(rule(), 4, tmp_path / "whole.ckpt")
    fit(rule(), 2, half)
    built = {"loaded": Backpropagation.load_from_checkpoint(half), "anew": Backpropagation([64, 10])}
    for name, again in built.items():
        third = tmp_path / f"{name}.ckpt"
        fit(again, 3, third, half)
        # and once more, from what the resumed run wrote
        end = fit(Backpropagation.load_from_checkpoint(third), 4, tmp_path / "end.ckpt", third)
        assert list(differences(state(whole), state(end))) == [], name


@each_optimizer_and_schedule
def test_a_loaded_rule_trains_anew_as_its_weights_were_trained(optimizer, schedule, tmp_path):
    """Without ``ckpt_path``: from the first rate, as a rule with the same options and the loaded weights."""

    def rule():
        return Backpropagation([64, 10], optimizer=OPTIMIZERS[optimizer], lr_scheduler=SCHEDULES[schedule])

    half = tmp_path / "half.ckpt"
    weights = fit(rule(), 2, half)["state_dict"]
    named = rule()
    named.load_state_dict(weights)
    expected = fit(named, 2, tmp_path / "named.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The weights were trained with")
        found = fit(Backpropagation.load_from_checkpoint(half), 2, tmp_path / "loaded.ckpt")
    assert list(differences(state(expected), state(found))) == []
    named = {"optimizer": partial(SGD, lr=0.3), "lr_scheduler": None}
    other = fit(Backpropagation.load_from_checkpoint(half, **named), 2, tmp_path / "other.ckpt")
    assert [group["lr"] for optimizer in other["optimizer_states"] for group in optimizer["param_groups"]] == [0.3]
    assert other["lr_schedulers"] == []


class OwnAdam(Adam):
    pass


@pytest.mark.parametrize(
    ("argument", "untold", "said"),
    [
        ("optimizer", partial(OwnAdam, lr=0.3), "OwnAdam"),
        ("lr_scheduler", lambda optimizer: LambdaLR(optimizer, lambda epoch: 0.5**epoch), "LambdaLR"),
    ],
)
def test_a_loaded_rule_that_trains_otherwise_than_its_weights_were_says_so(argument, untold, said, tmp_path):
    half, end, match = tmp_path / "half.ckpt", tmp_path / "end.ckpt", f"trained with {argument} .*{said}, of which the"
    fit(Backpropagation([64, 10], **{argument: untold}), 2, half)
    with pytest.warns(UserWarning, match=match):
        fit(Backpropagation.load_from_checkpoint(half), 1, end)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The weights were trained with")
        loaded = Backpropagation.load_from_checkpoint(half)
        quiet = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
        Trainer(**quiet).test(loaded, DigitsDataModule(), verbose=False)  # which needs neither
        fit(Backpropagation.load_from_checkpoint(half, **{argument: untold}), 1, end)
        setattr(loaded, argument, untold)
        fit(loaded, 1, end)


def test_a_named_option_that_changes_on_resume_is_said(tmp_path):
    half, end = tmp_path / "half.ckpt", tmp_path / "end.ckpt"
    options = {"loss": "cross_entropy", "activation_function": "relu"}
    fit(Backpropagation([64, 12, 10], **options), 1, half)
    with pytest.warns(UserWarning, match="other options than the checkpoint's: activation_function tanh instead of"):
        fit(Backpropagation([64, 12, 10], **options | {"activation_function": "tanh"}), 2, end, half)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training goes on")
        fit(Backpropagation([64, 12, 10], **options), 2, end, half)


def test_what_is_named_takes_effect_beside_what_is_not(tmp_path):
    def rule(**options):
        return Backpropagation([64, 10], **options)

    named = {"optimizer": partial(SGD, lr=0.2, momentum=0.5), "lr_scheduler": SCHEDULES["StepLR"]}
    half = tmp_path / "half.ckpt"
    fit(rule(**named), 2, half)
    for changed in (
        {"optimizer": partial(SGD, lr=0.4, momentum=0.25)},
        {"lr_scheduler": partial(StepLR, step_size=1, gamma=0.25)},
        {"optimizer": partial(SGD, lr=0.2, momentum=0.5)},
    ):
        expected = fit(rule(**named | changed), 3, tmp_path / "a.ckpt", half)
        found = fit(rule(**changed), 3, tmp_path / "b.ckpt", half)
        assert list(differences(state(expected), state(found))) == [], changed
        loaded = Backpropagation.load_from_checkpoint(half, **changed)
        assert list(differences(state(expected), state(fit(loaded, 3, tmp_path / "c.ckpt", half)))) == [], changed


@pytest.mark.parametrize("named", [{"lr_scheduler": None}, {"optimizer": partial(Adam, lr=0.2)}])
def test_another_one_that_is_named_is_refused(named, tmp_path):
    half = tmp_path / "half.ckpt"
    fit(Backpropagation([64, 10], optimizer=partial(SGD, lr=0.2), lr_scheduler=SCHEDULES["StepLR"]), 1, half)
    with pytest.raises(UserError, match="was trained with"):
        fit(Backpropagation.load_from_checkpoint(half, **named), 2, half, half)


class OwnSGD(SGD):
    """One of a user's."""


@pytest.mark.parametrize(
    "named",
    [{"optimizer": partial(OwnSGD, lr=0.2)}, {"lr_scheduler": partial(LambdaLR, lr_lambda=lambda epoch: 0.5**epoch)}],
)
def test_what_a_checkpoint_can_not_build_again_must_be_named(named, tmp_path):
    half = tmp_path / "half.ckpt"
    fit(Backpropagation([64, 10], **named), 1, half)
    with pytest.raises(UserError, match=r"was trained with .*(OwnSGD|LambdaLR)"):
        fit(Backpropagation.load_from_checkpoint(half), 2, tmp_path / "end.ckpt", half)
    fit(Backpropagation.load_from_checkpoint(half, **named), 2, tmp_path / "end.ckpt", half)


@pytest.mark.parametrize("index", [0, 1])
def test_an_optimizer_that_treats_groups_apart_must_be_named(index, tmp_path):
    """A class and its options don't say what a function did, and the class's default would train in its place."""

    def apart(groups):
        return SGD([{**g, "lr": 0.1 + k, "momentum": 0.5 * k} for k, g in enumerate(groups)])

    rule, rates = [(Backpropagation, {}), (EquilibriumPropagation, {"learning_rates": [0.1, 0.2]})][index]
    half, end = tmp_path / "half.ckpt", tmp_path / "end.ckpt"
    if not rates:

        def apart(groups):  # splits the only group
            first, *others = groups[0]["params"]
            return SGD([{"params": [first], "lr": 0.5}, {"params": others}], lr=0.3)

    whole = fit(rule([64, 12, 10], optimizer=apart, **rates), 2, tmp_path / "whole.ckpt")
    fit(rule([64, 12, 10], optimizer=apart, **rates), 1, half)
    with pytest.raises(UserError, match="give the rule that function as its optimizer again"):
        fit(rule.load_from_checkpoint(half), 2, end, half)
    assert list(differences(state(whole), state(fit(rule([64, 12, 10], optimizer=apart, **rates), 2, end, half)))) == []


@pytest.mark.parametrize("option", ["lr", "momentum"])
def test_each_option_that_a_function_sets_by_group_is_named(option, tmp_path):
    def apart(groups):
        return SGD([{**g, option: 0.3 * (k + 1)} for k, g in enumerate(groups)])

    half = tmp_path / "half.ckpt"
    fit(EquilibriumPropagation([64, 12, 10], optimizer=apart, learning_rates=[0.1, 0.2]), 1, half)
    with pytest.raises(UserError, match=f"a function that sets {option} group by group"):
        fit(EquilibriumPropagation.load_from_checkpoint(half), 2, tmp_path / "end.ckpt", half)


OPTIONS = {
    PredictiveCoding: {"beta": 0.5, "target_range": (0.1, 0.9), "activation_function": "tanh"},
    NudgedPredictiveCoding: {"beta": 0.5, "random_beta_sign": True},
    EquilibriumPropagation: {"beta": 0.3, "free_steps": 3, "gradient_norm_limit": 0.1, "evaluation_steps": 9},
    CorInfoMax: {"beta": 0.5, "leak": 0.2, "lr_scheduler": SCHEDULES["StepLR"], "lr_scheduler_interval": "step"},
}


@pytest.mark.parametrize("rule", OPTIONS, ids=lambda rule: rule.__name__)
def test_an_option_that_nobody_names_is_not_the_class_s_default(rule, tmp_path):
    """It is the checkpoint's where the rule is loaded from it, and asked for where the rule is built anew."""
    options = OPTIONS[rule]
    whole = fit(rule([64, 12, 10], **options), 2, tmp_path / "whole.ckpt")
    half = tmp_path / "half.ckpt"
    fit(rule([64, 12, 10], **options), 1, half)
    end = tmp_path / "end.ckpt"
    for again in (rule.load_from_checkpoint(half), rule([64, 12, 10], **options)):
        assert list(differences(state(whole), state(fit(again, 2, end, half)))) == []
    schedule = {name: value for name, value in options.items() if name == "lr_scheduler"}
    for left_out in options.keys() - schedule:
        others = {name: value for name, value in options.items() if name != left_out}
        said = f"defaults where the checkpoint's had other options \\({left_out} .* instead of .*load_from_checkpoint"
        with pytest.raises(UserError, match=said):
            fit(rule([64, 12, 10], **others), 2, end, half)
        trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
        with pytest.warns(UserWarning, match=said):
            trainer.test(rule([64, 12, 10], **others), DigitsDataModule(subset_size=60), half, verbose=False)


def test_a_growth_that_nobody_names_is_asked_for(tmp_path):
    half = tmp_path / "half.ckpt"
    fit(PredictiveCoding([64, 12, 10], beta=0.5, beta_growth=0.1), 1, half)
    with pytest.raises(UserError, match=r"\(beta_growth 0.0 instead of 0.1\)"):
        fit(PredictiveCoding([64, 12, 10], beta=0.5), 2, half, half)
    with pytest.raises(UserError, match=r"\(beta 1.0 instead of 0.5, beta_growth 0.0 instead of 0.1\)"):
        fit(PredictiveCoding([64, 12, 10]), 2, half, half)


def test_options_that_change_are_said(tmp_path):
    half, end = tmp_path / "half.ckpt", tmp_path / "end.ckpt"
    fit(Backpropagation([64, 10], optimizer=partial(SGD, lr=0.2, momentum=0.5)), 1, half)
    with pytest.warns(UserWarning, match=r"goes on with other options .*: lr 0.4 instead of 0.2, momentum 0 instead"):
        fit(Backpropagation([64, 10], optimizer=partial(SGD, lr=0.4)), 2, end, half)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*goes on with other options")
        fit(Backpropagation([64, 10], optimizer=partial(SGD, lr=0.2, momentum=0.5)), 2, end, half)


def test_options_of_a_schedule_that_change_are_said(tmp_path):
    half = tmp_path / "half.ckpt"
    fit(Backpropagation([64, 10], lr_scheduler=partial(StepLR, step_size=3, gamma=0.5)), 1, half)
    with pytest.warns(UserWarning, match=r"goes on with other options .*: gamma 0.25 instead of 0.5\."):
        fit(Backpropagation([64, 10], lr_scheduler=partial(StepLR, step_size=3, gamma=0.25)), 2, half, half)


def test_rates_of_layers_that_nobody_names_stay(tmp_path):
    half, third = tmp_path / "half.ckpt", tmp_path / "third.ckpt"
    rates = {"feedforward_learning_rates": [3.0, 2.0], "feedback_learning_rates": 0.5}
    whole = fit(CorInfoMax([64, 20, 10], **rates), 3, tmp_path / "whole.ckpt")
    fit(CorInfoMax([64, 20, 10], **rates), 1, half)
    fit(CorInfoMax([64, 20, 10]), 2, third, half)
    end = fit(CorInfoMax.load_from_checkpoint(third), 3, tmp_path / "end.ckpt", third)
    assert list(differences(state(whole), state(end))) == []
    one = fit(CorInfoMax([64, 20, 10], feedback_learning_rates=0.1), 2, tmp_path / "end.ckpt", half)
    assert [group["lr"] for group in one["optimizer_states"][0]["param_groups"]] == [3.0, 2.0, 0.1]


@pytest.mark.parametrize("schedule", [{}, {"lr_scheduler": SCHEDULES["StepLR"]}], ids=["nothing", "the schedule"])
def test_decays_of_layers_that_nobody_names_stay(schedule, tmp_path):
    """Whatever else is named."""
    half, third = tmp_path / "half.ckpt", tmp_path / "third.ckpt"
    named = {"weight_decays": [0.5, 0.25], "learning_rates": 0.1, **schedule}
    whole = fit(EquilibriumPropagation([64, 20, 10], **named), 3, tmp_path / "whole.ckpt")
    fit(EquilibriumPropagation([64, 20, 10], **named), 1, half)
    fit(EquilibriumPropagation([64, 20, 10], **schedule), 2, third, half)
    end = fit(EquilibriumPropagation.load_from_checkpoint(third, **schedule), 3, tmp_path / "end.ckpt", third)
    assert list(differences(state(whole), state(end))) == []
    other = fit(EquilibriumPropagation([64, 20, 10], weight_decays=0.125), 2, tmp_path / "end.ckpt", half)
    assert [g["weight_decay"] for g in other["optimizer_states"][0]["param_groups"]] == [0.125, 0.125]


def test_rates_by_layer_are_not_given_or_taken_away_on_the_way(capsys):
    args = ["fit", "--config", "digits/direct_feedback_alignment", *FEW, "--trainer.max_epochs"]
    assert main([*args, "1"]) == 0
    resumed = [*args, "2", "--ckpt_path", "last", "--model.init_args.learning_rates", "[0.1, 0.1]"]
    assert main(resumed) == 2
    error = capsys.readouterr().err
    assert "The checkpoint's optimizer has 1 group of parameters and this one 2" in error
    assert "Traceback" not in error


class Sharpened(Backpropagation):
    """A rule of a user's own that keeps one of its options from those that it hands on: no signature has its name."""

    def __init__(self, layer_sizes=None, **options):
        handed_on = {name: value for name, value in options.items() if name != "sharpness"}
        super().__init__(layer_sizes, **handed_on)


def test_an_option_that_no_signature_names_is_named_where_it_is_given(tmp_path):
    half = tmp_path / "half.ckpt"
    fit(Sharpened([64, 10], sharpness=2.0), 1, half)
    fit(Sharpened([64, 10], sharpness=3.0), 2, tmp_path / "end.ckpt", half)


@pytest.mark.parametrize("floors", [[0.1, 0.1, 0.1], [0.1, 0.2, 0.1], [0.1, 0.1, 0.2], [0.2, 0.1, 0.1]])
def test_an_option_of_a_schedule_that_differs_by_group_is_told_by_group(floors):
    optimizer = SGD([{"params": [torch.zeros(1)]} for _ in floors], lr=0.5)
    schedule = WarmupCosine(optimizer, total_steps=4, floor=floors)
    told = schedule_options(WarmupCosine, plain_state(schedule.state_dict()))
    assert told["floor"] == (floors[0] if len(set(floors)) == 1 else floors)
