"""The tutorials as notebooks, made from their pages when the site is built: one text, whose blocks the tests run."""

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FOLDER = "tutorials/"
PART = re.compile(
    r'^(?:```(?P<kind>\w+)(?: title="(?P<file>[^"\n]+)")?\n(?P<code>.*?)^```'
    r"|!\[[^]]*\]\(pictures/(?P<picture>[^)]+)\))$",
    re.MULTILINE | re.DOTALL,
)


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds a notebook beside each tutorial."""
    from mkdocs.structure.files import File

    for file in files.documentation_pages():
        if file.src_uri.startswith(FOLDER):
            made = json.dumps(notebook(file.content_string), indent=1)
            files.append(File.generated(config, file.src_uri.replace(".md", ".ipynb"), content=made))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Adds the link to the notebook below a tutorial's heading."""
    uri = page.file.src_uri
    if not uri.startswith(FOLDER):
        return markdown
    heading, _, rest = markdown.partition("\n")
    return f"{heading}\n\n[This page as a notebook]({uri.removeprefix(FOLDER).replace('.md', '.ipynb')})\n{rest}"


def notebook(markdown: str) -> dict[str, Any]:
    """Returns a page as a Jupyter notebook without outputs (nbformat 4.5).

    A block that is a file writes it, a shell block runs, and a picture is the one that the cells above have drawn.
    """
    cells: list[dict[str, Any]] = []

    def add(kind: str, source: str) -> None:
        if source.strip():
            of_code = {"execution_count": None, "outputs": []} if kind == "code" else {}
            lines = source.strip("\n").splitlines(keepends=True)
            cells.append({"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}, "source": lines, **of_code})

    end = 0
    for part in PART.finditer(markdown):
        add("markdown", _without_links(markdown[end : part.start()]))
        end = part.end()
        if part["picture"]:
            add("code", f'from IPython.display import Image\n\nImage("{part["picture"]}")')
        elif part["file"]:
            add("code", f"%%writefile {part['file']}\n{part['code']}")
        else:
            add("code", {"sh": "%%sh\n", "python": ""}[part["kind"]] + part["code"])
    add("markdown", _without_links(markdown[end:]))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _without_links(markdown: str) -> str:
    """Returns text in which links to pages beside, which a notebook that was downloaded has not, are their words."""
    return re.sub(r"\[([^]]+)\]\(\.\./[^)]+\)", r"\1", markdown)
