"""What lies in a run's folder: the files' names, whose run it is, and what a resumed run adds and takes back."""

import csv
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.loggers import CSVLogger

from bioplausible.errors import UserError
from bioplausible.lightning_internals import FileLogger, go_on
from bioplausible.training.environment import NAMES
from bioplausible.training.hyperparameters import OF_TRAINING, TRAINING_DIGEST

ENVIRONMENT = "environment.yaml"
"""File in a run's folder that says what it ran in and names the run; whoever makes it has the folder."""
HPARAMS = "hparams.yaml"
"""File in a run's folder with the hyperparameters that it started with."""
METRICS = "metrics.csv"
"""File in a run's folder that CSVLogger writes."""
RESUMED = "resumed.yaml"
"""File in a run's folder that says where training was resumed with or in something else, or from another folder."""
MARKS = (
    ENVIRONMENT,
    HPARAMS,
    METRICS,
    RESUMED,
    "config.yaml",
    "events.out.tfevents.*",
    "checkpoints/*.ckpt",
)
"""What shows that a folder is a run's."""


def occupied(folder: Path) -> bool:
    """Returns whether a folder holds a run."""
    return any(next(folder.glob(mark), None) is not None for mark in MARKS)


def holds(folder: Path, checkpoint: str | Path | None) -> bool:
    """Returns whether a checkpoint is of a folder's run: it lies below, or below another folder of the same run."""
    above = [] if checkpoint is None else Path(checkpoint).resolve().parents
    run = read_yaml(folder / ENVIRONMENT, {}).get("run")
    theirs = (read_yaml(parent / ENVIRONMENT, {}).get("run") for parent in above if (parent / ENVIRONMENT).is_file())
    return folder.resolve() in above or (run is not None and run == next(theirs, None))


def note_resumed(
    folder: Path,
    step: int,
    values: dict[str, Any],
    elsewhere: str | None,
    without_effect: tuple[str, ...] = (),
    content: str | None = None,
    ran_in: Mapping[str, Any] | None = None,
    before: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Notes in a run's folder where training was resumed, if what it trains with or runs in has changed.

    Args:
        folder: the run's.
        step: at which it resumes.
        values: hyperparameters from there on.
        elsewhere: the checkpoint, where it is not this folder's.
        without_effect: how the names begin of those that bear on nothing from there on.
        content: digest of the images of the checkpoint's training, of which an earlier version's run did not tell.
        ran_in: versions, processor and threads from there on (:func:`bioplausible.training.environment.environment`);
            None where nothing is left to train.
        before: what was run in elsewhere (:func:`environments_before`).
    """
    path = folder / RESUMED
    # what was taken back is no more, but what came before lies elsewhere still
    entries = [e for e in read_resumed(folder) if e["step"] < step or ("checkpoint" in e and e["step"] == step)]
    had = {TRAINING_DIGEST: content} if content is not None else {}
    had |= read_yaml(folder / HPARAMS, {})
    for entry in entries:
        had |= entry["changed"]
    if elsewhere is not None:
        others_before = _differences(before, read_yaml(folder / ENVIRONMENT, {}))
        more = {"before": others_before} if others_before else {}
        entries.append({"step": step, "checkpoint": elsewhere, "changed": {}, **more})
    else:
        # an earlier version's names some of them only
        names = had.keys() | values.keys() if "rule" in had else had.keys() & values.keys()
        names -= OF_TRAINING.keys() - had.keys()
        changed = {name: values.get(name) for name in sorted(names) if had.get(name) != values.get(name)}
        changed = {name: value for name, value in changed.items() if not name.startswith(without_effect)}
        was = read_yaml(folder / ENVIRONMENT, {})
        for entry in entries:
            was |= entry.get("environment", {})
        others = {name: value for name, value in (ran_in or {}).items() if name in was and was[name] != value}
        if changed or others:
            entries.append({"step": step, "changed": changed, **({"environment": others} if others else {})})
    if entries:
        write_yaml(path, entries)
    else:
        path.unlink(missing_ok=True)


def read_resumed(folder: Path) -> list[dict[str, Any]]:
    """Returns where a run was resumed with or in something else, or from another folder: one entry for each time.

    Raises:
        UserError: the note is damaged.
    """
    path = folder / RESUMED
    entries: list[dict[str, Any]] = read_yaml(path, [])
    for entry in entries:
        if not isinstance(entry, dict) or type(entry.get("step")) is not int:
            raise _damaged(path)
        before = entry.get("before", [])
        if not isinstance(before, list):
            raise _damaged(path)
        if not all(isinstance(part, dict) for part in (entry.get("changed"), entry.get("environment", {}), *before)):
            raise _damaged(path)
    return entries


def environments(folder: Path, until: int | None = None) -> list[dict[str, Any]]:
    """Returns what a run ran in, from where it began, maybe in another folder, and each time that it went on elsewhere.

    Args:
        folder: the run's.
        until: the step of a checkpoint: what came later is left out.

    Raises:
        UserError: a note is damaged.
    """
    noted = read_yaml(folder / ENVIRONMENT, {})
    entries = [e for e in read_resumed(folder) if until is None or e["step"] < until or "checkpoint" in e]
    before = [{**noted, **ran_in} for entry in entries for ran_in in entry.get("before", [])]
    found = [{name: value for name, value in ran_in.items() if value is not None} for ran_in in [*before, noted]]
    for entry in entries:
        if "environment" in entry:
            found.append({**found[-1], **entry["environment"]})
    return found


def environments_before(checkpoint: str | Path, step: int) -> list[dict[str, Any]]:
    """Returns what the run of a checkpoint ran in up to its step; empty where it was moved away from its run.

    Raises:
        UserError: a note in that run's folder is damaged.
    """
    above = (folder for folder in Path(checkpoint).resolve().parents if (folder / ENVIRONMENT).is_file())
    folder = next(above, None)
    return [] if folder is None else environments(folder, step)


def _differences(before: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns each of several environments by what differs now; none that the next one is equal to."""
    parts = [{name: ran_in.get(name) for name in NAMES} for ran_in in (*before, now)]
    others = [part for part, later in pairwise(parts) if part != later]
    return [{name: value for name, value in part.items() if value != now.get(name)} for part in others]


def require_readable(folder: Path) -> None:
    """Checks what lies in a run's folder of how it trained, before anything of its log is dropped.

    Raises:
        UserError: a note is damaged.
    """
    read_resumed(folder)
    for name in (HPARAMS, ENVIRONMENT):
        read_yaml(folder / name, {})


def read_yaml(path: Path, otherwise: Any) -> Any:
    """Returns a file's content, or something else of its kind where there is none or nothing in it.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _damaged(path) from error
    if content and otherwise is not None and not isinstance(content, type(otherwise)):
        raise _damaged(path)
    return content or otherwise


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: restore it, or delete it, and what it said of the run is forgotten.")


def write_yaml(path: Path, content: Any) -> None:
    """Writes a file in the place of an earlier one, of which a kill leaves the one or the other."""
    aside = path.with_name(f".{path.name}.aside")
    aside.write_text(yaml.safe_dump(content, sort_keys=False))
    aside.replace(path)


def keep_rows(logger: FileLogger) -> None:
    """Keeps a CSVLogger from removing what is in its folder."""
    if isinstance(logger, CSVLogger):
        path, columns = Path(logger.log_dir, METRICS), []
        if path.is_file():
            with path.open(newline="") as file:
                columns = next(csv.reader(file), [])
        go_on(logger, columns)


def drop_rows(path: Path, step: int) -> None:
    """Drops the rows of a CSVLogger's file from a step on."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or []), list(reader)
    kept = [row for row in rows if row.get("step") and int(row["step"]) < step]  # a kill may have cut the last one
    aside = path.with_name(f".{path.name}.aside")
    with aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(kept)
    aside.replace(path)


def leave(folder: Path, made: bool) -> None:
    """Removes what a run that did not begin has left in its folder, and the folder if it made it."""
    for mark in MARKS:
        for file in folder.glob(mark):
            file.unlink(missing_ok=True)
    for empty in [folder / "checkpoints", *([folder] if made else [])]:
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
