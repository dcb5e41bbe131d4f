"""Correlation matrices of activities, their inverses, and correlative information (Bozkurt et al. 2023)."""

import math

import torch
from torch import Tensor


def mean_outer_product(a: Tensor, b: Tensor) -> Tensor:
    """Returns ⟨a b⟩ = aᵀ b / n, the batch mean of the outer products.

    Args:
        a: (n × d_a).
        b: (n × d_b).

    Returns:
        (d_a × d_b).
    """
    return (a / a.shape[0]).t() @ b  # n d_a divisions instead of d_a d_b


def update_inverse_correlation_(B: Tensor, r: Tensor, forgetting_factor: float, epsilon: float = 0.0) -> Tensor:
    """Updates the inverse correlation (lateral weights) in place: B ← (B − γ (⟨z z⟩ + ε B²)) / λ.

    With z = B r and γ = (1 − λ)/λ. To first order in γ this is the inverse of λ B⁻¹ + (1 − λ)(⟨r r⟩ + εI). With ε = 0,
    as published, B grows by 1/λ an update along every direction that r does not take; with ε > 0 and a B that starts
    below 1/ε its eigenvalues do not grow above 1/ε. They stay positive where γ (‖r‖² + ε) < ε for every sample: at 500
    active units and ε = 0.15, for λ > 0.9997.

    Args:
        B: (d × d), symmetric.
        r: activities (n × d).
        forgetting_factor: λ in (0, 1].
        epsilon: ε ≥ 0; above 0 the update costs d³ multiplications more.
    """
    n = r.shape[0]
    gamma = (1 - forgetting_factor) / forgetting_factor
    z = r @ B.t()
    squared = B @ B if epsilon else None
    B.addmm_(z.t(), z, beta=1 / forgetting_factor, alpha=-gamma / (forgetting_factor * n))
    return B if squared is None else B.sub_(squared, alpha=gamma * epsilon / forgetting_factor)


def update_correlation_(R: Tensor, r: Tensor, forgetting_factor: float) -> Tensor:
    """Updates a correlation estimate in place: R ← λ R + (1 − λ) ⟨r r⟩.

    Args:
        R: (d × d).
        r: activities (n × d).
        forgetting_factor: λ in (0, 1].
    """
    return R.addmm_(r.t(), r, beta=forgetting_factor, alpha=(1 - forgetting_factor) / r.shape[0])


def regularized_solve(R: Tensor, r: Tensor, epsilon: float) -> Tensor:
    """Returns (R + εI)⁻¹ r of each row, by Cholesky.

    With R = ⟨r r⟩ this is n times the gradient of the entropy ½ logdet(R + εI) by r.

    Args:
        R: correlation (… × d × d).
        r: activities (… × n × d).
        epsilon: ε > 0.
    """
    identity = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
    factor, _ = torch.linalg.cholesky_ex(R + epsilon * identity)
    return torch.cholesky_solve(r.mT, factor).mT


def published_correlative_information(R: Tensor, error: Tensor, epsilon: float) -> Tensor:
    """Returns what the published code calls correlative information, in nats.

    logdet(R + εI) − ( ⟨‖e‖²⟩/ε − (d/n) log ε ). Note that it divides d·log ε by the batch size too.

    Args:
        R: correlation estimate (d × d) of the predicted layer.
        error: its prediction error e (n × d).
        epsilon: ε.
    """
    n, d = error.shape
    return regularized_logdet(R, epsilon) - published_error_term(error.square().mean(), n, d, epsilon)


def published_error_term(mean_square: Tensor, n: int, d: int, epsilon: float) -> Tensor:
    """Returns what the published code subtracts, ⟨‖e‖²⟩/ε − (d/n) log ε.

    Args:
        mean_square: of the prediction error e (n × d), over samples and units.
        n: samples.
        d: units.
        epsilon: ε.
    """
    return mean_square * (d / epsilon) - d / n * math.log(epsilon)


def correlative_information(R: Tensor, R_error: Tensor, epsilon: float) -> Tensor:
    """Returns the paper's correlative information ½ logdet(R + εI) − ½ logdet(R_e + εI), in nats.

    Args:
        R: correlation (d × d) of the predicted layer.
        R_error: correlation (d × d) of its prediction error.
        epsilon: ε.
    """
    return (regularized_logdet(R, epsilon) - regularized_logdet(R_error, epsilon)) / 2


def regularized_logdet(R: Tensor, epsilon: float) -> Tensor:
    """Returns logdet(R + εI) of a correlation R (d × d) and ε > 0; NaN where R + εI is not positive definite.

    By Cholesky, in half the operations of a general determinant.
    """
    identity = torch.eye(R.shape[0], dtype=R.dtype, device=R.device)
    factor, failed = torch.linalg.cholesky_ex(R + epsilon * identity)
    return torch.where(failed == 0, 2 * factor.diagonal().log().sum(), math.nan)
