"""States of equilibrium propagation that persist from batch to batch."""

import copy

import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import EquilibriumPropagation
from tests.helpers import NETWORKS, batch, build, differences
from tests.training.test_training_step import train


def learned_in_two_batches(network, between):
    torch.manual_seed(0)
    rule = build(EquilibriumPropagation, network, persistent_states=True, random_beta_sign=False)
    optimizer = rule.optimizer(rule.parameter_groups())
    x, _, target = batch(network, n=8)
    rule.learn(x, target, optimizer)
    between(rule)
    rule.learn(x, target, optimizer)
    return rule.state_dict()


@pytest.mark.parametrize("network", NETWORKS)
def test_a_rule_out_of_a_checkpoint_goes_on_to_the_bit(network):
    """A file keeps no layout in memory: images whose channels lie last, or outputs that lie neuron by neuron."""

    def save_and_load(rule):
        checkpoint = {"hyper_parameters": dict(rule.hparams), "state_dict": rule.state_dict()}
        rule.on_save_checkpoint(checkpoint)
        rule._persisted = []
        rule.on_load_checkpoint(checkpoint)

    went_on = learned_in_two_batches(network, lambda rule: None)
    resumed = learned_in_two_batches(network, save_and_load)
    assert all(torch.equal(resumed[name], weight) for name, weight in went_on.items())


def test_without_the_states_of_the_last_batch_it_learns_otherwise():
    went_on = learned_in_two_batches("dense", lambda rule: None)
    forgot = learned_in_two_batches("dense", lambda rule: rule._persisted.clear())
    assert not torch.equal(forgot["network.wiring.3.weight"], went_on["network.wiring.3.weight"])


def test_a_training_that_begins_anew_starts_from_rest():
    rule = build(EquilibriumPropagation, persistent_states=True, random_beta_sign=False)
    first = copy.deepcopy(rule.state_dict())
    learned = []
    for _ in range(2):
        rule.load_state_dict(first)
        train(rule, epochs=1, max_steps=2)
        learned.append(copy.deepcopy(rule.state_dict()))
    assert list(differences(*learned)) == []


def test_a_trainer_that_trains_on_goes_on_from_the_last_batch():
    def fitted(*epochs):
        torch.manual_seed(0)
        rule = build(EquilibriumPropagation, persistent_states=True, random_beta_sign=False)
        x, y, _ = batch(n=24)
        loader = DataLoader(TensorDataset(x, y), batch_size=4)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(max_epochs=0, accelerator="cpu", enable_model_summary=False, **quiet)
        for until in epochs:
            trainer.fit_loop.max_epochs = until
            trainer.fit(rule, loader)
        return rule.state_dict()

    assert list(differences(fitted(2), fitted(1, 2))) == []
