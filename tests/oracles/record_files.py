"""The files of what is recorded: one line a case."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_file(path: Path) -> dict[str, dict[str, Any]]:
    """Returns what is recorded, by what a case begins with and by its name; nothing where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write_file(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes what :func:`read_file` reads."""
    blocks = []
    for base, cases in entries.items():
        lines = ",\n".join(f"{_text(case)}: {_text(kept)}" for case, kept in cases.items())
        blocks.append(f"{_text(base)}: {{\n{lines}\n}}")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
