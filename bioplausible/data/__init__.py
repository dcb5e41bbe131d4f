"""LightningDataModules: each data set held as one tensor and served a batch at a time."""

from bioplausible.data.arrays import ArraysDataModule
from bioplausible.data.base import ImageDataModule
from bioplausible.data.cifar import CIFAR10DataModule, CIFAR100DataModule
from bioplausible.data.digits import DigitsDataModule
from bioplausible.data.from_torchvision import TorchvisionDataModule
from bioplausible.data.image_folder import ImageFolderDataModule
from bioplausible.data.mnist import FashionMNISTDataModule, MNISTDataModule
from bioplausible.data.mnist_5000 import MNIST5000DataModule
from bioplausible.data.own import OwnDataModule
from bioplausible.data.published import PublishedDataModule
from bioplausible.data.table import TableDataModule

__all__ = [
    "ArraysDataModule",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "MNIST5000DataModule",
    "MNISTDataModule",
    "OwnDataModule",
    "PublishedDataModule",
    "TableDataModule",
    "TorchvisionDataModule",
]
