"""An option that another one switches off is refused: of all that is accepted, nothing trains to the same bits."""

import hashlib
import inspect
import sys
from functools import cache

import pytest
import torch

from bioplausible import (
    Burstprop,
    ContrastiveSimilarityMatching,
    CorInfoMax,
    DifferenceTargetPropagation,
    DirectDifferenceTargetPropagation,
    DualPropagation,
    EquilibriumPropagation,
    ErrorBroadcastDecorrelation,
    FeedbackAlignment,
    ForwardForward,
    KolenPollack,
    LocalDifferenceReconstruction,
    MuPredictiveCoding,
    UserError,
)
from bioplausible.rules import LearningRule
from tests.helpers import SIZES, all_rules, batch, build

OTHERS = {
    "beta": [0.5],
    "loss": ["cross_entropy", "mean_squared_error", "squared_error", "binary_cross_entropy"],
    "third_phase_start": ["free"],
    "free_steps": [7],
    "nudged_steps": [3],
    "evaluation_steps": [5],
    "evaluation_step_size": [0.3],
    "track_correlations_every_n_steps": [2],
    "activation_function": ["tanh", "relu", "sigmoid", "clip"],
    "output_activation": ["tanh", "sigmoid", "linear"],
    "lr_scheduler_interval": ["step", "epoch"],
    "gradient_norm_limit": [0.001],
    "forgetting_factor": [0.9, 1.0],
    "epsilon": [0.11],
    "leak": [0.11],
    "feedforward_learning_rates": [0.2],
    "feedback_learning_rates": [0.2],
    "learning_rates": [0.2],
    "lateral_learning_rates": [0.1],
    "update_order": ["asynchronous"],
    "feedback": ["learned", "uniform_sign", "fixed_random_sign", "batchwise_random_sign"],
    "feedback_update": ["same"],
    "weight_decays": [0.1],
    "error_forgetting_factor": [0.8],
    "decorrelation": [0.5],
    "feedback_decorrelation": [0.3],
    "lateral_decorrelation": [0.3],
    "feedback_prediction": [0.4],
    "power": [0.2],
    "target_power": [0.4],
    "correlated": ["square"],
    "forward_broadcast": [0.3],
    "entropy": [0.05, 0.0],
    "entropy_of": ["weights"],
    "sparsity": [0.1],
    "signal": ["error_sign", "target"],
    "projection": ["input", "output"],
    "decay": [0.9],
    "mirror": ["zero_mean", "published"],
    "mirror_rate": [0.2],
    "inference_steps": [4],
    "inference_momentum": [0.4],
    "target_range": [(0, 1)],
    "projection_scale": [0.2],
    "dropout": [0.3],
    "baseline": [0.1],
    "recurrent_rate": [0.1],
    "points": [2],
    "activation_slope": [2.0],
    "alpha": [0.3],
    "form": ["raovr"],
    "order": ["forward", "forward_backward", "layer_by_layer"],
    "sweeps": [5],
    "goodness": ["mean"],
    "threshold": [0.7],
    "normalization": ["norm"],
    "read_from": [1],
    "prediction": [0.4, "goodness"],
    "negative_labels": ["any"],
    "label_value": [0.5],
    "peer_normalization": [0.3],
    "peer_slope": ["activation"],
    "updates_per_batch": [2],
    "feedback_loss": ["difference_reconstruction"],
    "last_hidden_target": ["gradient"],
    "target_step": [0.3],
    "sigma": [0.2],
    "feedback_steps": [2],
    "feedback_activation": ["sigmoid", "relu"],
    "hidden_units": [5],
    "update_weights_at": ["last"],
    "output_divisor": [2.0],
    "step_size_rule": ["constant", "divide_by_loop_index", "divide_by_slow_loop_index"],
    "step_size_floor": [0.15],  # above η, so that it acts at once
    "step_size_decay": [0.5],
    "inference": ["errors"],
}
"""Values other than the default, of every option but booleans and those below."""

LEFT_OUT = {
    "self",
    "layer_sizes",
    "network",
    "optimizer",
    "lr_scheduler",
    "initialization",  # drawn anew by each
    "step_size",  # other values only move what others do
    "beta_growth",  # acts from the second epoch on
    "scheduled_decay",  # acts where a rate is changed, by a schedule or a callback
    "step_size_discount",  # acts where the energy does not fall
    "residual",  # acts between layers of one shape, and these have different ones
    "dual_step_sizes",  # the helper gives them
}


ONLY_ONES = {
    ("DirectRandomTargetProjection", "signal", "target"),
    ("Burstprop", "loss", "mean_squared_error"),
    ("Burstprop", "activation_function", "sigmoid"),
    ("Burstprop", "output_activation", "sigmoid"),
}
"""Values that a rule fixes, of an option that other rules choose."""


def options_of(cls, left_out=LEFT_OUT):
    """Returns the defaults of a rule's options by name."""
    found = {}
    for base in inspect.getmro(cls):
        if base.__module__.startswith("bioplausible."):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and name not in left_out:
                    found.setdefault(name, parameter.default)
    return found


def others(name, default):
    return [not default] if isinstance(default, bool) else [value for value in OTHERS[name] if value != default]


@cache
def trained_before(cls, options, sizes):
    """Returns the same for options as pairs: each of two is tried beside the other, and the second time it is known."""
    return trained(cls, dict(options), sizes)


def trained(cls, options, sizes):
    """Returns a digest of all that four steps come to: activities, what is logged, losses and the state.

    Args:
        cls: the rule.
        options: the rule's own.
        sizes: of the layers.

    Returns:
        None where the options are refused.
    """
    torch.manual_seed(0)
    found = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            rule = build(cls, sizes, **options)
            rule.seed = 3
            rule.configure_optimizers()  # where options of schedules are refused
            optimizer = torch.optim.SGD(rule.parameter_groups(), lr=0.05)
            for step in range(4):
                patch.setattr(LearningRule, "step", property(lambda self, step=step: step))
                x, _, y = batch(sizes, seed=step)
                rule.phases = rule.learn(x, y, optimizer)
                found += [a.clone() for phase in rule.phases.values() for a in phase.activity]
                found += [value.clone() for value in rule.dynamics().values()]
            with torch.no_grad():
                found += [rule(x), rule.sample_losses(rule(x), y), *rule.state_dict().values()]
    except UserError:
        return None
    digest = hashlib.sha256()
    for tensor in found:
        digest.update(f"{tensor.shape} {tensor.dtype}".encode())
        digest.update((tensor + 0).numpy(force=True).tobytes())  # −0 is 0
    return digest.digest()


CONTEXTS = [
    (cls, {name: value} if name else {})
    for cls in all_rules()
    for name, value in [("", None), *((n, v) for n, d in options_of(cls).items() for v in others(n, d))]
]
CONTEXTS += [(EquilibriumPropagation, {"loss": "cross_entropy", "readout": True})]


@pytest.mark.sampled
@pytest.mark.parametrize(("cls", "context"), CONTEXTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_an_option_changes_what_is_computed_or_is_refused(cls, context):
    require_effects(cls, context, options_of(cls), tuple(SIZES))


IN_ONE_LAYER = {"step_size": [0.2], "scheduled_decay": [True], "step_size_discount": [0.5], "residual": [True]}
"""Values of options that the test above leaves out: without a hidden layer they have an effect or are refused too."""


@pytest.mark.sampled
@pytest.mark.parametrize(("cls", "context"), CONTEXTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_so_it_does_without_a_hidden_layer(cls, context, monkeypatch):
    """What comes back to hidden layers, and how they settle, is then nothing."""
    monkeypatch.setattr(sys.modules[__name__], "OTHERS", OTHERS | IN_ONE_LAYER)
    options = options_of(cls, LEFT_OUT - IN_ONE_LAYER.keys())
    require_effects(cls, context, options, (SIZES[0], SIZES[-1]))


WITH_ONE = [
    *((cls, {}) for cls in all_rules()),
    (EquilibriumPropagation, {"loss": "cross_entropy", "readout": True}),
    (ForwardForward, {"prediction": "goodness"}),
]


@pytest.mark.parametrize(("cls", "context"), WITH_ONE, ids=lambda value: getattr(value, "__name__", str(value)))
def test_so_it_does_with_one_hidden_layer(cls, context):
    """Layers that settle or learn one after the other are then one, where the output is none of them."""
    require_effects(cls, context, options_of(cls), (*SIZES[:2], SIZES[-1]))


@pytest.mark.parametrize("cls", [EquilibriumPropagation, ContrastiveSimilarityMatching])
def test_an_activation_of_hidden_layers_is_refused_where_there_are_none(cls):
    """Also one that is no other than the default's on [0, 1], and the input's is nobody's."""
    with pytest.raises(UserError, match=r"^activation_function is relu6, which has no effect"):
        build(cls, [7, 4], activation_function="relu6")
    with pytest.raises(UserError, match=r"^activation_function is sigmoid, which has no effect"):
        build(cls, [7, 4], activation_function="sigmoid")


def require_effects(cls, context, options, sizes):
    """Asserts that each value of each option trains to other bits than its default, or is refused."""
    before = trained_before(cls, frozenset(context.items()), sizes)
    if before is None:  # refused as it is
        return
    for name, default in options.items():
        for value in [] if name in context else others(name, default):
            if is_the_same(cls, context, name, value, sizes):
                continue
            after = trained_before(cls, frozenset({**context, name: value}.items()), sizes)
            assert after != before, f"{name}={value} does nothing"


def is_the_same(cls, context, name, value, sizes):
    """Returns whether a value is what the option comes to anyway."""
    if context.get("readout") and name == "output_activation":
        return True  # recordings name it, whatever reads the last hidden layer
    if (cls.__name__, name, value) in ONLY_ONES:
        return True
    if name in ("step_size_rule", "step_size_decay") and "step_size_floor" in context:
        return True  # a floor above η holds it, however it would fall
    if (name, value) == ("read_from", 1) and (context.get("prediction") == "goodness" or len(sizes) == 3):
        return True  # its default there
    if name == "feedback_activation" and value == context.get("activation_function"):
        return True  # likewise
    # with α = ½ and one visit a layer both forms are the same
    return (name, value) == ("form", "raovr") and not context.keys() & {"alpha", "order"}


STANDS_FOR = [
    *((cls, {"free_steps": 7}, "evaluation_steps", 7) for cls in (CorInfoMax, EquilibriumPropagation)),
    (EquilibriumPropagation, {"step_size": 0.3}, "evaluation_step_size", 0.3),
    (EquilibriumPropagation, {"activation_function": "smooth_clip", "step_size": 1.0}, "activation_slope", 4.0),
    (EquilibriumPropagation, {}, "points", 1),
    (DifferenceTargetPropagation, {"activation_function": "elu"}, "feedback_activation", "elu"),
    *((KolenPollack, {"mirror": mirror}, "mirror_rate", 0.01) for mirror in ("zero_mean", "published")),
    (ForwardForward, {}, "read_from", 2),
    (ForwardForward, {"prediction": "goodness"}, "read_from", 1),
    (ForwardForward, {}, "threshold", [6.0, 5.0]),
    (ForwardForward, {"goodness": "mean"}, "threshold", 1.0),
    (DualPropagation, {"order": "forward"}, "sweeps", 3),
    (DualPropagation, {"order": "forward_backward"}, "sweeps", 2),
    (MuPredictiveCoding, {}, "residual", True),
]
"""What an option that is None stands for, beside other options: its class's documentation says so."""

NONE_AT_ALL = {"layer_sizes", "network", "lr_scheduler", "gradient_norm_limit", "mirror", "hidden_units", "entropy"}
NONE_AT_ALL |= {"recurrent_rate", "dual_step_sizes", "learning_rates", "feedback_learning_rates", "weight_decays"}
"""Options whose None is none of it, or leaves it to the optimizer."""


@pytest.mark.parametrize(("cls", "context", "name", "value"), STANDS_FOR, ids=str)
def test_none_stands_for_what_is_said_of_it(cls, context, name, value):
    sizes = [7, 5, 5, 4] if name == "residual" else SIZES
    assert trained(cls, context, sizes) == trained(cls, {**context, name: value}, sizes) is not None


def test_of_every_option_that_may_be_none_is_said_what_that_stands_for():
    known = NONE_AT_ALL | {name for _, _, name, _ in STANDS_FOR}
    for cls in all_rules():
        unknown = {name for name, default in options_of(cls, {"self"}).items() if default is None} - known
        assert not unknown, cls.__name__


OF_THE_WAY_BACK = [
    *((cls, [7, 4], {}) for cls in (DifferenceTargetPropagation, DirectDifferenceTargetPropagation)),
    *((cls, [7, 4], {}) for cls in (LocalDifferenceReconstruction, FeedbackAlignment, KolenPollack, Burstprop)),
    (DifferenceTargetPropagation, [7, 6, 4], {"last_hidden_target": "gradient"}),
]
NAMES = {"sigma", "feedback_steps", "feedback_activation", "feedback_learning_rates", "feedback_loss", "mirror"}
NAMES |= {"feedback"}


@pytest.mark.parametrize(("cls", "sizes", "context"), OF_THE_WAY_BACK, ids=str)
def test_where_nothing_comes_back_by_weights_of_its_own_its_options_are_refused(cls, sizes, context):
    build(cls, sizes, **context)
    tried = {name: default for name, default in options_of(cls).items() if name in NAMES}
    assert tried
    for name, default in tried.items():
        for value in ["fixed"] if cls is Burstprop else others(name, default):
            with pytest.raises(UserError, match=f"^{name} is "):
                build(cls, sizes, **{**context, name: value})


REFUSED = [
    ({"target_power": 0.3}, "target_power is 0.3, which has no effect where power is 0"),
    ({"target_power": 0.3, "power": [0.0, 0.0]}, "target_power is 0.3"),
    ({"epsilon": 0.1}, "epsilon is 0.1, which has no effect without entropy"),
    ({"epsilon": 0.1, "entropy": 0.0}, "epsilon is 0.1"),
    ({"forgetting_factor": 0.5}, "forgetting_factor is 0.5, which has no effect without entropy"),
    ({"entropy_of": "weights"}, "entropy_of is weights, which has no effect without entropy"),
    ({"entropy_of": "weights", "entropy": 0.1}, "entropy_of is weights, which has no effect where no hidden layer"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=str)
def test_terms_that_are_off_have_no_options(options, said):
    with pytest.raises(UserError, match=said):
        ErrorBroadcastDecorrelation(SIZES, **options)
    ErrorBroadcastDecorrelation(SIZES, power=[0.0, 0.1], target_power=0.3, entropy=[0.1, 0.0], epsilon=0.1)


UNUSED = {
    "constant": ["step_size_floor", "step_size_decay"],
    "divide_by_loop_index": ["step_size_decay"],
    "divide_by_slow_loop_index": [],
}


@pytest.mark.parametrize("cls", [cls for cls in all_rules() if "step_size_floor" in options_of(cls)])
def test_a_floor_or_decay_that_the_rule_of_step_sizes_never_uses_is_refused(cls):
    """At its default it is accepted, for a saved configuration names every option."""
    defaults = options_of(cls)
    for rule, unused in UNUSED.items():
        for name in ("step_size_floor", "step_size_decay"):
            build(cls, step_size_rule=rule, **{name: defaults[name]})
            if name in unused:
                with pytest.raises(UserError, match=f"^{name} is 0.3, .* where step_size_rule is {rule}: leave it out"):
                    build(cls, step_size_rule=rule, **{name: 0.3})
            else:
                build(cls, step_size_rule=rule, **{name: 0.3})
