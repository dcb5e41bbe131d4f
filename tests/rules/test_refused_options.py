"""Options that would do nothing, or that no rule can carry out, are refused in one sentence."""

import pytest
import torch

from bioplausible import CorInfoMaxSparse, EquilibriumPropagation, UserError
from bioplausible.network import Connection
from bioplausible.resume.rule_in_checkpoint import require_same_rule


class Square(Connection):
    """A wiring whose layer has two dimensions."""

    def __init__(self, pre_shape, **options):
        super().__init__(pre_shape, (3, 2, *pre_shape), **options)

    def transform(self, weight, pre):
        return torch.einsum("abi,ni->nab", weight, pre)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hold_output": True, "loss": "cross_entropy", "output_activation": "linear"}, "hold_output holds the output"),
        ({"layer_sizes": [6, 3], "feedback": "learned"}, "feedback: learned has no effect here"),
        ({"feedback": "learned", "loss": "cross_entropy", "readout": True}, "feedback: learned has no effect here"),
        ({"layer_sizes": None, "network": [6, Square, 3]}, r"has the shape 3 × 2: let its transform return"),
    ],
)
def test_equilibrium_propagation_refuses(options, said):
    with pytest.raises(UserError, match=said):
        EquilibriumPropagation(**{"layer_sizes": [6, 5, 3], **options})


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
