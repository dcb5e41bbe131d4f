"""The derivative that automatic differentiation takes, in each mode that a rule's step may run in."""

import pytest
import torch

from bioplausible.functional import vector_jacobian

MODES = {"gradients": torch.enable_grad, "none": torch.no_grad, "inference": torch.inference_mode}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("second", [True, False], ids=["of two", "of one"])
def test_a_vector_jacobian_product_in_every_mode(mode, second):
    """Of F(a, h) = (a_1² a_2, h a_2, sin a_1): no two entries of the Jacobian are alike, nor is it symmetric."""
    with mode():
        a, v = torch.tensor([0.7, -1.3]), torch.tensor([0.5, 2.0, -3.0])
        h = torch.tensor(1.7) if second else None

        def function(at, held):
            factor = 1.0 if held is None else held
            return torch.stack([at[0] ** 2 * at[1], factor * at[1], at[0].sin()])

        found = vector_jacobian(function, a, h, v)
    jacobian = torch.tensor([[2 * 0.7 * -1.3, 0.49], [0.0, 1.7 if second else 1.0], [torch.tensor(0.7).cos(), 0.0]])
    torch.testing.assert_close(found.clone(), jacobian.T @ torch.tensor([0.5, 2.0, -3.0]))
    assert not found.requires_grad
    assert not a.requires_grad
