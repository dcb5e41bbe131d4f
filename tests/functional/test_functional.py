"""Every formula against itself written out in other words, with numbers that tell every factor and sign apart."""

import math

import pytest
import torch

from bioplausible import functional
from bioplausible.errors import UserError
from bioplausible.functional import activation, softmax, state_activation


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, **options):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), **options)


VALUES = [-7.0, -1.5, -0.2, 0.0, 0.3, 0.75, 2.0, 5.5, 8.0]


@pytest.mark.parametrize(
    ("name", "f", "f_prime"),
    [
        ("sigmoid", lambda v: 1 / (1 + math.exp(-v)), lambda v: math.exp(-v) / (1 + math.exp(-v)) ** 2),
        ("tanh", math.tanh, lambda v: 1 / math.cosh(v) ** 2),
        ("relu", lambda v: max(v, 0.0), lambda v: float(v > 0)),
        ("linear", lambda v: v, lambda v: 1.0),
        ("hard_tanh", lambda v: min(max(v, -1.0), 1.0), lambda v: float(abs(v) < 1)),
        ("elu", lambda v: v if v > 0 else math.expm1(v), lambda v: 1.0 if v > 0 else math.exp(v)),
    ],
)
@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
def test_activation(name, f, f_prime, into):
    v = torch.tensor(VALUES, dtype=torch.float64)
    function, derivative, _ = activation(name)
    a = function(v, out=torch.empty_like(v)) if into else function(v)
    close(a, [f(x) for x in VALUES])
    slope = derivative(a, out=torch.full_like(a, 9.0)) if into else derivative(a)
    close(slope, [f_prime(x) for x in VALUES], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
def test_gelu_falls_and_rises_so_its_slope_is_one_of_v(into):
    v = torch.tensor(VALUES, dtype=torch.float64)
    gelu = activation("gelu")
    Φ = [(1 + math.erf(x / math.sqrt(2))) / 2 for x in VALUES]
    φ = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in VALUES]
    a = gelu.function(v, out=torch.empty_like(v)) if into else gelu.function(v)
    close(a, [x * p for x, p in zip(VALUES, Φ, strict=True)])
    kept = gelu.kept(v, a)
    slope = gelu.slope(kept, out=torch.full_like(v, 9.0)) if into else gelu.slope(kept)
    close(slope, [p + x * d for x, p, d in zip(VALUES, Φ, φ, strict=True)], atol=1e-12, rtol=1e-9)
    assert gelu.derivative is None  # what takes f(v) for enough fails


@pytest.mark.parametrize(
    ("name", "f", "projects", "potential"),
    [
        ("clip", lambda u: min(max(u, 0.0), 1.0), True, lambda r: r * r / 2),
        ("relu6", lambda u: min(max(u, 0.0), 6.0), True, lambda r: r * r / 2),
        ("linear", lambda u: u, True, lambda r: r * r / 2),
        ("sigmoid", lambda u: 1 / (1 + math.exp(2 - 4 * u)), False, None),
    ],
)
@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
def test_state_activation(name, f, projects, potential, into):
    u = torch.tensor(VALUES, dtype=torch.float64)
    found = state_activation(name)
    r = found.function(u, out=torch.empty_like(u)) if into else found.function(u)
    close(r, [f(x) for x in VALUES])
    assert found.projects == projects
    if potential is not None:
        close(found.potential(r), [potential(float(x)) for x in r])
        return
    inside = torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    (inverse,) = torch.autograd.grad(found.potential(inside).sum(), inside)
    close(found.function(inverse), inside.detach())  # the potential's slope is f⁻¹


@pytest.mark.parametrize("a", [1.0, 4.0])
@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
def test_the_smooth_clip_has_no_potential_for_it_falls_and_rises(a, into):
    u = torch.tensor(VALUES, dtype=torch.float64)
    found = state_activation("smooth_clip", a)
    r = found.function(u, out=u.clone()) if into else found.function(u)
    σ = [(1 / (1 + math.exp(-a * x)), 1 / (1 + math.exp(-a * (x - 2)))) for x in VALUES]
    close(r, [x / 2 * low + (1 - x / 2) * high for x, (low, high) in zip(VALUES, σ, strict=True)])
    assert not found.projects
    assert found.potential is None
    steep = state_activation("smooth_clip", 200.0).function(u)
    assert (steep - (u / 2).clamp(0, 1)).abs().max() < 2e-3
    assert torch.equal(state_activation("smooth_clip").function(u), state_activation("smooth_clip", 4.0).function(u))


@pytest.mark.parametrize("name", ["sigmoid", "smooth_clip", "linear"])
def test_holomorphic_activations_are_what_they_are_on_the_real_line_and_obey_cauchy_and_riemann(name):
    f, z = state_activation(name).function, torch.complex(*torch.rand(2, 20, dtype=torch.float64))
    assert state_activation(name).holomorphic
    torch.testing.assert_close(f(z.real + 0j).real, f(z.real))
    h = 1e-6
    torch.testing.assert_close((f(z + 1j * h) - f(z - 1j * h)) / 1j, f(z + h) - f(z - h), rtol=1e-6, atol=1e-14)
    torch.testing.assert_close(f(z.conj().resolve_conj()), f(z).conj().resolve_conj())
    far = torch.tensor([-1e4 + 1j, 1e4 - 1j], dtype=torch.complex128)
    assert f(far).isfinite().all()
    assert not any(state_activation(other).holomorphic for other in ("clip", "relu6"))


def test_softmax_of_complex_scores_is_holomorphic_and_does_not_overflow():
    z = torch.complex(*torch.rand(2, 5, 4, dtype=torch.float64))
    powers = z.exp()
    torch.testing.assert_close(softmax(z), powers / powers.sum(1, keepdim=True))
    torch.testing.assert_close(softmax(z + 1000), softmax(z))
    torch.testing.assert_close(softmax(z.real + 0j).real, softmax(z.real))
    assert torch.equal(softmax(z.real), z.real.softmax(1))


@pytest.mark.parametrize("of", [activation, state_activation])
def test_other_names_are_refused_with_those_that_there_are(of):
    with pytest.raises(UserError, match=r"choose one of (sigmoid, tanh|clip, sigmoid)"):
        of("swish")


def test_alignment_angle_of_vectors_whose_angle_is_known():
    V = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    for W, degrees in (
        (2 * V, 0),
        (-V, 180),
        (torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64), 90),
        (torch.tensor([[5.0, 0.0], [0.0, 0.0]], dtype=torch.float64), math.degrees(math.acos(0.6))),
    ):
        close(functional.alignment_angle(W, V), degrees, atol=1e-5, rtol=1e-9)
    same = draw(50, 50)  # a cosine that rounding may push above 1
    assert functional.alignment_angle(same, same * 3) < 1e-5
    assert functional.alignment_angle(same, same * -3) > 180 - 1e-5


def test_rounding_does_not_push_a_cosine_out_of_its_range():
    vectors = [draw(3, seed=i) for i in range(40)]
    angles = [functional.alignment_angle(w, s * w) for s in (0.1, 3.0, -0.7) for w in vectors]
    assert all(torch.isfinite(angle) for angle in angles)


def test_mean_outer_product_sums_no_sample_twice():
    a, b = draw(5, 3), draw(5, 4, seed=1)
    close(functional.mean_outer_product(a, b), sum(torch.outer(x, y) for x, y in zip(a, b, strict=True)) / 5)


@pytest.mark.parametrize("ε", [0.0, 0.3])
def test_inverse_correlation_update(ε):
    λ, r, B = 0.8, draw(6, 4), draw(4, 4, seed=1)
    γ, z = (1 - λ) / λ, r @ B.t()
    expected = (B - γ * (sum(torch.outer(v, v) for v in z) / 6 + ε * B @ B)) / λ
    given = B.clone()
    assert functional.update_inverse_correlation_(given, r, λ, ε) is given
    close(given, expected)
    close(functional.update_inverse_correlation_(B.clone(), r, 1.0, ε), B)
    if not ε:
        close(functional.update_inverse_correlation_(B.clone(), r, λ), expected)  # as published by default


def test_correlation_update():
    R, r = draw(4, 4), draw(6, 4, seed=1)
    given = R.clone()
    assert functional.update_correlation_(given, r, 0.8) is given
    close(given, 0.8 * R + 0.2 * sum(torch.outer(v, v) for v in r) / 6)


def test_information():
    ε, n, d = 0.15, 6, 4
    A, error = draw(d, d), draw(n, d, seed=1)
    R, R_e = A @ A.t(), error.t() @ error / n
    logdet = torch.linalg.slogdet(R + ε * torch.eye(d)).logabsdet
    logdet_e = torch.linalg.slogdet(R_e + ε * torch.eye(d)).logabsdet
    close(functional.regularized_logdet(R, ε), logdet)
    close(functional.correlative_information(R, R_e, ε), logdet / 2 - logdet_e / 2)
    term = error.square().sum(1).mean() / ε - d / n * math.log(ε)
    close(functional.published_error_term(error.square().mean(), n, d, ε), term)
    close(functional.published_correlative_information(R, error, ε), logdet - term)
    assert functional.regularized_logdet(-R, ε).isnan()
    assert functional.regularized_logdet(R[:1, :1] * 0 - 2 * ε, ε).isnan()


def test_hopfield_energy_term_by_term():
    r = [draw(3, 4), draw(3, 2, 2, 2, seed=1)]
    drives = [draw(3, 4, seed=2), draw(3, 2, 2, 2, seed=3)]
    lateral, cost = draw(3, 4, seed=4), draw(3, seed=5)
    found = functional.hopfield_energy(r, drives, [torch.square, torch.abs], [lateral, None], cost)
    for i in range(3):
        expected = cost[i] + (r[0][i] ** 2 - r[0][i] * drives[0][i] + r[0][i] * lateral[i] / 2).sum()
        close(found[i], expected + (r[1][i].abs() - r[1][i] * drives[1][i]).sum())
    with pytest.raises(ValueError, match="zip"):
        functional.hopfield_energy(r, drives[:1], [torch.square, torch.abs], [lateral, None], cost)


def test_prediction_error_energy_term_by_term():
    errors, v, y = [draw(3, 4), draw(3, 2, 2, 2, seed=1)], draw(3, 5, seed=2), draw(3, 5, seed=3)
    squares = [sum(e[i].square().sum() for e in errors) for i in range(3)]
    close(functional.prediction_error_energy(errors), torch.stack(squares))
    nudged = functional.prediction_error_energy(errors, output=v, target=y, beta=0.3)
    close(nudged, torch.stack([s + 0.3 * (a - b).square().sum() for s, a, b in zip(squares, v, y, strict=True)]))
    close(functional.prediction_error_energy(errors, output=v, target=y), torch.stack(squares))
    for part in ({"output": v}, {"target": y}):
        close(functional.prediction_error_energy(errors, beta=0.3, **part), torch.stack(squares))


def test_changes_and_residual():
    now, before = [draw(3, 4), draw(3, 2, 2, 2, seed=1)], [draw(3, 4, seed=2), draw(3, 2, 2, 2, seed=3)]
    squares = [((a - b) ** 2).sum() / a.numel() for a, b in zip(now, before, strict=True)]
    close(torch.stack(functional.mean_square_changes(now, before)), torch.stack(squares))
    close(functional.residual(now, before, 0.2), max(s.sqrt() / 0.2 for s in squares))
    with pytest.raises(ValueError, match="zip"):
        functional.mean_square_changes(now, before[:1])


def test_layout():
    x = draw(5, 3)
    assert functional.silence(x, (4,)).stride() == (1, 5)
    assert functional.silence(x, (5,)).stride() == (5, 1)  # as many neurons as samples: sample by sample
    assert functional.silence(x, (6,)).stride() == (6, 1)
    assert functional.blank(x, (4,)).stride() == (4, 1)
    images = functional.silence(x, (2, 3, 4))
    assert images.is_contiguous(memory_format=torch.channels_last)
    for made, shape in (
        (images, (5, 2, 3, 4)),
        (functional.silence(x, (4,)), (5, 4)),
        (functional.blank(x, (4,)), (5, 4)),
    ):
        assert made.shape == shape
        assert made.dtype == x.dtype
        assert not made.any()
    r = draw(2, 3, 4, 5)
    assert torch.equal(
        functional.rows(r), torch.stack([r[n, :, i, j] for n in (0, 1) for i in range(4) for j in range(5)])
    )
    assert functional.rows(x) is x


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("constant", [0.6] * 5),
        ("divide_by_loop_index", [0.6, 0.3, 0.25, 0.25, 0.25]),
        ("divide_by_slow_loop_index", [0.6, 0.4, 0.3, 0.25, 0.25]),
    ],
)
def test_step_sizes_and_their_floor(rule, expected):
    found = functional.step_sizes(5, start=0.6, rule=rule, floor=0.25, decay=0.5)
    assert found == pytest.approx(expected, rel=1e-15)
    lower = functional.step_sizes(5, start=0.6, rule=rule, floor=0.0, decay=0.0)
    assert (lower[-1] < 0.25) == (rule == "divide_by_loop_index")


@pytest.mark.parametrize("wrong", [{"floor": -1e-9}, {"decay": -1e-9}, {"rule": "cosine"}], ids=str)
def test_step_sizes_that_are_none_are_refused(wrong):
    with pytest.raises(UserError, match=f"step_size_{next(iter(wrong))}"):
        functional.step_sizes(5, **{"start": 0.6, "rule": "constant", "floor": 0.0, "decay": 0.0, **wrong})
