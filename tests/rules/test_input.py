"""What may be given to a rule: images and vectors, however their values are laid out."""

import pytest
import torch

from bioplausible import Backpropagation, LearningRule, UserError
from tests.helpers import NETWORKS, VARIANTS, build

SHAPES = [(3, 2, 2), (2, 6), (12,), (1, 12), (1, 3, 4)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_rule_takes_images_as_vectors_and_vectors_as_images(variant):
    cls, options = VARIANTS[variant]
    x = torch.rand(5, 12, dtype=torch.float64)
    dense = build(cls, [12, 6, 5, 4], **options)
    expected = dense(x)
    assert expected.shape == (5, 4)
    for shape in SHAPES:
        assert torch.equal(dense(x.view(5, *shape)), expected)
    if variant != "DirectFeedbackAlignment":  # dense networks alone
        images = torch.rand(5, *NETWORKS["convolution"][0], dtype=torch.float64)
        on_images = build(cls, "convolution", **options)
        assert torch.equal(on_images(images.flatten(1)), on_images(images))


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_activities_and_predictions_are_of_images_and_vectors_too(variant):
    cls, options = VARIANTS[variant]
    x = torch.rand(5, 12, dtype=torch.float64)
    rule = build(cls, [12, 6, 5, 4], **options).eval()
    expected = rule.activity(x)
    assert [r.shape for r in expected] == [(5, d) for d in (12, 6, 5, 4)]
    assert torch.allclose(expected[-1], rule(x))
    for shape in SHAPES:
        found = rule.activity(x.view(5, *shape))
        assert all(torch.equal(mine, its) for mine, its in zip(found, expected, strict=True))
        predicted = rule.predict_step(x.view(5, *shape))
        assert torch.equal(predicted["prediction"], rule(x).argmax(1))
        assert predicted.keys() == {"prediction", "confidence"}


def test_activities_of_a_rule_of_ones_own_are_too():
    class WithLayers(Backpropagation):
        def activity(self, x):
            return [x, *super().activity(x)[1:]]

    class WithoutLayers(Backpropagation):
        activity = LearningRule.activity

    images = torch.rand(5, 3, 4)
    for cls in (WithLayers, WithoutLayers):
        rule = cls([12, 6, 4])
        rule.forward = lambda x, rule=rule: rule.network.drive(2, [x, rule.network.drive(1, [x])])
        assert rule.activity(images)[0].shape == (5, 12)
        assert rule.activity(images)[-1].shape == (5, 4)
    with pytest.raises(UserError, match="The input has the shape 3 × 5, the network's first layer 12"):
        rule.activity(torch.rand(5, 3, 5))


def test_a_single_image_is_a_batch_of_one_or_refused():
    """(1 × height × width) is both one image of a channel and a batch of one image without; the output is the same."""
    torch.manual_seed(0)
    grey, colour = Backpropagation([12, 4]), Backpropagation([12, 4])
    image = torch.rand(1, 3, 4)
    assert torch.equal(grey(image), grey(image.view(1, 12)))
    for single in (torch.rand(3, 2, 2), torch.rand(12), torch.rand(3, 4)):
        with pytest.raises(UserError, match=r"that of a single sample: give a batch of it, x\[None\]"):
            colour(single)
        assert colour(single[None]).shape == (1, 4)


@pytest.mark.parametrize("shape", [(5, 11), (5, 3, 2, 3), (5,), (11,), (24,)])
def test_another_number_of_values_is_refused(shape):
    with pytest.raises(UserError, match="the network's first layer 12"):
        Backpropagation([12, 4])(torch.rand(shape))


def test_images_of_another_shape_are_refused_by_a_network_of_images():
    with pytest.raises(UserError, match="5 × 5 × 2, the network's first layer 2 × 5 × 5"):
        build(Backpropagation, "convolution")(torch.rand(3, 5, 5, 2, dtype=torch.float64))


@pytest.mark.parametrize("network", [[12, 6, 5, 4], "convolution"], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_do_not_say_which_value_is_white(network, dtype):
    rule = build(Backpropagation, network)
    images = torch.ones(5, *rule.network.shapes[0], dtype=dtype)
    for call in (rule, rule.activity):
        with pytest.raises(UserError, match=f"The input has {str(dtype)[6:]} numbers, .+ white: give floating-point"):
            call(images)


@pytest.mark.parametrize("network", [[12, 6, 5, 4], "convolution"], ids=str)
def test_numbers_of_another_precision_than_the_weights_are_refused(network):
    rule = build(Backpropagation, network).float()
    images = torch.rand(5, *rule.network.shapes[0], dtype=torch.float64)
    for call in (rule, rule.activity):
        with pytest.raises(
            UserError, match=r"The input has float64 numbers, .*weights float32: .*x\.to\(rule\.dtype\)"
        ):
            call(images)
        call(images.to(rule.dtype))
