"""Docstrings for the API pages: their Sphinx roles become links, where the site has a page for what they name."""

import re

import griffe

ROLE = re.compile(r":\w+:`(?P<name>[\w.]+)`")


class Roles(griffe.Extension):
    """Turns what is reStructuredText in a docstring into the Markdown that mkdocstrings reads."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrites a docstring before it is split into its sections."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value, obj.path)


def markdown(text: str, path: str) -> str:
    """Returns a docstring as Markdown.

    Args:
        text: the docstring.
        path: of the object that it describes; a role that names no package means something within or beside it.
    """

    def link(role: re.Match[str]) -> str:
        name = role["name"]
        parts = path.split(".")
        places = [name] if name.startswith("bioplausible.") else [".".join([*parts[:i], name]) for i in (-1, len(parts))]
        code = f"<code>{name.rpartition('.')[2]}</code>"
        # optional: what has no page stays a word; only the first place that is known counts, so the nearest is outermost
        for place in places:
            code = f'<autoref identifier="{place}" optional>{code}</autoref>'
        return code

    # a paragraph that ends in two colons announces a literal block, which Markdown knows by its indentation alone
    return re.sub(r"::$", ":", ROLE.sub(link, text), flags=re.MULTILINE)
