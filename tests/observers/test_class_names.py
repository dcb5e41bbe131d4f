"""Classes are shown by their names."""

from types import SimpleNamespace

import pytest
import torch

from bioplausible import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    MNISTDataModule,
)
from bioplausible.observers import representations
from bioplausible.observers.class_names import class_names, named_classes
from bioplausible.observers.representations import Representations


def of(data):
    return SimpleNamespace(datamodule=data)


def test_the_built_in_data_sets_have_names():
    clothes = class_names(of(FashionMNISTDataModule()), 10)
    assert (clothes[0], clothes[9]) == ("T-shirt/top", "Ankle boot")
    pictures = class_names(of(CIFAR10DataModule()), 10)
    assert (pictures[0], pictures[9]) == ("airplane", "truck")
    fine = class_names(of(CIFAR100DataModule()), 100)
    assert len(set(fine)) == 100
    assert fine == sorted(fine)  # as they are numbered
    for data in (DigitsDataModule(), MNISTDataModule()):
        assert class_names(of(data), 10) == list("0123456789")
        assert named_classes(of(data)) is None
    assert class_names(of(None), 3) == ["0", "1", "2"]


@pytest.mark.parametrize("names", [("cat", "a dog of many words", "$x$"), ("0", "1", "2")])
def test_the_confusion_matrix_has_them_at_its_sides(names, monkeypatch):
    drawn = []
    monkeypatch.setattr(representations, "log_figure", lambda trainer, name, figure: drawn.append(figure))
    shown = Representations()
    shown._confusion = torch.eye(3)
    shown._draw_confusion(of(SimpleNamespace(class_names=names)))
    axis = drawn[0].axes[0]
    expected = ["cat", "a dog of many w…", r"\$x\$"] if "cat" in names else list(names)
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [label.get_text() for label in labels] == expected
    drawn[0].canvas.draw()
