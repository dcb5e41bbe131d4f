"""What moves in a training step, and what stays: frozen parameters, updates of a rule of one's own."""

import copy
from functools import partial

import pytest
import torch
from pytorch_lightning.callbacks import BaseFinetuning, ModelPruning
from torch.nn.utils import parametrizations

from bioplausible import Backpropagation, KolenPollack, UserError
from bioplausible.rules.learning_step import is_of_the_package
from tests.helpers import NETWORKS, VARIANTS, Depthwise, batch, build
from tests.training.test_training_step import train

ADAM = partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1)


def learn(rule, optimizer=ADAM, batches=1):
    x, _, y = batch()
    built = optimizer(rule.parameter_groups())
    for _ in range(batches):
        rule.learn(x, y, built)


def changed(rule, before):
    return {name for name, t in rule.state_dict().items() if not torch.equal(t, before[name])}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_frozen_layer_stays_still_and_the_others_learn(variant):
    """Whatever moves it: an update, the optimizer's or the rule's decay, a mirror, momentum of before it was frozen."""
    cls, options = VARIANTS[variant]
    torch.manual_seed(0)
    rule = build(cls, **options)
    x, _, y = batch()
    optimizer = ADAM(rule.parameter_groups())
    rule.learn(x, y, optimizer)
    frozen = {f"network.wiring.2.{name}" for name, _ in rule.network.wiring["2"].named_parameters()}
    rule.network.wiring["2"].requires_grad_(False)
    before = copy.deepcopy(rule.state_dict())
    for _ in range(2):
        rule.learn(x, y, optimizer)
    moved = changed(rule, before)
    assert frozen
    assert not frozen & moved
    assert "network.wiring.1.weight" in moved


@pytest.mark.parametrize(("cls", "options"), [(Backpropagation, {}), (KolenPollack, {"decay": 0.9})])
def test_the_first_step_of_the_others_is_the_same_to_the_bit(cls, options):
    torch.manual_seed(0)
    free = build(cls, **options)
    frozen = copy.deepcopy(free)
    frozen.network.wiring["1"].requires_grad_(False)
    before = copy.deepcopy(free.state_dict())
    learn(free)
    learn(frozen)
    differing = changed(frozen, free.state_dict())
    assert differing == {"network.wiring.1.weight", "network.wiring.1.bias"} & changed(free, before)


def test_a_single_frozen_weight_lets_its_bias_learn():
    rule = build(Backpropagation)
    rule.network.wiring["1"].weight.requires_grad_(False)
    before = copy.deepcopy(rule.state_dict())
    learn(rule)
    moved = changed(rule, before)
    assert "network.wiring.1.weight" not in moved
    assert rule.network.wiring["1"].weight.grad is None  # nor does it count in the norm that is limited
    assert "network.wiring.1.bias" in moved


def test_a_rule_whose_parameters_are_all_frozen_is_refused():
    rule = build(Backpropagation)
    rule.freeze()
    before = copy.deepcopy(rule.state_dict())
    with pytest.raises(UserError, match=r"parameters of Backpropagation are all frozen, .* rule.unfreeze\(\)"):
        train(rule, epochs=1)
    assert not changed(rule, before)


def test_finetuning_holds_a_layer_back_until_its_epoch():
    first = []

    class Finetuning(BaseFinetuning):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.network.wiring["1"])

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 1:
                self.make_trainable(pl_module.network.wiring["1"])

        def on_train_epoch_end(self, trainer, pl_module):
            first.append(pl_module.network.wiring["1"].weight.detach().clone())

    rule = build(Backpropagation)
    start = rule.network.wiring["1"].weight.detach().clone()
    train(rule, epochs=2, callbacks=[Finetuning()])
    assert torch.equal(first[0], start)
    assert not torch.equal(first[1], start)


def tensors_in(value):
    """Yields all tensors in what a phase, or a module, holds."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors_in(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from tensors_in(entry)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_else_holds_an_update_of_the_packages_rules(variant, network):
    """Its sign is turned in place."""
    cls, options = VARIANTS[variant]
    assert is_of_the_package(cls)
    rule = build(cls, network, **options)
    x, _, y = batch(network)
    with torch.no_grad():
        phases = rule.settle(x, y)
        for updates in rule.updates(phases):
            found = [update for _, update in updates]
            held = [x, y, *rule.state_dict(keep_vars=True).values(), *tensors_in(vars(rule))]
            held += [t for phase in phases.values() for t in tensors_in(vars(phase))]
            storages = [t.untyped_storage().data_ptr() for t in found if t.numel()]
            assert len(set(storages)) == len(storages)
            assert not set(storages) & {t.untyped_storage().data_ptr() for t in held}


def test_a_rule_with_a_part_of_a_users_own_is_not_the_packages():
    assert not is_of_the_package(type("Own", (Backpropagation,), {"__module__": "mine"}))


def pruned(rule):
    torch.nn.utils.prune.l1_unstructured(rule.network.wiring["2"], "weight", amount=0.3)


def normed(rule):
    parametrizations.weight_norm(rule.network.wiring["2"])


def bias_pruned(rule):
    torch.nn.utils.prune.l1_unstructured(rule.network.wiring["2"], "bias", amount=0.3)


@pytest.mark.parametrize(
    ("change", "what"), [(pruned, "weight"), (normed, "weight"), (bias_pruned, "bias")], ids=lambda v: str(v)[:20]
)
def test_a_weight_that_is_computed_from_others_is_refused_before_a_step(change, what):
    rule = build(Backpropagation)
    change(rule)
    before = copy.deepcopy(rule.state_dict())
    with pytest.raises(UserError, match=rf'^The {what} of network\.wiring\["2"\] is computed from .*prune.remove'):
        learn(rule)
    assert not changed(rule, before)


def test_pruning_after_an_epoch_is_refused_in_the_next():
    callback = ModelPruning("l1_unstructured", amount=0.3, use_lottery_ticket_hypothesis=False)
    with pytest.raises(UserError, match=r"is computed from .* ModelPruning"):
        train(build(Backpropagation), epochs=2, callbacks=[callback])
    train(build(Backpropagation), epochs=1, callbacks=[callback])


def test_layers_that_share_a_parameter_learn_from_both():
    torch.manual_seed(0)
    apart = build(Backpropagation, [7, 6, 6, 6, 4])
    apart.network.wiring["3"].weight.data.copy_(apart.network.wiring["2"].weight)
    together = copy.deepcopy(apart)
    together.network.wiring["3"].weight = together.network.wiring["2"].weight
    start = together.network.wiring["2"].weight.detach().clone()
    descent = partial(torch.optim.SGD, lr=0.1)
    learn(apart, descent)
    learn(together, descent)
    expected = sum(apart.network.wiring[k].weight.detach() - start for k in "23")
    torch.testing.assert_close(together.network.wiring["2"].weight.detach() - start, expected)


class Own(Backpropagation):
    """Yields what :attr:`yields` makes of its weight and the weight's update."""

    yields = staticmethod(lambda rule, c, update: [(c.weight, update)])

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.trace = None
        self.register_buffer("still", torch.zeros(4, 7, dtype=torch.float64))

    def local_updates(self, phases):
        (c,) = self.network.connections
        yield from self.yields(self, c, dict(super().local_updates(phases))[c.weight])


def moved_by(yields, batches=2):
    """Returns how far the weight of a network of one layer moved, with updates that do not depend on it."""
    torch.manual_seed(0)
    rule = build(Own, [7, 4])
    rule.yields = yields
    start = rule.network.connections[0].weight.detach().clone()
    learn(rule, partial(torch.optim.SGD, lr=1.0), batches)
    return rule.network.connections[0].weight.detach() - start


ONES = torch.ones(4, 7, dtype=torch.float64)


@pytest.mark.parametrize(
    "as_it_is", [lambda t: t, lambda t: t.view(4, 7), lambda t: t.detach()], ids=["same", "view", "detached"]
)
def test_an_update_that_the_rule_keeps_stays_as_it_is(as_it_is):
    kept = ONES.clone()
    found = moved_by(lambda rule, c, update: [(c.weight, as_it_is(kept))])
    assert torch.equal(kept, ONES)
    torch.testing.assert_close(found, 2 * ONES)


def test_one_tensor_may_be_the_update_of_two_parameters():
    class Own(KolenPollack):
        pass

    rule = build(Own)
    wiring = rule.network.wiring["2"]
    update = torch.ones_like(wiring.weight)
    rule.local_updates = lambda phases: [(wiring.weight, update), (wiring.feedback_weight, update)]
    rule.decay_weights = lambda: None
    before = copy.deepcopy(wiring.state_dict())
    learn(rule, partial(torch.optim.SGD, lr=1.0))
    for name in ("weight", "_feedback_weight"):
        torch.testing.assert_close(wiring.state_dict()[name] - before[name], update)


def test_a_parameter_that_is_yielded_twice_moves_by_both_updates():
    found = moved_by(lambda rule, c, update: [(c.weight, ONES), (c.weight, 2 * ONES)])
    torch.testing.assert_close(found, 6 * ONES)


def test_a_buffer_that_no_optimizer_moves_is_refused_by_its_name():
    with pytest.raises(UserError, match=r"^local_updates of Own yields still, which .* update_state"):
        moved_by(lambda rule, c, update: [(c.weight, update), (rule.still, update)])


def test_a_tensor_that_is_nothing_of_the_rule_is_refused_by_its_shape():
    with pytest.raises(UserError, match=r"^local_updates of Own yields a tensor of shape 4 × 7, which"):
        moved_by(lambda rule, c, update: [(c.weight.clone(), update)])


def test_what_a_users_own_wiring_keeps_of_an_update_stays_as_it_is():
    kept = []

    class Keeping(Depthwise):
        def correlate(self, *args, **options):
            kept.append(super().correlate(*args, **options))
            return kept[-1]

    network = [[2, 4, 4], partial(Keeping, kernel=3), 3]
    rule = Backpropagation(network=network).double()
    x, _, y = batch(network)
    rule.learn(x, y, ADAM(rule.parameter_groups()))
    (product,) = kept
    assert torch.equal(rule.network.wiring["1"].weight.grad, -product)
