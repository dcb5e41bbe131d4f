"""Error broadcast and decorrelation: what it descends, what it becomes in special cases, and its equations by hand."""

import copy
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from bioplausible import CorInfoMax, CorInfoMaxEBD, DirectFeedbackAlignment, ErrorBroadcastDecorrelation, UserError
from bioplausible.network import broadcast, mean_product
from tests.helpers import ALL_TERMS_OF_CORINFOMAX_EBD, ALL_TERMS_OF_EBD, NETWORKS, batch, build, updates

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
CLOSE = {"rtol": 1e-10, "atol": 1e-13}


def awake(cls, network, seed=0, **options):
    """Returns a rule whose rectified units are not all silent."""
    torch.manual_seed(seed)
    rule = build(cls, network, **options)
    with torch.no_grad():
        for c in rule.network.connections:
            if c.bias is not None:
                c.bias.uniform_(0.0, 0.3)
    return rule


def gradients(objective, rule, connections):
    """Returns an objective's gradient by the weights and biases of connections, by the parameters' names."""
    names = {id(p): name for name, p in rule.named_parameters()}
    own = [p for c in connections for p in (c.weight, c.bias) if p is not None]
    found = torch.autograd.grad(objective, own, retain_graph=True)
    return {names[id(p)]: g for p, g in zip(own, found, strict=True)}


def identity(d):
    return torch.eye(d, dtype=torch.float64)


def require_same(found, expected):
    for name, g in expected.items():
        assert g.any(), name
        torch.testing.assert_close(found[name], g, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)


# ------------------------------------------------------------------------------------------------ what it descends


TERMS = {
    "decorrelation": {"decorrelation": 0.7},
    "of the square": {"decorrelation": 0.7, "correlated": "square"},
    "entropy": {"decorrelation": 0.0, "entropy": 0.3},
    "power": {"decorrelation": 0.0, "power": 0.4, "target_power": 0.3},
    "sparsity": {"decorrelation": 0.0, "sparsity": 0.2},
    "all": {"decorrelation": 0.7, "entropy": 0.3, "power": 0.4, "target_power": 0.3, "sparsity": 0.2},
    "all, of the square": {"correlated": "square", "entropy": 0.3, "power": 0.4, "target_power": 0.3, "sparsity": 0.2},
}


@ALL_NETWORKS
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("f", ["relu", "tanh"])
def test_a_hidden_layer_descends_what_it_says(network, terms, f):
    """The gradient, with the error held, of ½ ‖R‖² / (1 − λ_d) and of the other terms, R and R^h after the batch."""
    λ_d, λ_E, floor = 0.8, 0.7, 0.2
    options = {"error_forgetting_factor": λ_d, **TERMS[terms]}
    if "entropy" in options:
        options |= {"forgetting_factor": λ_E, "epsilon": floor}
    rule = awake(ErrorBroadcastDecorrelation, network, activation_function=f, **options)
    x, _, y = batch(network)
    found = updates(rule, rule.settle(x, y))
    r = rule.activity(x)
    ε = (r[-1] - y).detach()
    for k in range(1, rule.network.L):
        g = r[k].square() / 2 if rule.correlated == "square" else r[k]
        R = λ_d * rule.error_correlations[str(k)].weight + (1 - λ_d) * torch.einsum("n...,nc->...c", g, ε) / len(x)
        J = -rule.decorrelation[k] * R.square().sum() / 2 / (1 - λ_d)
        J = J - rule.power[k] * (r[k].square().mean(0) - rule.target_power[k]).square().sum()
        J = J - rule.sparsity[k] * r[k].abs().flatten(1).sum(1).mean()
        if k in rule.entropy:
            positions = r[k].flatten(2).shape[2] if r[k].ndim == 4 else 1
            sites = r[k].reshape(len(x), -1, positions)
            correlation = torch.einsum("ncp,ndp->cd", sites, sites) / len(x) / positions
            Rh = λ_E * identity(sites.shape[1]) + (1 - λ_E) * correlation
            J = J + rule.entropy[k] * positions * torch.logdet(Rh + floor * identity(len(Rh))) / 2 / (1 - λ_E)
        require_same(found, gradients(J, rule, rule.network.into(k)))


@ALL_NETWORKS
@pytest.mark.parametrize("f", ["linear", "tanh", "sigmoid"])
@pytest.mark.parametrize("correlated", ["identity", "square"])
def test_the_output_descends_its_error_and_what_the_hidden_layers_send_forward(network, f, correlated):
    """½ μ_L ‖ε‖² and μ_fwd ½ ‖R_k‖² / (1 − λ_d), by the weights of the output with the hidden layers held."""
    λ_d, μ = 0.8, 0.6
    options = {"error_forgetting_factor": λ_d, "forward_broadcast": μ, "correlated": correlated, "decorrelation": 0.7}
    rule = awake(ErrorBroadcastDecorrelation, network, output_activation=f, **options)
    x, _, y = batch(network)
    found = updates(rule, rule.settle(x, y))
    r = [a.detach() for a in rule.activity(x)]
    ε = rule.output_f.function(rule.network.drive(rule.network.L, r)) - y
    J = -0.7 * ε.square().sum() / 2 / len(x)
    for k in range(1, rule.network.L):
        R = λ_d * rule.error_correlations[str(k)].weight + (1 - λ_d) * mean_product(rule.g(r[k]), ε)
        J = J - μ * R.square().sum() / 2 / (1 - λ_d)
    require_same(found, gradients(J, rule, rule.network.into(rule.network.L)))


@ALL_NETWORKS
def test_layers_of_images_can_maximise_the_entropy_of_their_weights(network):
    """½ logdet(W Wᵀ + ϵI), of each position's weights where it has its own; flat layers keep that of their activity."""
    options = {"entropy": 0.3, "epsilon": 0.2, "decorrelation": 0.0}
    if not any(len(shape) == 3 for shape in build(ErrorBroadcastDecorrelation, network).network.shapes[1:-1]):
        with pytest.raises(
            UserError, match="entropy_of is weights, which has no effect where no hidden layer is of images"
        ):
            build(ErrorBroadcastDecorrelation, network, entropy_of="weights", **options)
        return
    rule = awake(ErrorBroadcastDecorrelation, network, entropy_of="weights", **options)
    x, _, y = batch(network)
    found = updates(rule, rule.settle(x, y))
    flat = {str(k) for k, shape in enumerate(rule.network.shapes[1:-1], 1) if len(shape) == 1}
    assert {*rule.correlations} == flat
    names = {id(p): name for name, p in rule.named_parameters()}
    for c in rule.network.weighted:
        if c.post < rule.network.L and len(c.post_shape) == 3:
            W = c.weight if c.weight.ndim == 3 else c.weight.flatten(1)
            J = 0.3 * torch.logdet(W @ W.mT + 0.2 * identity(W.shape[-2])).sum() / 2
            torch.testing.assert_close(found[names[id(c.weight)]], torch.autograd.grad(J, c.weight)[0], **CLOSE)


@ALL_NETWORKS
def test_the_norm_of_a_layers_correlation_falls_in_every_step_while_the_error_is_held(network):
    """Layer by layer, those below at rest: with λ_d = 0 that is gradient descent of ½ ‖⟨r ε⟩‖²."""
    L = len(NETWORKS[network]) - 1
    x, _, y = batch(network)
    for k in range(1, L):
        alone = [float(layer == k) for layer in range(1, L + 1)]
        options = {"activation_function": "tanh", "error_forgetting_factor": 0.0, "decorrelation": alone}
        rule = awake(ErrorBroadcastDecorrelation, network, **options)
        ε = rule.output_error(rule(x), y).detach()
        rule.output_error = lambda output, target, ε=ε: ε
        norms = []
        optimizer = torch.optim.SGD(rule.parameter_groups(), lr=0.002)
        for _ in range(20):
            rule.learn(x, y, optimizer)
            norms.append(float(rule.error_correlations[str(k)].weight.norm()))
        assert all(after < before for before, after in pairwise(norms))
        assert norms[-1] < 0.995 * norms[0]


# ------------------------------------------------------------------------------------------------------ special cases


def as_matrix(c, D):
    """Returns the matrix (shape × classes) of a projection of direct feedback alignment."""
    classes = D.shape[-2] if D.ndim != 4 else len(D)
    return c.project(D, torch.eye(classes, dtype=D.dtype)).movedim(0, -1)


@ALL_NETWORKS
@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
@torch.no_grad()
def test_without_forgetting_it_is_direct_feedback_alignment(network, loss):
    """R is Dᵀ and stays; with the mean squared error, whose gradient has 2/d in front of the error."""
    options = {"loss": loss, "activation_function": "tanh", "output_activation": "tanh"}
    dfa = awake(DirectFeedbackAlignment, network, **options)
    rule = awake(ErrorBroadcastDecorrelation, network, seed=1, error_forgetting_factor=1.0, **options)
    rule.load_state_dict({n: t for n, t in dfa.state_dict().items() if not n.startswith("D_")}, strict=False)
    x, _, y = batch(network)
    for k in range(1, rule.network.L):
        rule.error_correlations[str(k)].weight.copy_(as_matrix(dfa.above(k), dfa.get_buffer(f"D_{k + 1}")))
    before = copy.deepcopy(rule.error_correlations)
    expected = updates(dfa, dfa.settle(x, y))
    phases = rule.settle(x, y)
    factor = 1 if loss == "cross_entropy" else 2 / y.shape[1]
    for name, update in updates(rule, phases).items():
        assert update.any(), name
        torch.testing.assert_close(factor * update, expected[name], rtol=1e-13, atol=1e-15)
    rule.update_state(phases, None)
    assert all(torch.equal(before[k].weight, R.weight) for k, R in rule.error_correlations.items())


@torch.no_grad()
def test_the_least_squares_readout_decorrelates_the_layer_below():
    """The theorem that the rule stands on: then R of the batch is 0, and so is what the layer learns."""
    rule = awake(ErrorBroadcastDecorrelation, [7, 6, 3, 4], activation_function="tanh", error_forgetting_factor=0.0)
    x, _, y = batch([7, 4], n=20)
    r = torch.cat([rule.activity(x)[-2], torch.ones(len(x), 1)], 1)
    solution = torch.linalg.lstsq(r, y).solution
    rule.network.chain[-1].weight.copy_(solution[:-1].t())
    rule.network.chain[-1].bias.copy_(solution[-1])
    phases = rule.settle(x, y)
    assert phases["feedforward"].internal["output_error"][0].abs().max() > 0.1
    found = updates(rule, phases)
    assert found["network.wiring.2.weight"].abs().max() < 1e-14
    assert found["network.wiring.1.weight"].abs().max() > 1e-4
    rule.update_state(phases, None)
    assert rule.error_correlations["2"].weight.abs().max() < 1e-14


@pytest.mark.parametrize("correlated", ["identity", "square"])
@torch.no_grad()
def test_one_sample_is_a_three_factor_rule(correlated):
    """Pre, post and one broadcast number for each postsynaptic neuron, synapse by synapse."""
    λ_d = 0.8
    options = {"error_forgetting_factor": λ_d, "correlated": correlated, "decorrelation": [0.5, 0.7, 1.0]}
    rule = awake(ErrorBroadcastDecorrelation, "dense", activation_function="sigmoid", **options)
    x, _, y = batch(n=1)
    found = updates(rule, rule.settle(x, y))
    r = [a[0].tolist() for a in rule.activity(x)]
    ε = [a - b for a, b in zip(r[3], y[0].tolist(), strict=True)]
    for k, μ in ((1, 0.5), (2, 0.7)):
        for i, post in enumerate(r[k]):
            g, slope = (post, 1.0) if correlated == "identity" else (post**2 / 2, post)
            row = rule.error_correlations[str(k)].weight[i].tolist()
            q = sum((λ_d * R + (1 - λ_d) * g * e) * e for R, e in zip(row, ε, strict=True))
            factor = -μ * slope * post * (1 - post) * q
            assert float(found[f"network.wiring.{k}.bias"][i]) == pytest.approx(factor, rel=1e-12)
            for j, pre in enumerate(r[k - 1]):
                assert float(found[f"network.wiring.{k}.weight"][i, j]) == pytest.approx(factor * pre, rel=1e-12)


# ------------------------------------------------------------------------------------------------------ CorInfoMax-EBD


@ALL_NETWORKS
@torch.no_grad()
def test_the_states_are_those_of_corinfomax_when_free(network):
    rule = build(CorInfoMaxEBD, network)
    other = build(CorInfoMax, network)
    other.load_state_dict(rule.state_dict(), strict=False)
    x, _, y = batch(network)
    phases = rule.settle(x, y)
    free = other.settle(x, y)["free"]
    assert [*phases] == ["free"]
    assert all(torch.equal(a, b) for a, b in zip(phases["free"].activity, free.activity, strict=True))
    assert torch.equal(rule(x), other(x))


RATES = {
    "decorrelation": {"decorrelation": 0.7, "feedback_decorrelation": 0.4, "prediction": 0.0, "feedback_prediction": 0},
    "prediction": {"decorrelation": 0.0, "prediction": 0.3, "feedback_prediction": 0.2},
    "power": {"decorrelation": 0.0, "prediction": 0.0, "power": 0.5, "target_power": 0.3},
    "all": ALL_TERMS_OF_CORINFOMAX_EBD,
}


@ALL_NETWORKS
@pytest.mark.parametrize("rates", RATES)
def test_corinfomax_ebd_descends_what_it_says(network, rates):
    """With the settled states held, as if W_k r_{k−1} or V_k r_k alone moved the membrane potential that is clipped."""
    λ_d = 0.8
    rule = build(CorInfoMaxEBD, network, **{**RATES[rates], "error_forgetting_factor": λ_d})
    with torch.no_grad():
        rule.network.chain[-1].weight.abs_()  # no output is silent
    x, _, y = batch(network)
    phases = rule.settle(x, y)
    found, r, L = updates(rule, phases), phases["free"].activity, rule.network.L
    ε = r[-1] - y
    names = {id(p): name for name, p in rule.named_parameters()}

    def moved(k, drive):
        return r[k] + ((r[k] > 0) & (r[k] < 1)) * (drive - drive.detach())

    def decorrelated(k, r_k):
        R = λ_d * rule.error_correlations[str(k)].weight + (1 - λ_d) * mean_product(r_k, ε)
        return R.square().sum() / 2 / (1 - λ_d)

    def squared(error):
        return error.square().flatten(1).sum(1).mean() / 2

    for k in range(1, L + 1):
        drive = rule.network.drive(k, r)
        r_k = moved(k, drive)
        J = -rule.decorrelation[k] * decorrelated(k, r_k) - rule.prediction[k] * squared(r[k] - drive)
        J = J - rule.power[k] * (r_k.square().mean(0) - rule.target_power[k]).square().sum()
        for c in rule.network.into(k):
            if c.weight is not None:
                (g,) = torch.autograd.grad(J, c.weight, retain_graph=True)
                torch.testing.assert_close(found[names[id(c.weight)]], g, **CLOSE)
    for j in range(1, L):
        for c in rule.network.out_of(j):
            if c.weight is not None:
                back = rule.network.feedback(j, r, at=r)
                J = -rule.feedback_decorrelation[c.post] * decorrelated(j, moved(j, back))
                J = J - rule.feedback_prediction[c.post] * squared(r[j] - back)
                (g,) = torch.autograd.grad(J, c.feedback_weight)
                torch.testing.assert_close(found[names[id(c.feedback_weight)]], g, **CLOSE)
    assert any(update.any() for update in found.values())


@ALL_NETWORKS
@pytest.mark.parametrize("regularize", [False, True])
@torch.no_grad()
def test_lateral_weights_follow_the_correlation_and_lose_what_goes_with_the_error(network, regularize):
    """Position by position and sample by sample; γ is divided by λ with the regularized form alone."""
    λ, λ_d, floor = 0.9, 0.8, 0.1
    μ = [0.2 / k for k in range(1, len(NETWORKS[network]))]
    rule = build(
        CorInfoMaxEBD,
        network,
        forgetting_factor=λ,
        error_forgetting_factor=λ_d,
        epsilon=floor,
        lateral_decorrelation=μ,
        regularize_lateral=regularize,
    )
    x, _, y = batch(network)
    phases = rule.settle(x, y)
    r, ε = phases["free"].activity, phases["free"].output - y
    γ = (1 - λ) / λ
    expected = {}
    for k, lateral in rule.network.laterals.items():
        B = lateral.weight.clone()
        R = λ_d * rule.error_correlations[str(k)].weight + (1 - λ_d) * mean_product(r[k], ε)
        Φ = ((r[k] > 0) & (r[k] < 1)) * broadcast(R, ε)
        states, factors = (t.flatten(2).movedim(2, 1).flatten(0, 1) if t.ndim == 4 else t for t in (r[k], Φ))
        sites = [*zip(states, factors, strict=True)]
        zz = sum(torch.outer(B @ state, B @ state) for state, _ in sites) / len(sites)
        Φr = sum(torch.outer(factor, state) for state, factor in sites) / len(sites)
        followed = (B - γ * (zz + floor * B @ B)) / λ if regularize else B / λ - γ * zz
        expected[k] = followed - μ[k - 1] * Φr
        expected[f"R{k}"] = R
    rule.update_state(phases, None)
    for k, lateral in rule.network.laterals.items():
        torch.testing.assert_close(lateral.weight, expected[k], **CLOSE)
        torch.testing.assert_close(rule.error_correlations[str(k)].weight, expected[f"R{k}"], **CLOSE)


# --------------------------------------------------------------------------------------------------------- both rules


RULES = {
    "EBD": (ErrorBroadcastDecorrelation, ALL_TERMS_OF_EBD),
    "CorInfoMax": (CorInfoMaxEBD, ALL_TERMS_OF_CORINFOMAX_EBD),
}
BOTH = pytest.mark.parametrize("name", RULES)


@BOTH
@torch.no_grad()
def test_updates_are_computed_from_the_correlations_as_they_are_after_the_batch(name):
    """Looking at the updates changes no state, and they are those of a rule whose R is already there and stays."""
    cls, options = RULES[name]
    rule = build(cls, **options)
    x, _, y = batch()
    phases = rule.settle(x, y)
    before = copy.deepcopy(rule.state_dict())
    found = updates(rule, phases)
    assert all(torch.equal(t, before[n]) for n, t in rule.state_dict().items())
    rule.update_state(phases, None)
    assert any(not torch.equal(t, before[n]) for n, t in rule.state_dict().items() if "correlations" in n)
    rule.error_forgetting_factor = 1.0
    if name == "EBD":
        rule.forgetting_factor = 1.0
    again = updates(rule, phases)
    for n, update in found.items():
        torch.testing.assert_close(again[n], update, **CLOSE)


@BOTH
@torch.no_grad()
def test_the_state_follows_a_batch_whether_or_not_its_updates_were_looked_at(name):
    """An observer may look at the updates of other samples in between."""
    cls, options = RULES[name]
    x, _, y = batch()
    states = []
    for looked in ((), ("same",), ("same", "other"), ("other",)):
        torch.manual_seed(0)
        rule = build(cls, **options)
        phases, others = rule.settle(x, y), rule.settle(*batch(n=3, seed=1)[::2])
        for which in looked:
            updates(rule, phases if which == "same" else others)
        rule.update_state(phases, None)
        states.append(rule.state_dict())
    for state in states[1:]:
        assert all(torch.equal(t, state[n]) for n, t in states[0].items())


@BOTH
def test_the_norm_of_each_correlation_is_logged(name):
    cls, options = RULES[name]
    rule = build(cls, **options)
    logged = rule.dynamics()
    for k, R in rule.error_correlations.items():
        assert float(logged[f"decorrelation/layer_{k}"]) == pytest.approx(float(R.weight.square().sum() ** 0.5))


def test_the_error_of_the_cross_entropy_is_its_score():
    rule = build(ErrorBroadcastDecorrelation, loss="cross_entropy")
    x, labels, y = batch()
    output = rule(x).detach().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(output, labels, reduction="sum"), output)
    torch.testing.assert_close(rule.settle(x, y)["feedforward"].internal["output_error"][0], g)


@BOTH
def test_rates_are_those_of_the_parameter_groups(name):
    cls, _ = RULES[name]
    if name == "EBD":
        groups = build(cls, learning_rates=[0.1, 0.2, 0.3]).parameter_groups()
        assert [(g["name"], g["lr"], len(g["params"])) for g in groups] == [
            (f"layer_{k}", lr, 2) for k, lr in enumerate([0.1, 0.2, 0.3], 1)
        ]
        assert all("lr" not in g for g in build(cls).parameter_groups())
    else:
        groups = build(cls, feedforward_learning_rates=[0.1, 0.2, 0.3], feedback_learning_rates=0.4).parameter_groups()
        assert [(g["name"], g["lr"]) for g in groups] == [
            *((f"feedforward_{k}", lr) for k, lr in enumerate([0.1, 0.2, 0.3], 1)),
            *((f"feedback_{k}", 0.4) for k in (2, 3)),
        ]


@pytest.mark.parametrize(
    ("cls", "options", "sentence"),
    [
        (ErrorBroadcastDecorrelation, {"error_forgetting_factor": 1.1}, r"error_forgetting_factor is 1\.1: it must"),
        (
            ErrorBroadcastDecorrelation,
            {"entropy": [1.0]},
            "entropy has 1 entries: .* 1 … 2",
        ),
        (ErrorBroadcastDecorrelation, {"decorrelation": [1.0, 1.0]}, r"decorrelation has 2 entries: .* 1 … 3"),
        (ErrorBroadcastDecorrelation, {"epsilon": 0.0}, r"epsilon is 0\.0: it must be positive"),
        (CorInfoMaxEBD, {"feedback_decorrelation": [1.0]}, "feedback_decorrelation has 1 entries: .* 2 … 3"),
        (CorInfoMaxEBD, {"error_forgetting_factor": -1.0}, r"error_forgetting_factor is -1\.0: it must lie in"),
        (CorInfoMaxEBD, {"epsilon": 2.0, "regularize_lateral": True}, "with regularize_lateral B must start below"),
    ],
)
def test_bad_options_are_refused(cls, options, sentence):
    with pytest.raises(UserError, match=sentence):
        build(cls, **options)
