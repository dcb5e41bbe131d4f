"""What a run notes of where it ran."""

import platform
from pathlib import Path

import torch

from bioplausible.training.environment import environment, processor


def test_a_run_notes_the_name_of_what_it_trained_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a machine that has one may train on its CPU
    assert environment()["processor"] == processor() == environment(torch.device("cpu"))["processor"]
    assert environment(torch.device("cuda", 1))["processor"] == "GPU 1"


def test_a_processor_is_told_by_its_model_and_without_one_by_its_kind(monkeypatch):
    lines = "processor\t: 0\nmodel name\t: Some CPU: 2 GHz\nprocessor\t: 1\nmodel name\t: Some CPU: 2 GHz\n"
    monkeypatch.setattr(Path, "read_text", lambda path: lines)
    assert processor() == "Some CPU: 2 GHz"
    monkeypatch.setattr(Path, "read_text", lambda path: "Processor : ARM\n")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert processor() == "aarch64"

    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor() == "aarch64"
