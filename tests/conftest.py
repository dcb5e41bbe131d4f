import os
import warnings

# two cores at most, and the same bits whatever the machine: set before torch starts its threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from bioplausible.commands.quiet import quiet

settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    """Each test in a folder of its own, without a seed from the test before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        quiet()
        yield
