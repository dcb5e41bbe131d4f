"""The wheel: what pip installs where there is no checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def files_below(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name}


def test_the_wheel_holds_the_package_and_the_recipes_and_nothing_else(tmp_path):
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    for name in ("bioplausible", "configs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheels.mkdir()
    expected = {f"bioplausible/{name}" for name in files_below(source / "bioplausible")}
    expected |= {f"bioplausible/configs/{name}" for name in files_below(source / "configs")}
    subprocess.run([sys.executable, "-c", BUILD, wheels], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(*wheels.iterdir()) as wheel:
        installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert installed == expected
