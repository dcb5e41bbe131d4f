"""Options that would do nothing, or that no rule can carry out, are refused in one sentence."""

import re
from functools import partial

import pytest
import torch

from bioplausible import (
    ContrastiveSimilarityMatching,
    CorInfoMax,
    CorInfoMaxSparse,
    EquilibriumPropagation,
    NudgedPredictiveCoding,
    PredictiveCoding,
    UserError,
)
from bioplausible.network import Connection
from bioplausible.resume.rule_in_checkpoint import require_same_rule
from tests.helpers import SIZES, all_rules, build


class Square(Connection):
    """A wiring whose layer has two dimensions."""

    def __init__(self, pre_shape, **options):
        super().__init__(pre_shape, (3, 2, *pre_shape), **options)

    def transform(self, weight, pre):
        return torch.einsum("abi,ni->nab", weight, pre)


SMOOTH = {"points": 4, "activation_function": "smooth_clip", "output_activation": "linear", "step_size": 1.0}
POOLED = [[1, 6, 6], {"conv": 2, "kernel": 3, "pool": "max"}, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hold_output": True, "loss": "cross_entropy", "output_activation": "linear"}, "hold_output holds the output"),
        ({"hold_output": True}, "random_beta_sign: false"),
        ({"feedback_update": "same"}, "feedback_update is same, which has no effect"),
        ({"three_phase": True, "relax_free_again": True}, "relax_free_again is True, which has no effect"),
        ({"points": 2, "relax_free_again": True}, "relax_free_again is True, which has no effect"),
        ({"points": 2, "three_phase": True}, "three_phase is points: 2"),
        *(
            ({"points": points}, "points is .*: give a whole number between 1 and 1000")
            for points in (0, -1, 2.5, True)
        ),
        ({**SMOOTH, "points": 1_000_000}, "points is 1000000: give a whole number between 1 and 1000"),
        ({"points": 3}, "holomorphic activations"),
        ({**SMOOTH, "output_activation": "clip"}, "holomorphic activations"),
        ({**SMOOTH, "layer_sizes": None, "network": POOLED}, "max pooling has no derivative at complex states"),
        ({**SMOOTH, "hold_output": True, "beta": 0.5}, "hold_output knows phases of real β alone"),
        ({**SMOOTH, "persistent_states": True}, "persistent_states knows phases of real β alone"),
        ({**SMOOTH, "step_size": 0.5}, "with the activation smooth_clip only 1"),
        ({"activation_slope": 2.0}, "no layer that settles has the activation smooth_clip"),
        *(({**SMOOTH, "activation_slope": slope}, "activation_slope is") for slope in (0.0, -1.0)),
        ({"layer_sizes": [6, 3], "feedback": "learned"}, "feedback: learned has no effect here"),
        ({"feedback": "learned", "loss": "cross_entropy", "readout": True}, "feedback: learned has no effect here"),
        ({"layer_sizes": None, "network": [6, Square, 3]}, r"has the shape 3 × 2: let its transform return"),
    ],
)
def test_equilibrium_propagation_refuses(options, said):
    with pytest.raises(UserError, match=said):
        EquilibriumPropagation(**{"layer_sizes": [6, 5, 3], **options})


def test_similarity_matching_refuses_complex_points():
    with pytest.raises(UserError, match="M learns from a phase of real β"):
        ContrastiveSimilarityMatching([6, 5, 3], **SMOOTH)


def test_layers_are_numbers():
    with pytest.raises(UserError, match=r"dual_step_sizes names the layers \['1'\]: they are numbered 1 … 1"):
        CorInfoMaxSparse([4, 3], dual_step_sizes={"1": 0.1})


def test_pooling_is_understood_beside_and_within_the_arguments():
    convolution = {"class_path": "bioplausible.network.Convolution", "init_args": {"channels": 3, "kernel": 3}}
    within = {**convolution, "init_args": {**convolution["init_args"], "pool": "max"}}
    shapes = [
        EquilibriumPropagation(network=[[1, 6, 6], layer, 2]).network.shapes
        for layer in ({**convolution, "pool": "max"}, within)
    ]
    assert shapes == [[(1, 6, 6), (3, 2, 2), (2,)]] * 2


def test_a_readout_without_a_bias_learns():
    layer = {"class_path": "bioplausible.network.Dense", "init_args": {"units": 3, "bias": False}}
    rule = EquilibriumPropagation(network=[6, 5, layer], readout=True, loss="cross_entropy")
    rule.learn(torch.rand(2, 6), torch.eye(3)[:2], torch.optim.SGD(rule.parameter_groups(), lr=0.1))
    assert rule.network.chain[-1].bias is None


def test_a_checkpoint_of_version_0_1_says_so():
    rule = EquilibriumPropagation([6, 5, 3])
    old = {"state_dict": {"connections.0.weight": torch.zeros(5, 6)}}
    old["learning_rule"] = {"name": "EquilibriumPropagation", "seed": 0}
    with pytest.raises(UserError, match=r"of version 0\.1"):
        require_same_rule(rule, old)


RANGES = [
    (PredictiveCoding, {"loss": "cross_entropy"}, "target_range"),
    (PredictiveCoding, {"loss": "cross_entropy", "target_range": (0, 0.9)}, "target_range"),
    (PredictiveCoding, {"target_range": (0.9, 0.1)}, "target_range"),
    (PredictiveCoding, {"target_range": (0.5, 0.5)}, "target_range"),
    *((cls, {"step_size": size}, "step_size") for cls in (CorInfoMax, PredictiveCoding) for size in (0, -0.1)),
    (CorInfoMax, {"feedforward_learning_rates": [0.1, -0.1, 0.1]}, "feedforward_learning_rates"),
    (CorInfoMax, {"feedforward_learning_rates": -0.1}, "feedforward_learning_rates"),
    (CorInfoMax, {"feedback_learning_rates": [0.1]}, "feedback_learning_rates"),
    (CorInfoMax, {"feedback_learning_rates": [0.1] * 3}, "feedback_learning_rates"),
    (CorInfoMax, {"forgetting_factor": 0.0}, "forgetting_factor"),
    (CorInfoMax, {"forgetting_factor": 1.1}, "forgetting_factor"),
    (CorInfoMax, {"epsilon": 0.0}, "epsilon"),
    (CorInfoMax, {"leak": -0.1}, "leak"),
    (CorInfoMax, {"track_correlations_every_n_steps": 0}, "track_correlations_every_n_steps"),
    (CorInfoMax, {"third_phase_start": "rest"}, "third_phase_start"),
    *((cls, {"beta": 0}, "beta") for cls in (CorInfoMax, EquilibriumPropagation, NudgedPredictiveCoding)),
    *((CorInfoMax, {"nudged_steps": steps}, "nudged_steps") for steps in (0, 10**6 + 1, 2.5, True)),
]


@pytest.mark.parametrize(("cls", "options", "name"), RANGES, ids=str)
def test_what_is_out_of_its_range_is_refused_by_name(cls, options, name):
    with pytest.raises(UserError, match=name):
        cls(SIZES, **options)


@pytest.mark.parametrize(
    ("cls", "name", "first", "last"),
    [
        (CorInfoMax, "feedforward_learning_rates", 1, 3),
        (CorInfoMax, "feedback_learning_rates", 2, 3),
        (EquilibriumPropagation, "learning_rates", 1, 3),
        (EquilibriumPropagation, "feedback_learning_rates", 2, 3),
        (ContrastiveSimilarityMatching, "lateral_learning_rates", 1, 2),
    ],
)
def test_rates_of_another_number_of_layers_are_refused_with_the_layers_that_have_one(cls, name, first, last):
    count, own = last - first + 1, cls is EquilibriumPropagation and name.startswith("feedback")
    for length in (count - 1, count + 1):
        said = rf"^{name} has {length} entries: give one number, or one per layer {first} … {last} \({count} in all\)"
        with pytest.raises(UserError, match=said):
            cls(SIZES, **{name: [0.1] * length}, **({"feedback": "learned"} if own else {}))


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (PredictiveCoding, {"loss": "cross_entropy", "target_range": (0, 1)}),
        (CorInfoMax, {"forgetting_factor": 1.0, "leak": 0.0, "nudged_steps": 1}),
        (CorInfoMax, {"track_correlations": True, "track_correlations_every_n_steps": 1}),
        (CorInfoMax, {"feedforward_learning_rates": [0.1, 0.0, None], "feedback_learning_rates": [0.0, None]}),
        (EquilibriumPropagation, {"beta": -1e-3, "nudged_steps": 1, "evaluation_steps": 1}),
    ],
    ids=str,
)
def test_the_ends_of_a_range_belong_to_it(cls, options):
    cls(SIZES, **options)


@pytest.mark.parametrize("activation", ["clip", "sigmoid", "smooth_clip", "linear"])
@pytest.mark.parametrize("size", [-0.1, 0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("cls", [EquilibriumPropagation, ContrastiveSimilarityMatching])
def test_an_evaluation_may_take_the_step_sizes_that_training_may(cls, size, activation):
    def refused(**options):
        try:
            cls([6, 5, 3], activation_function=activation, **options)
        except UserError:
            return True
        return False

    assert refused(step_size=1.0, evaluation_step_size=size) == refused(step_size=size)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.__name__)
def test_a_rate_of_the_optimizer_that_no_layer_takes_is_refused(rule):
    """From Python too, where the rates that every layer has may be the rule's defaults."""
    built = build(rule, optimizer=partial(torch.optim.Adam, lr=0.0123))
    groups = built.parameter_groups()
    if all("lr" in group for group in groups):
        said = (
            r"The optimizer's lr is 0\.0123, but (.+) gives? every layer's rate, .+ default \(0\.001\), or set (.+) to"
        )
        with pytest.raises(UserError, match=said) as refused:
            built.configure_optimizers()
        named = re.search(said, str(refused.value))
        assert named[1] == named[2]
        cured = build(rule, optimizer=partial(torch.optim.Adam, lr=0.0123), **dict.fromkeys(named[1].split(" and ")))
        taken = {group["name"]: group["lr"] for group in cured.configure_optimizers().param_groups}
        assert {lr for name, lr in taken.items() if not name.startswith("lateral")} == {0.0123}
        left = build(rule, optimizer=partial(torch.optim.Adam, lr=0.001))
        assert left.configure_optimizers() is not None
    else:
        optimizer = built.configure_optimizers()
        assert all(group["lr"] == 0.0123 for group in optimizer.param_groups)
    usual = build(rule, optimizer=torch.optim.Adam)
    assert usual.configure_optimizers() is not None
