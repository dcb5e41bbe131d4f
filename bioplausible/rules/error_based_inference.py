"""Predictive coding whose errors settle instead of its values, ePC (Goemaere, Oliviers, Bogacz & Demeester 2025)."""

import torch
from torch import Tensor

from bioplausible.network import Clamped
from bioplausible.rules.supervised_predictive_coding import SupervisedPredictiveCoding
from bioplausible.training.phase import Phase


@torch.no_grad()
def settle_errors(
    rule: SupervisedPredictiveCoding, network: Clamped, start: Phase, output: Tensor, free_output_error: bool
) -> Phase:
    r"""Lets hidden errors descend the energy that predictive coding's values descend, and returns where they end.

    From e = 0, with y the squared error's output or cross entropy's target::

        v_k = W_k f(v_{k−1}) + b_k + e_k,   o = W_L f(v_{L−1}) + b_L − e_L        upwards
        δ_L = y − o, or y − softmax(o),     δ_k = f′(v_k) ⊙ W_{k+1}ᵀ δ_{k+1}     downwards
        e_k ← e_k + η_t (δ_k − e_k),        e_L ← e_L − η_t δ_L where it is free, else 0

    Args:
        rule: whose iterations, momentum and f these are.
        network: with the input clamped.
        start: the values of the feedforward pass.
        output: y (n × d_L).
        free_output_error: whether e_L moves.

    Returns:
        The values, at the output y + e_L, with cross entropy o; as ``internal["error"]`` δ_1 … δ_L, from which weights
        learn; as ``internal["inferred_error"]`` e_1 … e_L.
    """
    v, f, squared = rule.copy_of(network, start), rule.f, rule.loss == "squared_error"
    L = len(v) - 1
    f_v, slope, δ, e = ([torch.zeros_like(a) for a in v] for _ in range(4))
    m, prediction = rule.momenta(v), v[L].clone()

    def evaluate_hidden() -> None:
        for k in range(1, L):
            f.function(v[k], out=f_v[k])

    def send_up() -> None:
        for k in range(1, L + 1):
            μ = prediction if k == L else v[k]
            μ.copy_(rule.prediction(network, k, v, f_v))
            if k < L:
                f.function(μ.add_(e[k]), out=f_v[k])
        set_output()

    def set_output() -> None:
        torch.add(output, e[L], out=v[L]) if squared else torch.sub(prediction, e[L], out=v[L])

    def send_down() -> None:
        torch.sub(v[L], prediction, out=δ[L]) if squared else torch.sub(output, v[L].softmax(1), out=δ[L])
        for k in range(L - 1, 0, -1):
            f.slope(f.kept(v[k], f_v[k]), out=slope[k])
            network.set_feedback_(k, δ[k], δ, f_v)
            δ[k].mul_(slope[k])
            if k + 1 in rule.residual_layers:
                δ[k].add_(δ[k + 1])

    evaluate_hidden()
    network.find_winners(f_v)
    set_output()
    previous: list[Tensor] = []
    for η in rule.iterate(v, rule.step_sizes, before_last=previous):
        send_down()
        for k in range(1, L):
            if m:
                rule.move_(e[k], δ[k] - e[k], m[k], η)
            else:
                e[k].lerp_(δ[k], η)
        if free_output_error:
            e[L].sub_(δ[L], alpha=η)
        send_up()
    send_down()
    return Phase(v, 0.0, previous, rule.step_sizes[-1], {"error": δ[1:], "inferred_error": e[1:]})
