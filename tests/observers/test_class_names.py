"""Classes are shown by their names."""

import math
from types import SimpleNamespace

import pytest
import torch

from bioplausible import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    EquilibriumPropagation,
    FashionMNISTDataModule,
    MNISTDataModule,
)
from bioplausible.commands.look import figures
from bioplausible.data.class_names import class_names, telling_names
from bioplausible.observers import representations
from bioplausible.observers.drawings import draw_confusion, draw_tsne
from tests.helpers import build


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


@pytest.mark.parametrize("count", [3, 100])
def test_a_map_of_classes_says_which_number_is_which_name(count):
    names = ["cat", "a dog of many words", "$x$", *(f"class {i}" for i in range(3, count))][:count]
    labels = torch.cat([torch.arange(count), torch.arange(count)])
    hidden = [torch.rand(len(labels), 5, generator=torch.Generator().manual_seed(0))]
    figure = draw_tsne(hidden, labels, count, names)
    expected = ["0 = cat", "1 = a dog of many w…", r"2 = \$x\$", *(f"{i} = class {i}" for i in range(3, count))]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == expected
    figure.draw_without_rendering()
    (axis,) = figure.axes
    legend_box, map_box = legend.get_window_extent(), axis.get_window_extent()
    assert map_box.x1 <= legend_box.x0  # it hides nothing
    assert legend_box.x1 <= figure.bbox.x1 + 1
    assert map_box.width > 0.9 * map_box.height  # and leaves the map its room
    assert not draw_tsne(hidden, labels, count).legends


@pytest.mark.parametrize("count", [1, 24, 25, 26, 50, 51])
def test_no_column_of_the_legend_is_longer_than_the_map_has_room_for(count):
    labels = torch.arange(2 * count) % count
    figure = draw_tsne([torch.rand(len(labels), 5)], labels, count, [str(c) for c in range(count)])
    (legend,) = figure.legends
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    lefts = [round(text.get_window_extent().x0) for text in legend.get_texts()]
    columns = sorted(set(lefts))
    assert len(columns) == math.ceil(count / 25)
    assert max(map(lefts.count, columns)) <= 25
    assert 0 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1


def test_only_classes_that_are_on_the_map_are_named():
    figure = draw_tsne([torch.rand(12, 5)], torch.tensor([0, 2] * 6), 3, ["a", "b", "c"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0 = a", "2 = c"]


def test_observer_and_look_hand_the_names_over(monkeypatch):
    """Those that say more than the numbers: the digits' do not."""
    seen = []
    monkeypatch.setattr(representations, "draw_tsne", lambda *args: seen.append(args[3]))
    monkeypatch.setattr(figures, "draw_tsne", lambda *args: seen.append(args[3]))
    monkeypatch.setattr(representations, "log_figure", lambda *args: None)
    rule = build(EquilibriumPropagation)
    x, y = torch.rand(12, 7, dtype=torch.float64), torch.arange(12) % 4
    observer = representations.Representations(tsne=True)
    monkeypatch.setattr(observer, "_images", lambda trainer, rule: (x, y))
    named = SimpleNamespace(class_names=("cat", "dog", "cow", "hen"))
    for data in (named, DigitsDataModule(), None):
        observer.look_at_end(SimpleNamespace(datamodule=data), rule)
        subject = SimpleNamespace(rule=rule, data=data, batch=(x, y, None))
        figures.DRAW["tsne"](subject)
    assert seen == [["cat", "dog", "cow", "hen"]] * 2 + [None] * 4
