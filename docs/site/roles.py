"""Docstrings for the API pages: their Sphinx roles become links, where the site has a page for what they name."""

import re

import griffe

ROLE = re.compile(r":\w+:`(?P<name>[\w.]+)`")


class Roles(griffe.Extension):
    """Turns what is reStructuredText in a docstring into the Markdown that mkdocstrings reads."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrites a docstring before it is split into its sections."""
        if obj.docstring is not None:
            place = obj.path if obj.is_class or obj.is_module else obj.path.rpartition(".")[0]
            obj.docstring.value = markdown(obj.docstring.value, place)


def markdown(text: str, place: str) -> str:
    """Returns a docstring as Markdown.

    Args:
        text: the docstring.
        place: the class or module in which a role means a name that begins with no package.
    """

    def link(role: re.Match[str]) -> str:
        name = role["name"]
        target = name if name.startswith("bioplausible.") else f"{place}.{name}"
        # optional: what has no page stays a word
        return f'<autoref identifier="{target}" optional><code>{name.rpartition(".")[2]}</code></autoref>'

    # a paragraph that ends in two colons announces a literal block, which Markdown knows by its indentation alone
    return re.sub(r"::$", ":", ROLE.sub(link, text), flags=re.MULTILINE)
