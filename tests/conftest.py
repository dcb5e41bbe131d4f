import gc
import itertools
import os
import re
import signal
import warnings
from collections import Counter

import pytest
from hypothesis import settings

from bioplausible.commands.quiet import quiet

# two cores at most, and the same bits whatever the machine: set before torch starts its threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.disable()  # until all is imported, which is no garbage: looking through it takes a quarter of the imports' time

FOLDERS = itertools.count()
CASES_PER_SAMPLE = 7
"""Of as many cases of a sampled test `make test` takes one: a prime, so that it is not always the same network's."""

settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where tests of equations make their tensors: cpu or cuda")


def pytest_collection_modifyitems(items):
    """Leaves all but the first of every seven cases of a sampled test to `make test-thorough`."""
    cases = Counter()
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            if cases[test] % CASES_PER_SAMPLE:
                item.add_marker(pytest.mark.thorough)
            cases[test] += 1


def pytest_collection_finish():
    """Lets garbage be looked for among what the tests make, and no more among what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _device(request):
    device = request.config.getoption("--device")
    if device != "cpu":
        import torch

        torch.set_default_device(device)


@pytest.fixture
def tmp_path(request, tmp_path_factory):
    """As pytest's own, which looks through the folders of all tests before for the next number: 14,000 times."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return tmp_path_factory.mktemp(f"{name}_{next(FOLDERS)}", numbered=False)


@pytest.fixture(autouse=True)
def _sigint():
    """A pytest that was started in the background ignores SIGINT, and so would the commands that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    """Each test in a folder of its own, without a seed from the test before."""
    import torch  # not above: xdist's first process runs no test, and would import it while the others do

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    # where nothing else draws, this does what torch.manual_seed does: that writes down for each kind of GPU who called
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(0)
    with warnings.catch_warnings():
        quiet()
        yield
