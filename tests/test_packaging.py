"""The sdist and the wheel built from it: what pip installs where there is no checkout."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.helpers import ROOT

BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def files_below(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name}


def build(kind: str, source: Path, folder: Path) -> Path:
    """Returns the one file that setuptools builds from a source folder."""
    folder.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, f"build_{kind}", folder], cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def test_sdist_and_wheel_hold_the_package_and_the_recipes_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    for name in ("bioplausible", "configs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    expected = {f"bioplausible/{name}" for name in files_below(source / "bioplausible")}
    expected |= {f"bioplausible/configs/{name}" for name in files_below(source / "configs")}
    with tarfile.open(build("sdist", source, tmp_path / "sdists")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "wheels")) as wheel:
        installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert installed == expected
