"""Complex numbers: the same formulas of |z|."""

import torch

from bioplausible.functional import as_real, mean_square_changes, residual, squares


def test_squares_are_those_of_the_magnitude():
    z = torch.tensor([[3 + 4j, -2j], [1 + 0j, 0j]])
    assert squares(z).tolist() == squares(z.conj()).tolist() == [[25, 4], [1, 0]]
    assert squares(z.real).tolist() == [[9, 0], [1, 0]]
    assert as_real(z.conj()).shape == (2, 2, 2)
    assert as_real(z.conj())[0, 0].tolist() == [3, -4]


def test_a_residual_of_complex_activities_is_that_of_their_magnitude():
    z, before = torch.randn(2, 5, 3, 4, dtype=torch.complex128)
    (mean,) = mean_square_changes([z], [before])
    torch.testing.assert_close(mean, (z - before).abs().square().mean())
    torch.testing.assert_close(residual([z], [before], 0.5), mean.sqrt() / 0.5)
