"""LightningDataModules: each data set held as one tensor and served a batch at a time."""

from bioplausible.data.base import ImageDataModule
from bioplausible.data.cifar import CIFAR10DataModule, CIFAR100DataModule
from bioplausible.data.digits import DigitsDataModule
from bioplausible.data.from_torchvision import TorchvisionDataModule
from bioplausible.data.mnist import FashionMNISTDataModule, MNISTDataModule
from bioplausible.data.mnist_5000 import MNIST5000DataModule

__all__ = [
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageDataModule",
    "MNIST5000DataModule",
    "MNISTDataModule",
    "TorchvisionDataModule",
]
