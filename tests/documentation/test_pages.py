"""Navigation, links and pictures of the pages, and the reference made from docstrings and parsers."""

import importlib.util
import json
import pkgutil
import re
import subprocess
import sys

import pytest
import yaml

from bioplausible import data, observers
from bioplausible.__main__ import NAMES
from bioplausible.rules import RULES
from tests.documentation.pages import BLOCK, PAGES, blocks
from tests.helpers import ROOT

DOCS = ROOT / "docs"
MADE = "reference/options.md"
"""The page that is made when the site is built."""

LARGEST_PICTURE = 300 * 1024


def prose(page):
    """Returns a page without its fenced blocks."""
    return BLOCK.sub("", page.read_text())


def links(page):
    """Returns the targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub("`[^`\n]*`", "", prose(page)))


def anchors(page):
    """Returns the anchors of a page's headings, as GitHub and mkdocs make them of plain words."""
    headings = re.findall("^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower().replace(" ", "-") for heading in headings}


def pages_of(nav):
    for entry in nav:
        for target in entry.values():
            yield from pages_of(target) if isinstance(target, list) else [target]


def test_the_navigation_has_every_page_once():
    nav = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    files = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert sorted(nav) == sorted([*files, MADE])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """In docs/ to what the site has too."""
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if target == DOCS / MADE:
            continue
        assert target.is_file(), link
        assert page.name == "README.md" or target.is_relative_to(DOCS), link
        assert not anchor or anchor in anchors(target), link


def test_pictures_are_small_and_shown_beside_the_command_that_made_them():
    shown = set()
    for page in DOCS.glob("*.md"):
        for section in re.split("^#", page.read_text(), flags=re.MULTILINE):
            pictures = re.findall(r"^!\[.+\]\((pictures/.+)\)$", section, re.MULTILINE)
            assert not pictures or "```sh" in section, pictures
            shown |= set(pictures)
    files = list((DOCS / "pictures").iterdir())
    assert {f"pictures/{path.name}" for path in files} == shown
    for path in files:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size <= LARGEST_PICTURE


def described(name):
    """Returns what a page of the reference describes."""
    return {pkgutil.resolve_name(path) for path in re.findall("^::: (.+)$", (DOCS / name).read_text(), re.MULTILINE)}


@pytest.mark.parametrize(
    ("page", "classes"),
    [
        ("reference/rules.md", RULES),
        ("reference/data.md", [getattr(data, name) for name in data.__all__]),
        ("reference/observers.md", [getattr(observers, name) for name in observers.__all__]),
    ],
)
def test_the_reference_has_every_class(page, classes):
    assert {cls for cls in classes if isinstance(cls, type)} <= described(page)


def hook(name):
    """Returns a module that makes a part of the site."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"site/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_draws_the_pictures_that_it_shows(page):
    shown = re.findall(r"^!\[.+\]\(pictures/(.+)\)$", page.read_text(), re.MULTILINE)
    drawn = re.findall(r'savefig\("(.+?)"', page.read_text())
    assert shown
    assert shown == drawn
    for name in shown:
        file = page.parent / "pictures" / name
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size <= LARGEST_PICTURE


def test_no_picture_of_a_tutorial_is_left_over():
    text = "".join(page.read_text() for page in TUTORIALS)
    assert all(f"(pictures/{file.name})" in text for file in (DOCS / "tutorials/pictures").iterdir())


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_s_notebook_has_the_blocks_that_the_page_s_test_runs(page):
    made = json.loads(json.dumps(hook("notebooks").notebook(page.read_text())))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    code = [text for kind, text in sources if kind == "code" and "IPython" not in text]
    heads = {"sh": "%%sh\n", "python": ""}
    expected = [f"%%writefile {b.title}\n" if b.title else heads[b.kind] for b in blocks(page)]
    assert code == [head + b.text.strip("\n") for head, b in zip(expected, blocks(page), strict=True)]
    assert [text for kind, text in sources if kind == "markdown" and ("```" in text or "](../" in text)] == []
    assert sum("IPython" in text for _, text in sources) == page.read_text().count("](pictures/")


@pytest.fixture(scope="module")
def options_page():
    """The module that makes the page of the command line's options."""
    return hook("options_page")


def test_the_page_of_options_has_every_option_of_every_command(options_page):
    sections = re.split("^## (.+)$", options_page.page(), flags=re.MULTILINE)
    sections = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert {"fit", *sections} == set(NAMES) - {"validate", "test", "predict"}  # of which it says that they take fit's
    for command, section in sections.items():
        said = options_page.help_of(command)
        options = {o for o in re.findall(r"(?<![\w-])--[\w.]+(?![\w+])", said) if not o.endswith(".help")}
        assert "--help" in options
        assert [o for o in options if o not in section] == []


def test_a_cell_of_the_page_of_options_is_one_line_that_marks_code_alone(options_page):
    said = options_page.cell("a_b <c>\n:class:`~d.e_f` | ``g*h`` [i]*")
    assert said == r"a\_b \<c\> `d.e_f` \| `g*h` \[i\]\*"


@pytest.mark.thorough
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed: pip install '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for tutorial in TUTORIALS:
        assert (tmp_path / f"site/tutorials/{tutorial.stem}.ipynb").is_file()
        assert (
            f'href="../{tutorial.stem}.ipynb"' in (tmp_path / f"site/tutorials/{tutorial.stem}/index.html").read_text()
        )
    page = (tmp_path / "site/reference/rules/index.html").read_text()
    data_page = (tmp_path / "site/reference/data/index.html").read_text()
    assert not re.search(r":(class|meth|func|data):", page)
    assert all(f'id="bioplausible.rules.{rule.__name__}"' in page for rule in RULES)
    assert re.search(r'<a class="autorefs[^>]+href="#bioplausible\.data\.ImageDataModule">', data_page)  # from a role
