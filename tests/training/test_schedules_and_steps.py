"""Schedules, weight decay by layer, and the limit of the norm, in a rule's own step."""

import contextlib
import math
import re
import warnings

import pytest
import torch
from pytorch_lightning import Trainer

from bioplausible import (
    Backpropagation,
    DigitsDataModule,
    EquilibriumPropagation,
    PiecewisePower,
    UserError,
    WarmupCosine,
)
from bioplausible.training.optimization import build_optimizer
from tests.helpers import batch, build, updates


def rates(steps, lr=0.4, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = WarmupCosine(optimizer, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_a_cosine_ends_at_its_floor_and_stays_there():
    """100 of 120 epochs; until then it is torch's."""
    found = rates(120, total_steps=100, floor=1e-5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=1e-5)
    for epoch in range(100):
        assert found[epoch] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), epoch
        optimizer.step()
        torchs.step()
    assert found[100:] == [1e-5] * 20


def test_a_warm_up_rises_in_a_line_to_the_peak():
    found = rates(50, total_steps=40, warmup_steps=10, peak=1.1, floor=0.04)
    line = [0.4 * (1 + 0.1 * t / 10) for t in range(10)]
    cosine = [0.04 + 0.4 * (1 + math.cos(math.pi * t / 30)) / 2 for t in range(30)]
    assert found == pytest.approx([*line, *cosine, *[0.04] * 10])


def test_each_parameter_group_may_have_its_own_floor():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = torch.optim.SGD(groups)
    schedule = WarmupCosine(optimizer, total_steps=4, floor=[0.01, 0.02])
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.055, 0.11])
    for _ in range(7):
        optimizer.step()
        schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.01, 0.02]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"total_steps": 0}, "total_steps is 0"),
        (
            {"total_steps": 5, "warmup_steps": 5},
            "warmup_steps is 5: it must not be negative, and less than total_steps (5)",
        ),
        ({"total_steps": 5, "warmup_steps": -1}, "warmup_steps is -1"),
        ({"total_steps": 5, "floor": -1.0}, "floor is -1.0"),
        (
            {"total_steps": 5, "floor": [0.1, 0.2]},
            "floor has 2 entries: give one number, or one per parameter group, 1.",
        ),
        ({"total_steps": 5, "peak": 0.0}, "peak is 0.0"),
    ],
)
def test_schedules_that_are_none_are_refused(options, said):
    with pytest.raises(UserError, match=re.escape(said)):
        rates(1, **options)


def test_a_schedule_that_will_not_come_to_its_end_is_told_of():
    def fit(**options):
        rule = Backpropagation([64, 10], lr_scheduler=lambda o: WarmupCosine(o, total_steps=30), **options)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(max_epochs=3, accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(rule, DigitsDataModule(subset_size=200))

    with pytest.warns(UserWarning, match="WarmupCosine is planned for 30 steps, and takes one an epoch, 3 in this run"):
        fit()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="WarmupCosine")
        fit(lr_scheduler_interval="step")  # 30 batches


OF_ITS_OWN = {
    "OneCycleLR": lambda o, rate: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=rate, total_steps=9),
    "CyclicLR": lambda o, rate: torch.optim.lr_scheduler.CyclicLR(o, base_lr=rate, max_lr=1.0, cycle_momentum=False),
}


@pytest.mark.parametrize("name", OF_ITS_OWN)
def test_a_schedule_that_gives_layers_of_different_rates_the_same_is_told_of(name):
    def configure(rates, rate):
        build(
            EquilibriumPropagation, learning_rates=rates, lr_scheduler=lambda o: OF_ITS_OWN[name](o, rate)
        ).configure_optimizers()

    with pytest.warns(UserWarning, match=rf"{name} gives all layers one rate, .* \(0.1, 0.05, 0.2\): .* layer_1,"):
        configure([0.1, 0.05, 0.2], 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configure([0.1, 0.05, 0.2], [0.3, 0.3, 0.2])
        configure(0.1, 0.3)  # one rate in the place of another


# ------------------------------------------------------------------------------------------------ weight decay by layer


@pytest.mark.parametrize("decays", [[0.1, 0.2, 0.3], 0.25, None])
@pytest.mark.parametrize("feedback", ["tied", "learned"])
def test_each_layer_decays_by_its_own_rate(feedback, decays):
    """W, b and V of layer k by lr_k λ_k; where none is given, by the optimizer's."""
    rule = build(
        EquilibriumPropagation,
        feedback=feedback,
        learning_rates=[0.5, 0.6, 0.7],
        feedback_learning_rates=None if feedback == "tied" else [0.8, 0.9],
        weight_decays=decays,
        optimizer=lambda groups: torch.optim.SGD(groups, weight_decay=0.01),
    )
    x, _, y = batch()
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    groups = rule.parameter_groups()
    optimizer = rule.optimizer(groups)
    update = updates(rule, rule.learn(x, y, optimizer))
    λ = decays if isinstance(decays, list) else [0.01 if decays is None else decays] * 3
    for k in (1, 2, 3):
        for name, lr in (("weight", 0.4 + 0.1 * k), ("bias", 0.4 + 0.1 * k), ("_feedback_weight", 0.6 + 0.1 * k)):
            full = f"network.wiring.{k}.{name}"
            if full in before:
                grad = dict(rule.named_parameters())[full].grad
                expected = before[full] - lr * (grad + λ[k - 1] * before[full])
                torch.testing.assert_close(dict(rule.named_parameters())[full].detach(), expected)
    assert len(update) == len(before)


def test_an_optimizer_without_decay_refuses_decays():
    rule = build(EquilibriumPropagation, weight_decays=0.1, optimizer=torch.optim.Rprop)
    with pytest.raises(UserError, match="Rprop decays no weights, and the rule has weight_decays: choose another"):
        rule.configure_optimizers()
    with pytest.raises(UserError, match="weight_decays has 2 entries: give one number, or one per layer 1 … 3"):
        build(EquilibriumPropagation, weight_decays=[0.1, 0.2])
    with pytest.raises(UserError, match=r"weight_decays is -0\.1: it must not be negative"):
        build(EquilibriumPropagation, weight_decays=-0.1)


@pytest.mark.parametrize("decaying", [{0}, {1}, {0, 1}, set()])
def test_it_refuses_them_whichever_groups_have_them(decaying):
    """As in a rule of one's own that decays some of its parameters."""
    groups = [{"params": [torch.zeros(2)], **({"weight_decay": 0.1} if i in decaying else {})} for i in range(2)]
    with pytest.raises(UserError, match="Rprop decays no weights") if decaying else contextlib.nullcontext():
        build_optimizer(torch.optim.Rprop, groups)


@pytest.mark.parametrize("bad", [-1.0, 0.0, math.inf, math.nan])
@pytest.mark.parametrize("at", range(3))
def test_one_bad_entry_of_several_is_refused_wherever_it_stands(at, bad):
    entries = [0.5, 0.25, 0.75]
    entries[at] = bad
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in entries], lr=0.1)
    with pytest.raises(UserError, match="bases is"):
        PiecewisePower(optimizer, dict(enumerate(entries)))
    if bad != 0:  # a floor may be 0
        with pytest.raises(UserError, match="floor is"):
            WarmupCosine(optimizer, total_steps=4, floor=entries)


@pytest.mark.parametrize("layer", range(3))
def test_a_rate_that_is_none_is_refused_whichever_layer_has_it(layer):
    def schedule(optimizer):
        factors = [lambda epoch, k=k: -2.0 if k == layer else 1.0 for k in range(3)]
        return torch.optim.lr_scheduler.LambdaLR(optimizer, factors)

    with pytest.raises(UserError, match=r"LambdaLR sets a learning rate to -0\.1, which must be finite"):
        build(EquilibriumPropagation, learning_rates=0.05, lr_scheduler=schedule).configure_optimizers()
    rates = [0.1 * (k != layer) or math.inf for k in range(3)]
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates]
    with pytest.raises(UserError, match="The optimizer sets a learning rate to inf"):
        build_optimizer(torch.optim.SGD, groups)


# ------------------------------------------------------------------------------------------------ the limit of the norm


@pytest.mark.parametrize("cls", [Backpropagation, EquilibriumPropagation])
def test_updates_of_all_layers_together_are_shortened_to_the_limit(cls):
    """Decay comes after it, as with torch's own."""
    x, _, y = batch()

    def learn(limit):
        torch.manual_seed(0)
        rule = build(cls, gradient_norm_limit=limit)
        before = [p.detach().clone() for p in rule.parameters()]
        groups = [{"params": [p]} for p in rule.parameters()]  # the limit is of all of them
        optimizer = torch.optim.SGD(groups, lr=0.5, weight_decay=0.1)
        rule.learn(x, y, optimizer)
        return [(b - p.detach()) / 0.5 - 0.1 * b for b, p in zip(before, rule.parameters(), strict=True)]

    whole = learn(None)
    norm = float(torch.cat([g.flatten() for g in whole]).norm())
    for limit in (norm / 3, norm * 3):
        scale = min(1.0, limit / norm)
        for g, full in zip(learn(limit), whole, strict=True):
            torch.testing.assert_close(g, full * scale, rtol=1e-4, atol=1e-12)


def test_a_limit_that_is_none_is_refused():
    with pytest.raises(UserError, match="gradient_norm_limit is 0: it must be positive, or left out"):
        build(Backpropagation, gradient_norm_limit=0)
