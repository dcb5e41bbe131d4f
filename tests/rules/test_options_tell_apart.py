"""Options of rules that are easily mixed up: each does what its name says, and nothing else does."""

import copy
import inspect
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from bioplausible import (
    PEPITA,
    Backpropagation,
    Burstprop,
    ContrastiveSimilarityMatching,
    CorInfoMax,
    CorInfoMaxEBD,
    CorInfoMaxSparse,
    DifferenceTargetPropagation,
    DirectDifferenceTargetPropagation,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    DualPropagation,
    EquilibriumPropagation,
    ErrorBroadcastDecorrelation,
    FeedbackAlignment,
    ForwardForward,
    IncrementalPredictiveCoding,
    KolenPollack,
    LocalDifferenceReconstruction,
    MuPredictiveCoding,
    NudgedPredictiveCoding,
    Phase,
    PredictiveCoding,
)
from bioplausible.rules import LearningRule
from bioplausible.rules.backpropagation import FeedforwardRule
from bioplausible.rules.corinfomax_network import CorInfoMaxNetwork
from bioplausible.rules.predictive_coding_network import PredictiveCodingNetwork
from bioplausible.rules.supervised_predictive_coding import SupervisedPredictiveCoding
from bioplausible.rules.target_propagation import TargetPropagation
from bioplausible.training.randomness import mix
from tests.helpers import (
    ALL_TERMS_OF_CORINFOMAX_EBD,
    ALL_TERMS_OF_EBD,
    NETWORKS,
    SIZES,
    VARIANTS,
    all_rules,
    batch,
    build,
    updates,
)


def watched(rule, run):
    """Returns, of each phase that a call goes through, its starting states and its step sizes."""
    phases = []

    def watch(t, activity, η):
        if t == 0:
            phases.append(([a.clone() for a in activity[1:]], []))
        else:
            assert t == len(phases[-1][1]) + 1
            phases[-1][1].append(η)

    rule.watch = watch
    run()
    rule.watch = None
    return phases


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def with_step(monkeypatch, step):
    monkeypatch.setattr(LearningRule, "step", property(lambda self: step))


SETTLING = [cls for cls in all_rules() if "evaluation_steps" in inspect.signature(cls.__init__).parameters]
SETTLING += [ContrastiveSimilarityMatching, CorInfoMaxSparse]


@pytest.mark.parametrize("cls", SETTLING, ids=lambda cls: cls.__name__)
def test_each_phase_takes_its_own_number_of_steps(cls):
    x, _, y = batch()
    lengths = {"free_steps": 7, "nudged_steps": 3}
    for evaluation, expected in ((4, 4), (None, 7)):
        rule = build(cls, evaluation_steps=evaluation, **lengths)
        assert [len(η) for _, η in watched(rule, lambda rule=rule: rule(x))] == [expected]
        assert [len(η) for _, η in watched(rule, lambda rule=rule: rule.activity(x))] == [expected]
        assert [len(η) for _, η in watched(rule, lambda rule=rule: rule.settle(x, y))] == [7, 3]
    three = build(cls, three_phase=True, **lengths)
    assert [len(η) for _, η in watched(three, lambda: three.settle(x, y))] == [7, 3, 3]


@pytest.mark.parametrize("cls", [EquilibriumPropagation, ContrastiveSimilarityMatching])
def test_an_evaluation_has_its_own_step_size(cls):
    x, _, y = batch()
    for evaluation, expected in ((0.25, 0.25), (None, 0.5)):
        rule = build(cls, step_size=0.5, evaluation_step_size=evaluation)
        ((_, η),) = watched(rule, lambda rule=rule: rule(x))
        assert set(η) == {expected}
        assert {e for _, η in watched(rule, lambda rule=rule: rule.settle(x, y)) for e in η} == {0.5}


FALLEN = {
    "constant": ({}, [0.4] * 6),
    "divide_by_loop_index": ({"step_size_floor": 0.15}, [0.4, 0.2, 0.15, 0.15, 0.15, 0.15]),
    "divide_by_slow_loop_index": (
        {"step_size_floor": 0.15, "step_size_decay": 0.5},
        [0.4, 0.4 / 1.5, 0.2, 0.16, 0.15, 0.15],
    ),
}


@pytest.mark.parametrize("rule_of_step_size", FALLEN)
@pytest.mark.parametrize("cls", [CorInfoMax, CorInfoMaxSparse, PredictiveCoding, NudgedPredictiveCoding])
def test_step_sizes_fall_to_their_floor_anew_in_each_phase(cls, rule_of_step_size):
    x, _, y = batch()
    steps = {"inference_steps": 6} if issubclass(cls, (PredictiveCoding, NudgedPredictiveCoding)) else {}
    steps = steps or {"free_steps": 6, "nudged_steps": 6, "evaluation_steps": 6}
    options, fallen = FALLEN[rule_of_step_size]
    rule = build(cls, step_size=0.4, step_size_rule=rule_of_step_size, **options, **steps)
    for _, η in watched(rule, lambda: rule.settle(x, y)):
        assert η == pytest.approx(fallen, rel=1e-12)


RANDOM_SIGNS = [CorInfoMax, CorInfoMaxSparse, EquilibriumPropagation, ContrastiveSimilarityMatching]
RANDOM_SIGNS += [NudgedPredictiveCoding]


@pytest.mark.parametrize("cls", RANDOM_SIGNS, ids=lambda cls: cls.__name__)
def test_the_sign_of_beta_is_drawn_each_step_from_seed_and_step_where_asked_for(cls, monkeypatch):
    x, _, y = batch()

    def betas(**options):
        rule, found = build(cls, beta=0.3, **options), []
        rule.seed = 5
        for step in range(24):
            with_step(monkeypatch, step)
            phases = rule.settle(x, y)
            nudged = phases.get("nudged") or phases["inference"]
            if "antinudged" in phases:
                assert phases["antinudged"].beta == -nudged.beta
            found.append(nudged.beta)
        return found

    expected = [0.3 if mix(5, step) >= 2**63 else -0.3 for step in range(24)]
    assert betas(random_beta_sign=True) == expected
    assert len(set(expected)) == 2
    assert betas(random_beta_sign=False) == [0.3] * 24
    if cls is not NudgedPredictiveCoding:
        assert betas(random_beta_sign=True, three_phase=True) == expected
        assert betas() == expected  # published: the default
    else:
        assert betas() == [0.3] * 24


@pytest.mark.parametrize("cls", [EquilibriumPropagation, ContrastiveSimilarityMatching])
def test_every_further_phase_of_equilibrium_propagation_starts_from_the_free_state(cls):
    x, _, y = batch()
    for options, names in (
        ({"three_phase": True}, ["free", "nudged", "antinudged"]),
        ({"relax_free_again": True}, ["free", "nudged", "free_again"]),
        ({}, ["free", "nudged"]),
    ):
        rule, found = build(cls, **options), {}
        starts = watched(rule, lambda rule=rule, found=found: found.update(rule.settle(x, y)))
        assert list(found) == names
        assert not any(a.any() for a in starts[0][0])
        free = found["free"].activity[1:]
        assert all(equal(start, free) for start, _ in starts[1:])
        assert not equal(found["nudged"].activity[1:], free)


def test_the_free_phase_goes_on_without_the_target():
    x, _, y = batch()
    rule = build(EquilibriumPropagation, relax_free_again=True, free_steps=5, nudged_steps=3, random_beta_sign=False)
    longer = build(EquilibriumPropagation, free_steps=8, random_beta_sign=False)
    longer.load_state_dict(rule.state_dict())
    phases = rule.settle(x, y)
    assert phases["free_again"].beta == 0
    for a, b in zip(phases["free_again"].activity, longer.settle(x, y)["free"].activity, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    contrasted = updates(rule, phases)
    for k in (1, 2, 3):
        plus, minus = phases["nudged"].activity[k], phases["free_again"].activity[k]
        torch.testing.assert_close(contrasted[f"network.wiring.{k}.bias"], (plus - minus).mean(0))


@pytest.mark.parametrize("start", ["nudged", "free"])
@pytest.mark.parametrize("cls", [CorInfoMax, CorInfoMaxSparse])
def test_the_third_phase_of_corinfomax_starts_where_it_is_told_to(cls, start):
    x, _, y = batch()
    rule, found = build(cls, three_phase=True, third_phase_start=start), {}
    starts = watched(rule, lambda: found.update(rule.settle(x, y)))
    assert equal(starts[1][0], found["free"].activity[1:])
    assert equal(starts[2][0], found[start].activity[1:])
    assert not equal(found["nudged"].activity[1:], found["free"].activity[1:])


def first_iteration(rule, x, y, r, u, beta, η):
    """Returns r_1 … r_L after one iteration of CorInfoMax from states r and potentials u, layer after layer."""
    W = [c.weight for c in rule.network.connections]
    V = [c.feedback_weight for c in rule.network.connections]
    B = [rule.network.laterals[k].weight for k in (1, 2, 3)]
    g, ε, γ = rule.leak, rule.epsilon, (1 - rule.forgetting_factor) / rule.forgetting_factor
    r = [x, *r]
    for k in (1, 2, 3):
        velocity = g * (r[k] - u[k - 1]) + (r[k - 1] @ W[k - 1].t() - u[k - 1]) / ε
        if k < 3:
            velocity += (r[k + 1] @ V[k] - u[k - 1]) / ε + 2 * γ * r[k] @ B[k - 1].t()
        else:
            velocity += γ * r[k] @ B[k - 1].t() - u[k - 1] - beta * (r[k] - y)
        r[k] = (u[k - 1] + η * velocity).clamp(0, 1)
    return r[1:]


@torch.no_grad()
@pytest.mark.parametrize("carry", [False, True])
def test_the_membrane_potential_restarts_at_the_activity_or_carries_over(carry):
    x, _, y = batch(n=20)
    rule = build(
        CorInfoMax,
        carry_membrane_potential=carry,
        three_phase=True,
        nudged_steps=1,
        forgetting_factor=0.9,
        beta=0.7,
        random_beta_sign=False,
    )
    phases = rule.settle(x, y)
    for start, end in (("free", "nudged"), ("nudged", "antinudged")):
        r, u = phases[start].activity[1:], phases[start].internal["u"]
        assert any(((a < 0) | (a > 1)).any() for a in u), "where nothing is cut off, both are the same"
        expected = {
            carried: first_iteration(rule, x, y, r, u if carried else r, phases[end].beta, 0.05)
            for carried in (False, True)
        }
        for a, b in zip(phases[end].activity[1:], expected[carry], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
        assert any((a - b).abs().max() > 1e-6 for a, b in zip(*expected.values(), strict=True))


LATERALS = [7, 6, 5, 3, 4]
RATES = [0.01, 0.02, 0.03]


@torch.no_grad()
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("beta", [0.5, -0.25])
def test_lateral_weights_decay_by_their_own_layers_rate_scheduled_or_not(scheduled, beta):
    rule = build(
        ContrastiveSimilarityMatching,
        LATERALS,
        beta=beta,
        random_beta_sign=False,
        lateral_learning_rates=RATES,
        scheduled_decay=scheduled,
    )
    x, _, y = batch(LATERALS)
    phases = rule.settle(x, y)
    before = {k: lateral.weight.clone() for k, lateral in rule.network.laterals.items()}
    optimizer = torch.optim.SGD(rule.parameter_groups(), lr=9)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {name: g["lr"] for name, g in groups.items() if "lateral" in name} == {
        f"lateral_{k}": rate for k, rate in enumerate(RATES, start=1)
    }
    for k, rate in enumerate(RATES, start=1):
        assert groups[f"lateral_{k}"]["params"][0] is rule.network.laterals[k].weight
        groups[f"lateral_{k}"]["lr"] = rate / (3 + k)  # as a schedule would
    rule.update_state(phases, optimizer)
    for k, rate in enumerate(RATES, start=1):
        r, alpha = phases["nudged"].activity[k], rate / (3 + k)
        decay = alpha if scheduled else rate
        expected = (before[k] + alpha * r.t() @ r / len(r) / (2 * beta)) * (1 - decay / (2 * abs(beta)))
        torch.testing.assert_close(rule.network.laterals[k].weight, expected, rtol=1e-13, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("three_phase", [True, False])
def test_lateral_weights_learn_from_the_nudged_phase_with_the_sign_of_beta_or_without(signed, three_phase):
    rule = build(
        ContrastiveSimilarityMatching,
        beta=-0.25,
        random_beta_sign=False,
        signed_hebbian_term=signed,
        three_phase=three_phase,
    )
    x, _, y = batch()
    phases = rule.settle(x, y)
    before = {k: lateral.weight.clone() for k, lateral in rule.network.laterals.items()}
    rule.update_state(phases, torch.optim.SGD(rule.parameter_groups()))
    for k in (1, 2):
        r = phases["nudged"].activity[k]
        expected = before[k] + 0.002 * r.t() @ r / len(r) / (2 * (-0.25 if signed else 0.25))
        torch.testing.assert_close(rule.network.laterals[k].weight, expected * (1 - 0.002 / (2 * 0.25)))
    defaults = ContrastiveSimilarityMatching(SIZES)
    assert (defaults.signed_hebbian_term, defaults.scheduled_decay) == (True, False)


@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.SGD, momentum=0.9, weight_decay=0.1), torch.optim.Adam, torch.optim.AdamW]
)
def test_no_optimizer_changes_what_lateral_weights_come_to_rest_at(optimizer):
    """M's fixed point is a correlation: with Adam it would be a matrix of signs, with momentum several times it."""
    x, _, y = batch()
    plain, other = (
        build(ContrastiveSimilarityMatching, optimizer=o, learning_rates=0.0, random_beta_sign=False, beta=0.5)
        for o in (torch.optim.SGD, optimizer)
    )
    other.load_state_dict(plain.state_dict())
    for rule in (plain, other):
        built = rule.optimizer(rule.parameter_groups())
        for _ in range(4):
            rule.learn(x, y, built)
    for k, lateral in plain.network.laterals.items():
        torch.testing.assert_close(other.network.laterals[k].weight, lateral.weight, rtol=1e-13, atol=0)


@torch.no_grad()
def test_lateral_weights_act_through_their_symmetric_part():
    """They are symmetric only until an optimizer moves them."""
    x, _, _ = batch()
    rule = build(ContrastiveSimilarityMatching, free_steps=1, evaluation_steps=1, step_size=0.5)
    for lateral in rule.network.laterals.values():
        lateral.weight.add_(torch.rand_like(lateral.weight))
    start = [torch.rand(len(x), d, dtype=torch.float64) for d in SIZES[1:]]
    network = rule.clamp(x)
    found = rule.relax(network, Phase([x, *start]), 1, 0.5).activity
    W = [c.weight for c in rule.network.connections]
    b = [c.bias for c in rule.network.connections]
    r = [x, *start]
    for k in (1, 2):
        M = rule.network.laterals[k].weight
        assert not torch.equal(M, M.t())
        u = r[k - 1] @ W[k - 1].t() + b[k - 1] + r[k + 1] @ W[k] - r[k] @ (M + M.t()) / 2
        torch.testing.assert_close(found[k], (r[k] + 0.5 * (u - r[k])).clamp(0, 1))
        torch.testing.assert_close(rule.network.laterals[k](r[k]), r[k] @ (M + M.t()) / 2)


OUTPUTS_OF_THEIR_OWN = (DualPropagation, PEPITA, Burstprop)
"""Rules whose output learns from other activities below than the feedforward pass's, or has no other activation."""


@pytest.mark.parametrize("loss", ["mean_squared_error", "cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("f", ["sigmoid", "tanh", "relu", "linear"])
@pytest.mark.parametrize(
    "cls", [cls for cls in all_rules() if issubclass(cls, FeedforwardRule) and cls not in OUTPUTS_OF_THEIR_OWN]
)
def test_the_output_error_is_the_loss_gradient_through_the_outputs_own_activation(cls, f, loss):
    rule = build(cls, output_activation=f, activation_function="tanh", loss=loss)
    x, _, y = batch()
    found = updates(rule, rule.settle(x, y))
    r = [x]
    for k, c in enumerate(rule.network.connections, start=1):
        a = F.linear(r[-1], c.weight, c.bias)
        r.append(
            torch.tanh(a) if k < 3 else {"relu": torch.relu, "linear": lambda a: a}.get(f, getattr(torch, f, None))(a)
        )
    cost = {
        "cross_entropy": lambda: F.cross_entropy(r[-1], y),
        "binary_cross_entropy": lambda: F.binary_cross_entropy_with_logits(r[-1], y, reduction="sum") / len(x),
        "mean_squared_error": lambda: (r[-1] - y).square().mean(),
    }[loss]()
    if cls is ErrorBroadcastDecorrelation and loss == "mean_squared_error":
        cost = cost * y.shape[1] / 2  # it broadcasts r_L − y
    if isinstance(rule, TargetPropagation):
        cost = cost * rule.local_loss_factor * rule.target_step
    last = rule.network.connections[-1]
    for p, name in ((last.weight, "weight"), (last.bias, "bias")):
        (g,) = torch.autograd.grad(cost, p, retain_graph=True)
        torch.testing.assert_close(found[f"network.wiring.3.{name}"], -g, rtol=1e-10, atol=1e-14)
        assert g.abs().max() > 1e-5


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_update_depends_on_no_tensor_of_another_layer(variant):
    """Weights, biases, V, B, M: with the settled states held, those of other layers change nothing that is learned."""
    cls, options = VARIANTS[variant]
    rule = build(cls, **options)
    for c in rule.network.connections:
        if c.bias is not None:
            c.bias.add_(0.3)
    x, _, y = batch()
    phases = rule.settled(x, y)
    if isinstance(rule, TargetPropagation):  # how targets come down is tested with these rules
        held = rule.targets(phases["feedforward"])
        rule.targets = lambda phase: held
    before = updates(rule, phases)
    assert all(u.any() for u in before.values())
    if isinstance(rule, DirectDifferenceTargetPropagation) or getattr(rule, "differs", False):
        # where noise runs up to the output, feedback knows what lies above: tested with these rules too
        before = {name: u for name, u in before.items() if name.startswith("network.") and "feedback" not in name}
    layer_of = {n: n.split(".")[2] if n.startswith("network.") else f"{int(n.split('.')[1]) + 1}" for n in before}
    for name, tensor in [*rule.named_parameters(), *rule.named_buffers()]:
        if not name.startswith("network."):
            continue
        saved = tensor.clone()
        tensor.add_(0.1 * torch.rand_like(tensor))
        after = updates(rule, phases)
        for other in before:
            update = after[other]
            if layer_of[other] != name.split(".")[2] or "lateral" in name:
                assert torch.equal(before[other], update), f"{other} depends on {name}"
        tensor.copy_(saved)
    if not isinstance(rule, CorInfoMax):
        return
    after = copy.deepcopy(rule)
    after.update_state(phases, None)
    for name, tensor in [*rule.named_parameters(), *rule.named_buffers()]:
        other = copy.deepcopy(rule)
        dict([*other.named_parameters(), *other.named_buffers()])[name].add_(0.1 * torch.rand_like(tensor))
        other.update_state(phases, None)
        for k, lateral in other.network.laterals.items():
            if name != f"network.lateral.{k}.weight":
                assert torch.equal(lateral.weight, after.network.laterals[k].weight), f"B_{k} depends on {name}"


BY_LAYER = [
    *((CorInfoMaxEBD, ALL_TERMS_OF_CORINFOMAX_EBD, name, 3) for name in ("decorrelation", "lateral_decorrelation")),
    *((CorInfoMaxEBD, ALL_TERMS_OF_CORINFOMAX_EBD, name, 3) for name in ("prediction", "power", "target_power")),
    (CorInfoMaxEBD, ALL_TERMS_OF_CORINFOMAX_EBD, "feedback_decorrelation", 2),
    (CorInfoMaxEBD, ALL_TERMS_OF_CORINFOMAX_EBD, "feedback_prediction", 2),
    (ErrorBroadcastDecorrelation, ALL_TERMS_OF_EBD, "decorrelation", 3),
    *((ErrorBroadcastDecorrelation, ALL_TERMS_OF_EBD, name, 2) for name in ("power", "target_power", "sparsity")),
    (ErrorBroadcastDecorrelation, ALL_TERMS_OF_EBD, "entropy", 2),
    (ErrorBroadcastDecorrelation, {"network": "convolution", "entropy_of": "weights"}, "entropy", 2),
    (ForwardForward, {}, "threshold", 2),
    (ForwardForward, {"prediction": "goodness"}, "threshold", 2),
    (Burstprop, {}, "recurrent_rate", 2),
    (DifferenceTargetPropagation, {}, "sigma", 2),
    (LocalDifferenceReconstruction, {}, "sigma", 2),
]
"""Rules, other options, an option of one number or one a layer, and how many layers have it."""


@pytest.mark.parametrize(
    ("cls", "others", "name", "layers"),
    [pytest.param(*each, id=f"{each[0].__name__}, {each[2]}, {i}") for i, each in enumerate(BY_LAYER)],
)
def test_an_entry_of_a_list_by_layer_acts_on_its_own_layer_alone(cls, others, name, layers):
    def learned(values):
        torch.manual_seed(0)
        rule = build(cls, **{**others, name: values})
        x, _, y = batch(others.get("network", SIZES))
        with torch.no_grad():
            phases, found = rule.settle(x, y), {}
            for stage in rule.updates(phases):
                for parameter, update in stage:
                    found.setdefault(id(parameter), update.clone())  # the first, where there are several
            rule.update_state(phases, None)
        names = {name: found[id(parameter)] for name, parameter in rule.named_parameters() if id(parameter) in found}
        return names | {name: buffer.clone() for name, buffer in rule.named_buffers()}

    values = [0.2 + 0.1 * i for i in range(layers)]
    before, places = learned(values), []
    assert all(torch.equal(learned([0.2] * layers)[key], value) for key, value in learned(0.2).items())
    for i in range(layers):
        after = learned([value * (1.5 if i == j else 1) for j, value in enumerate(values)])
        places.append([place for place, key in enumerate(before) if not torch.equal(before[key], after[key])])
    assert all(places)
    assert [changed[0] for changed in places] == sorted({changed[0] for changed in places})  # layer by layer
    assert len({place for changed in places for place in changed}) == sum(map(len, places))


@torch.no_grad()
@pytest.mark.parametrize("variant", [*VARIANTS, "CorInfoMax, correlations"])
def test_a_rule_out_of_a_state_dict_learns_the_same_bits(variant):
    """Fixed feedback, D, B, M and correlation estimates are in it: two rules with the same state are one."""
    cls, options = VARIANTS[variant.partition(", correlations")[0]]
    if variant.endswith("correlations"):
        options = {**options, "track_correlations": True, "track_correlations_every_n_steps": 1}
    torch.manual_seed(1)
    first = build(cls, **options)
    torch.manual_seed(2)
    second = build(cls, **options)
    x, _, y = batch()
    first.train_means.update(y.argmax(1) == 0, y[:, 0])
    optimizer = torch.optim.SGD(first.parameter_groups(), lr=0.1)
    first.update_state(first.settle(x, y), optimizer)
    second.load_state_dict(first.state_dict())
    tensors = dict([*first.named_parameters(), *first.named_buffers()])
    for name, t in [*second.named_parameters(), *second.named_buffers()]:
        assert torch.equal(t, tensors[name]), name
    one, two = (updates(rule, rule.settle(x, y)) for rule in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    if variant.endswith("correlations"):
        found = [{n: b for n, b in rule.named_buffers() if n.startswith("correlations.")} for rule in (first, second)]
        assert len(found[0]) == 2 * (3 + 3 + 2)
        assert all(name in first.state_dict() for name in found[0])
        assert not torch.equal(found[0]["correlations.free.state_1"], torch.eye(6, dtype=torch.float64))
    assert torch.equal(first.train_means.totals, second.train_means.totals)


@torch.no_grad()
@pytest.mark.parametrize("decays", [False, True])
def test_weight_decay_of_corinfomax_is_epsilon_times_each_groups_rate(decays):
    x, _, y = batch()
    rule = build(CorInfoMax, weight_decay=decays, feedforward_learning_rates=[0.1, 0.2, 0.3], epsilon=0.2)
    optimizer = torch.optim.SGD(rule.parameter_groups(), lr=9)
    before = {name: p.clone() for name, p in rule.named_parameters()}
    rule.update_state(rule.settle(x, y), optimizer)
    for k, lr in enumerate([0.1, 0.2, 0.3], start=1):
        name = f"network.wiring.{k}.weight"
        factor = 1 - lr * 0.2 if decays else 1
        torch.testing.assert_close(rule.get_parameter(name), before[name] * factor)
        name = f"network.wiring.{k}._feedback_weight"
        if k > 1:
            factor = 1 - 0.07 * 0.2 if decays else 1
            torch.testing.assert_close(rule.get_parameter(name), before[name] * factor)


@torch.no_grad()
@pytest.mark.parametrize("three_phase", [False, True])
def test_lateral_weights_of_corinfomax_learn_from_the_first_nudged_phase(three_phase):
    x, _, y = batch()
    rule = build(CorInfoMax, three_phase=three_phase, forgetting_factor=0.9)
    phases = rule.settle(x, y)
    before = {k: lateral.weight.clone() for k, lateral in rule.network.laterals.items()}
    rule.update_state(phases, torch.optim.SGD(rule.parameter_groups(), lr=0.1))
    γ = 0.1 / 0.9
    for k, B in before.items():
        z = phases["nudged"].activity[k] @ B.t()
        torch.testing.assert_close(rule.network.laterals[k].weight, (B - γ * z.t() @ z / len(z)) / 0.9)


@torch.no_grad()
def test_the_inhibitory_neuron_of_a_sparse_layer_carries_over_and_its_potential_restarts():
    x, _, y = batch(n=20)
    rule = build(CorInfoMaxSparse, dual_step_sizes={1: 0.3, 2: 0.2}, free_steps=8, nudged_steps=1)
    for c in rule.network.connections:
        c.weight.abs_().mul_(2)
    phases = rule.settle(x, y)
    start, end = phases["free"], phases["nudged"]
    for i, (k, size) in enumerate({1: 0.3, 2: 0.2}.items()):
        q = start.internal["dual"][i]
        assert q.shape == (20, 1)
        assert (q > 0).any(), "an inhibitory neuron that is silent shows nothing"
        p = q + size * (end.activity[k].sum(1, keepdim=True) - 1 + q - q)
        torch.testing.assert_close(end.internal["dual"][i], p.clamp(min=0))
    assert (end.activity[1] > 1).any() or (end.activity[1].sum(1) > 1).any()


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_activity_is_the_output(variant):
    cls, options = VARIANTS[variant]
    rule = build(cls, **options)
    x, _, _ = batch()
    assert torch.equal(rule.activity(x)[-1], rule(x))
    if cls is not ForwardForward:  # whose first units hold the label
        assert torch.equal(rule.activity(x)[0], x)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (PredictiveCoding, {}),
        (PredictiveCoding, {"fixed_predictions": True}),
        (PredictiveCoding, {"inference": "errors"}),
        (NudgedPredictiveCoding, {}),
        (CorInfoMax, {}),
        (CorInfoMax, {"three_phase": True}),
        (CorInfoMaxSparse, {}),
    ],
    ids=str,
)
def test_a_phase_holds_the_last_of_its_step_sizes(cls, options):
    """By which what moved in the last iteration is divided."""
    x, _, y = batch()
    rule, held = build(cls, SIZES, step_size_rule="divide_by_loop_index", step_size_floor=1e-6, **options), []
    taken = watched(rule, lambda: held.extend(rule.settle(x, y).values()))
    settled = [phase for phase in held if phase.previous]
    assert len(settled) == len(taken) > 0
    for phase, (_, step_sizes) in zip(settled, taken, strict=True):
        assert len(set(step_sizes)) > 3
        assert phase.step_size == step_sizes[-1]


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_direct_feedback_comes_through_the_wiring_to_the_next_layer(network):
    """Also where a skip connection ends in that layer too."""
    rule = build(DirectFeedbackAlignment, network)
    x, _, y = batch(network)
    phase = rule.settle(x, y)["feedforward"]
    error = rule.loss_gradient(phase.activity[-1], y)
    for k, connection in enumerate(rule.network.chain[1:], start=1):
        back = connection.project(rule.get_buffer(f"D_{k + 1}"), error)
        torch.testing.assert_close(phase.internal["delta"][k - 1], rule.f.derivative(phase.activity[k]) * back)


# ------------------------------------------------------------------------------------------------------------- defaults

DEFAULTS = {
    FeedforwardRule: "loss=cross_entropy activation_function=relu output_activation=linear lr_scheduler_interval=epoch",
    Backpropagation: "initialization=linear",
    FeedbackAlignment: "loss=mean_squared_error feedback=fixed initialization=xavier",
    DirectFeedbackAlignment: "signal=error projection=input initialization=xavier",
    DirectRandomTargetProjection: "loss=binary_cross_entropy activation_function=tanh projection=output"
    " initialization=xavier",
    ForwardForward: "activation_function=relu goodness=sum normalization=rms prediction=classifier"
    " negative_labels=wrong label_value=1.0 peer_normalization=0.0 peer_slope=one order=together updates_per_batch=1"
    " initialization=xavier lr_scheduler_interval=epoch",
    DifferenceTargetPropagation: "feedback_loss=reconstruction last_hidden_target=difference target_step=0.1 sigma=0.1"
    " feedback_steps=1 activation_function=tanh initialization=xavier",
    DirectDifferenceTargetPropagation: "target_step=0.1 sigma=0.1 feedback_steps=1 activation_function=tanh"
    " initialization=xavier",
    LocalDifferenceReconstruction: "target_step=0.5 sigma=0.2 feedback_steps=10 activation_function=elu"
    " initialization=xavier",
    KolenPollack: "loss=cross_entropy decay=0.9999 initialization=xavier",
    DualPropagation: "loss=cross_entropy alpha=0.5 beta=0.1 form=lagrangian order=backward initialization=xavier",
    PEPITA: "loss=cross_entropy projection_scale=0.05 dropout=0.0 published_convolution=False initialization=kaiming",
    Burstprop: "feedback=learned baseline=0.2 decay=0.999999 initialization=xavier",
    ErrorBroadcastDecorrelation: "loss=mean_squared_error error_forgetting_factor=0.99999 correlated=identity"
    " decorrelation=1.0 forward_broadcast=0.0 entropy_of=activity power=0.0 target_power=0.25 sparsity=0.0"
    " forgetting_factor=0.99999 epsilon=0.01 initialization=xavier",
    CorInfoMaxNetwork: "forgetting_factor=0.99999 epsilon=0.15 leak=0.3 free_steps=30 step_size=0.05"
    " step_size_rule=constant step_size_floor=0.001 step_size_decay=0.01 regularize_lateral=False"
    " lr_scheduler_interval=epoch",
    CorInfoMaxEBD: "error_forgetting_factor=0.99999 decorrelation=1.0 feedback_decorrelation=0.0"
    " lateral_decorrelation=0.0 prediction=0.1 feedback_prediction=0.1 power=0.0 target_power=0.25"
    " feedforward_learning_rates=0.1 feedback_learning_rates=0.1",
    CorInfoMax: "forgetting_factor=0.99999 epsilon=0.15 leak=0.3 beta=1.0 random_beta_sign=True three_phase=False"
    " third_phase_start=nudged carry_membrane_potential=False free_steps=30 nudged_steps=10 step_size=0.05"
    " step_size_rule=constant step_size_floor=0.001 step_size_decay=0.01 feedforward_learning_rates=0.3"
    " feedback_learning_rates=0.07 regularize_lateral=False weight_decay=False track_correlations=False"
    " track_correlations_every_n_steps=10 lr_scheduler_interval=epoch",
    CorInfoMaxSparse: "leak=0.2 free_steps=20 step_size=0.045 step_size_rule=divide_by_slow_loop_index"
    " feedback_learning_rates=0.06",
    EquilibriumPropagation: "beta=1.0 random_beta_sign=True three_phase=False relax_free_again=False free_steps=20"
    " nudged_steps=4 step_size=0.5 update_order=synchronous persistent_states=False hold_output=False"
    " activation_function=clip output_activation=clip loss=squared_error readout=False feedback=tied"
    " feedback_update=separate initialization=xavier learning_rates=0.05 feedback_learning_rates=0.05"
    " lr_scheduler_interval=epoch",
    ContrastiveSimilarityMatching: "lateral_learning_rates=0.002 scheduled_decay=False signed_hebbian_term=True",
    PredictiveCodingNetwork: "activation_function=relu inference_steps=50 inference_momentum=0.0"
    " inference_nesterov=False step_size=0.1 step_size_rule=constant"
    " step_size_floor=0.05 step_size_decay=0.005 residual=False bias=True initialization=kaiming"
    " lr_scheduler_interval=epoch",
    SupervisedPredictiveCoding: "activation_function=relu target_range=(0.0, 1.0) loss=squared_error",
    IncrementalPredictiveCoding: "step_size_discount=1.0 update_weights_at=all",
    PredictiveCoding: "activation_function=sigmoid target_range=(0.03, 0.97) fixed_predictions=False"
    " step_size_decay=0.01 loss=squared_error stale_errors=False beta=1.0 beta_growth=0.0"
    " inference=values free_output_error=False",
    MuPredictiveCoding: "activation_function=relu target_range=(0.0, 1.0) loss=squared_error output_divisor=1.0"
    " bias=False initialization=standard_normal",
    NudgedPredictiveCoding: "beta=0.001 random_beta_sign=False lr_scheduler_interval=step",
}


def test_defaults_are_what_they_were():
    """Whoever left an argument out would get another network, without a word: a changed default belongs here too."""
    assert DEFAULTS.keys() >= set(all_rules())
    for cls, said in DEFAULTS.items():
        parameters = inspect.signature(cls.__init__).parameters.values()
        plain = [p for p in parameters if isinstance(p.default, (int, float, str, tuple)) and p.default is not p.empty]
        assert " ".join(f"{p.name}={p.default}" for p in plain) == said, cls
