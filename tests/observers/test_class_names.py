"""Classes are shown by their names."""

import pytest
import torch

from bioplausible import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    MNISTDataModule,
)
from bioplausible.data.class_names import class_names, telling_names
from bioplausible.observers.drawings import draw_confusion


def test_the_built_in_data_sets_have_names():
    clothes = class_names(FashionMNISTDataModule())
    assert (clothes[0], clothes[9]) == ("T-shirt/top", "Ankle boot")
    pictures = class_names(CIFAR10DataModule())
    assert (pictures[0], pictures[9]) == ("airplane", "truck")
    fine = class_names(CIFAR100DataModule())
    assert len(set(fine)) == 100
    assert fine == sorted(fine)  # as they are numbered
    for data in (DigitsDataModule(), MNISTDataModule()):
        assert class_names(data) == list("0123456789")
        assert telling_names(data) is None
    assert class_names(None) is None


@pytest.mark.parametrize("names", [("cat", "a dog of many words", "$x$"), ("0", "1", "2")])
def test_the_confusion_matrix_has_them_at_its_sides(names):
    figure = draw_confusion(torch.eye(3), "validation", names)
    axis = figure.axes[0]
    expected = ["cat", "a dog of many w…", r"\$x\$"] if "cat" in names else list(names)
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [label.get_text() for label in labels] == expected
    figure.canvas.draw()
