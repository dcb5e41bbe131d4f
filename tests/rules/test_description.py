"""What ``print(rule)`` and a notebook show: the network, and all in which a rule differs from its defaults."""

import inspect
import re
from functools import partial
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, MultiStepLR, OneCycleLR, StepLR

from bioplausible import Backpropagation, CorInfoMax, EquilibriumPropagation, FeedbackAlignment, WarmupCosine
from bioplausible.rules.description import settings
from tests.helpers import NETWORKS, VARIANTS, all_rules, build

ALWAYS = {"optimizer", "rates", "learned"}
FIXED = {
    "Burstprop": {"activation_function", "output_activation", "loss"},
    "DirectRandomTargetProjection": {"signal"},
}
"""Arguments of their bases that rules fix at another value than the default."""
RULES = pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)


def shown(rule) -> dict[str, str]:
    """Returns what is printed below the layers, by name."""
    lines = str(rule).partition("\n\n")[2].splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_option_that_differs_is_named_with_its_value_and_no_other(variant):
    cls, options = VARIANTS[variant]
    rule = build(cls, **options)
    found = shown(rule)
    signatures = [inspect.signature(base.__init__).parameters for base in cls.__mro__]
    default = {name: next(s[name].default for s in signatures if name in s) for name in options}
    differs = {name: value for name, value in options.items() if value != default[name]}
    if cls.__name__ == "CorInfoMaxSparse":
        differs["dual_step_sizes"] = {1: 0.05, 3: 0.1}
    fixed = FIXED.get(cls.__name__, set())
    assert found.keys() - ALWAYS - {"lr_scheduler"} == differs.keys() | fixed
    for name, value in differs.items():
        said = found[name].replace("'", "").strip("{}[]()")
        assert said == str(value).strip("{}[]()").replace("'", "")


@RULES
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_is_no_list_of_sizes_is_shown_as_it_was_written(cls, network):
    found, layers = shown(build(cls, network)), NETWORKS[network][1:]
    assert ("network" in found) == any(not isinstance(layer, int) for layer in layers)
    if "network" in found:
        _, *said = found["network"].split(" · ")
        assert len(said) == len(layers)
        for text, layer in zip(said, layers, strict=True):
            for key, value in layer.items() if isinstance(layer, dict) else [("dense", layer)]:
                assert key in text
                assert str(value).strip("{}").replace("'", "").replace(":", "") in text


@given(gain=st.floats(0.1, 10), bias=st.floats(0.1, 10))
def test_gains_are_shown_too(gain, bias):
    rule = Backpropagation(
        network=[8, {"dense": 6, "gain": {"weight": gain, "bias": bias}}, 4], initialization="kaiming"
    )
    assert f"gain {{weight {gain}, bias {bias}}}" in shown(rule)["network"]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD, "SGD"),
        (partial(SGD, lr=0.3), "SGD"),  # the rate has a row of its own
        (partial(SGD, momentum=0.9, nesterov=True), "SGD (momentum 0.9, nesterov True)"),
        (partial(Adam, betas=(0.5, 0.99), fused=True), "Adam (betas [0.5, 0.99])"),
        (partial(AdamW, weight_decay=0.5), "AdamW (weight_decay 0.5)"),
        (partial(RMSprop, alpha=0.5, centered=True), "RMSprop (alpha 0.5, centered True)"),
    ],
)
def test_the_optimizer_is_shown_with_options_that_differ(optimizer, expected):
    assert shown(Backpropagation([6, 5, 4], optimizer=optimizer))["optimizer"] == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (partial(StepLR, step_size=3), "StepLR (step_size 3)"),
        (partial(StepLR, step_size=3, gamma=0.5), "StepLR (step_size 3, gamma 0.5)"),
        (partial(MultiStepLR, milestones=[2, 5]), "MultiStepLR (milestones [2, 5])"),
        (partial(CosineAnnealingLR, T_max=7), "CosineAnnealingLR (T_max 7)"),
        (partial(WarmupCosine, warmup_steps=2, total_steps=9), None),
        (partial(OneCycleLR, max_lr=0.5, total_steps=9), None),
        (partial(LambdaLR, lr_lambda=lambda epoch: 0.5), None),
    ],
)
def test_the_schedule_is_shown_with_options_that_differ_and_leaves_the_rates_as_they_were_given(schedule, expected):
    found = shown(Backpropagation([6, 5, 4], optimizer=partial(SGD, lr=0.3), lr_scheduler=schedule))
    assert found["rates"] == "0.3"
    assert found["lr_scheduler"].startswith(schedule.func.__name__)
    if expected is not None:
        assert found["lr_scheduler"] == expected


@given(rates=st.lists(st.floats(1e-4, 10), min_size=3, max_size=3), momentum=st.floats(0.1, 0.9))
def test_each_layer_s_rate_is_shown(rates, momentum):
    rule = CorInfoMax([7, 6, 5, 4], feedforward_learning_rates=rates, feedback_learning_rates=0.25)
    expected = [f"feedforward_{k} {rate!r}" for k, rate in enumerate(rates, start=1)] + [
        "feedback_2 0.25",
        "feedback_3 0.25",
    ]
    assert sorted(shown(rule)["rates"].split(", ")) == sorted(expected)

    def by_group(groups):
        optimizer = SGD(groups, lr=0.5)
        optimizer.param_groups[1]["momentum"] = momentum
        return optimizer

    found = shown(CorInfoMax([7, 6, 5, 4], feedforward_learning_rates=rates, optimizer=by_group))["optimizer"]
    assert str(momentum) in found
    assert "momentum feedforward_" in found or "momentum feedback_" in found


@RULES
def test_the_weights_that_the_optimizer_moves_are_counted(cls):
    rule = build(cls)
    moved = {id(p): p.numel() for group in rule.parameter_groups() for p in group["params"] if p.requires_grad}
    assert shown(rule)["learned"] == f"{sum(moved.values()):,} weights by the optimizer"


def test_an_optimizer_that_can_t_be_built_says_why():
    found = shown(Backpropagation([6, 5, 4], optimizer=partial(SGD, lr=-1)))
    assert "Invalid learning rate: -1" in found["optimizer"]
    found = shown(Backpropagation([6, 5, 4], optimizer=torch.optim.LBFGS))
    assert "evaluates a loss" in found["optimizer"]
    found = shown(Backpropagation([6, 5, 4], lr_scheduler=partial(StepLR, size=1)))
    assert "The lr_scheduler can't be built" in found["lr_scheduler"]
    assert found["rates"]


class OwnRule(FeedbackAlignment):
    """With arguments that no default is like, and one that must be given."""

    def __init__(self, layer_sizes, table, note="<b>", array=None):
        super().__init__(layer_sizes)


def test_a_rule_of_ones_own_is_shown_whatever_its_arguments_are():
    found = shown(OwnRule([6, 5, 4], torch.arange(3), array=torch.zeros(2)))
    assert found["table"] == "tensor([0, 1, 2])"
    assert found["array"] == "tensor([0., 0.])"
    assert "note" not in found
    assert "<script>" in shown(OwnRule([6, 5, 4], 1, note="<script>"))["note"]


class Cells(HTMLParser):
    """Reads the cells of tables, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("network", NETWORKS)
def test_a_notebook_shows_the_same(network):
    rule = build(EquilibriumPropagation, network, beta=0.3)
    cells = Cells(rule._repr_html_())
    assert cells.rows == [list(row) for row in [*rule.network.rows(), *settings(rule).items()]]


def test_what_a_user_wrote_is_no_markup():
    text = OwnRule([6, 5, 4], 1, note="<script>alert(1)</script>")._repr_html_()
    assert "script" not in Cells(text).tags
    assert "alert(1)" in text


@RULES
def test_looking_changes_nothing(cls):
    rule = build(cls)
    before = {name: value.clone() for name, value in rule.state_dict().items() if torch.is_tensor(value)}
    numbers, rates = torch.get_rng_state(), [dict(group) for group in rule.parameter_groups()]
    str(rule), rule._repr_html_()
    assert all(torch.equal(value, rule.state_dict()[name]) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), numbers)
    for then, now in zip(rates, rule.parameter_groups(), strict=True):
        assert {n: v for n, v in then.items() if n != "params"} == {n: v for n, v in now.items() if n != "params"}
