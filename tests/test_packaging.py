"""The sdist and the wheel built from it: what pip installs where there is no checkout."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import bioplausible
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


def copy_sources(source: Path) -> Path:
    """Copies what the packages are built from: setuptools leaves files beside it."""
    for name in ("bioplausible", "configs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    texts = ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")
    tools = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "Makefile", ".gitattributes", ".git_archival.txt")
    for name in (*tools, *texts):
        shutil.copy(ROOT / name, source)
    return source


def git(source: Path, *arguments: str) -> str:
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=source, check=True, capture_output=True, text=True).stdout


def commit(source: Path, tag: str | None = None) -> Path:
    git(source, "init", "--quiet")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--allow-empty", "--message", "all")
    if tag:
        git(source, "tag", "--annotate", tag, "--message", tag)
    return source


def versions_in_the_change_log() -> list[str]:
    """Returns them, the latest first."""
    return re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def archive(source: Path, folder: Path) -> Path:
    """Returns what git makes of the last commit without itself, as a host's zip file."""
    git(source, "archive", "--prefix", "all/", "--output", f"{folder}.zip", "HEAD")
    with zipfile.ZipFile(f"{folder}.zip") as packed:
        packed.extractall(folder)
    return folder / "all"


def test_sdist_and_wheel_hold_the_package_and_the_recipes_and_nothing_else(tmp_path):
    source = commit(copy_sources(tmp_path / "source"), tag="v7.8.9")
    expected = {f"bioplausible/{name}" for name in files_below(source / "bioplausible")}
    expected |= {f"bioplausible/configs/{name}" for name in files_below(source / "configs")}
    with tarfile.open(build("sdist", source, tmp_path / "sdists")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    texts = {"README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE"}
    tools = {"setup.cfg", "pyproject.toml", "MANIFEST.in", "PKG-INFO"}
    folders = {"bioplausible", "configs", "bioplausible.egg-info"}
    assert {path.name for path in unpacked.iterdir()} == texts | tools | folders
    assert unpacked.name == "bioplausible-7.8.9"
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "wheels")) as wheel:
        installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert installed == expected
    assert Path(wheel.filename).name.startswith("bioplausible-7.8.9-")  # without git: from the sdist's PKG-INFO


def test_the_version_is_that_of_the_tag(tmp_path):
    """Built of few files, for it is the settings that count."""
    source = tmp_path / "source"
    (source / "bioplausible").mkdir(parents=True)
    (source / "bioplausible/__init__.py").touch()
    for name in ("pyproject.toml", ".gitignore", ".gitattributes", ".git_archival.txt"):
        shutil.copy(ROOT / name, source)
    (source / "setup.cfg").write_text("[metadata]\nname = bioplausible\n[options]\npackages = bioplausible\n")

    def version(folder: Path, name: str) -> str:
        return build("wheel", folder, tmp_path / name).name.split("-")[1]

    (expected, *_) = versions_in_the_change_log()
    assert version(source, "no git") == f"{expected}.dev0"
    assert re.fullmatch(re.escape(expected) + r"\.dev1\+g\w+", version(commit(source), "no tag"))
    for i, other in enumerate(("results-2026", "data-1.0", "fig3", "v-paper", "very-first", "v1.0-draft", "v2")):
        git(source, "tag", other)
        assert version(source, f"other tag {i}").startswith(f"{expected}.dev1+g")
    assert version(archive(source, tmp_path / "untagged"), "of the untagged archive") == f"{expected}.dev0"
    assert version(commit(source, tag="v7.8.9"), "tag") == "7.8.9"
    assert version(archive(source, tmp_path / "tagged"), "of the archive") == "7.8.9"
    assert re.fullmatch(r"7\.8\.10\.dev1\+g\w+", version(commit(source), "later"))


def test_what_is_not_installed_says_so_instead_of_a_version(monkeypatch):
    assert bioplausible.__version__ == importlib.metadata.version("bioplausible")
    monkeypatch.setattr(bioplausible, "__name__", "none_of_this_name")
    assert bioplausible.__version__ == "not installed"


def setup() -> ConfigParser:
    read = ConfigParser()
    read.read(ROOT / "setup.cfg")
    return read


def lines(text: str) -> list[str]:
    """Returns the entries of a list in setup.cfg, without comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_the_texts_name_the_version_of_the_tag_or_of_the_next_one():
    (version, *_) = versions_in_the_change_log()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    asked = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD", "--list", "v*"]
    tags = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    assert tags in ([], [f"v{version}"])


def test_the_citation_has_what_the_format_asks_for():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["license"] == setup()["metadata"]["license_expression"]
    assert cited["abstract"] == setup()["metadata"]["description"]
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])


def test_classifiers_name_the_versions_of_python_that_it_installs_on():
    named = {
        found[1]
        for line in lines(setup()["metadata"]["classifiers"])
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    taken = SpecifierSet(setup()["options"]["python_requires"])
    assert named == {f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in taken}


def test_an_extra_installs_alone():
    """What tests and the commands of one extra need of another one, the extra names itself, with the same bounds."""
    extras = {
        name: [Requirement(line) for line in lines(text)] for name, text in setup()["options.extras_require"].items()
    }
    bounds: dict[str, set[str]] = {}
    for needed in extras.values():
        assert len({one.name for one in needed}) == len(needed)
        for one in needed:
            bounds.setdefault(one.name, set()).add(f"{sorted(one.extras)}{one.specifier}")
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}
    named = {name: {one.name for one in needed} for name, needed in extras.items()}
    assert named["sweep"] | named["mnist5000"] <= named["test"]  # whose commands the tests run


def test_every_pip_knows_an_extra_by_its_name():
    """Metadata has mnist-5000 for mnist_5000, which pip 23.2 does not find: it warns, and installs nothing of it."""
    assert [name for name in setup()["options.extras_require"] if not re.fullmatch("[a-z0-9]+", name)] == []


def test_the_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:bioplausible|configs|tests|docs)/[^`]*)`", text)
    linked = re.findall(r"\]\(([^)#]+)", text)
    assert named
    assert [path for path in [*named, *linked] if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The sdist and the wheel."""
    folder = tmp_path_factory.mktemp("built")
    source = commit(copy_sources(folder / "source"), tag="v7.8.9")
    return {kind: build(kind, source, folder / kind) for kind in ("sdist", "wheel")}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("twine") is None, reason="twine is not installed: pip install '.[test]'")
def test_an_index_would_take_and_show_them(built):
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.values())]
    checked = subprocess.run(check, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


@pytest.mark.slow
def test_the_wheel_says_what_it_is(built):
    with zipfile.ZipFile(built["wheel"]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        said = message_from_bytes(wheel.read(name))
        assert "bioplausible/py.typed" in wheel.namelist()
    assert (said["Name"], said["Version"]) == ("bioplausible", "7.8.9")
    assert said["License-Expression"] == "MIT"
    assert set(said.get_all("Provides-Extra")) == set(setup()["options.extras_require"])


@pytest.mark.slow
def test_what_is_installed_trains_outside_the_checkout(built, tmp_path):
    """From the wheel alone: its recipes, its page, its command; torch and the rest are those of the environment."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", "installed"]
    subprocess.run([*pip, str(built["wheel"])], cwd=tmp_path, check=True)
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    where = [sys.executable, "-c", "import bioplausible; print(bioplausible.__file__)"]
    found = subprocess.run(where, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(tmp_path)
    program = str(tmp_path / "installed/bin/bioplausible")
    fit = [program, "fit", "--config", "digits/backpropagation", "--trainer.max_epochs", "1"]
    for command in (fit, [program, "report", "lightning_logs"]):
        done = subprocess.run([sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (work / "report/index.html").is_file()
