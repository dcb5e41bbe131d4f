"""A whole sweep is checked before its first trial: what ``fit`` would refuse is refused here."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from bioplausible.commands.configuration import last_of
from bioplausible.commands.parsed import parsed
from bioplausible.commands.report.configurations import digests
from bioplausible.commands.sources import meaning, sources
from bioplausible.commands.sweep.settings import require_single
from bioplausible.commands.sweep.trials import TEST, Trial
from bioplausible.errors import UserError
from bioplausible.errors.sentences import sentence
from bioplausible.resume.run_files import ENVIRONMENT, read_yaml
from bioplausible.training.loggers import is_file_logger

_OTHER_LOGGER = (
    "{} can't be trained: its recipe sets trainer.logger, but a sweep gives each trial a folder in which TensorBoard's"
    " or CSV files lie: leave it out, or name one such logger."
)


def require_trainable(every: Sequence[Trial]) -> None:
    """Checks that ``fit`` takes the options of every trial; of trials that differ in their seed, those of the first.

    Takes about a tenth of a second for each.

    Raises:
        UserError: of one it does not; the sentence names the trial.
    """
    seen: list[dict[str, object]] = []
    for trial in every:
        what = {**trial.what, "seed": None, "arguments": trial.arguments[:2]}
        if what in seen:
            continue
        seen.append(what)
        options = {key: meaning(text) for key, text in trial.what["options"].items()}
        require_single(options, trial.name, options)
        _require_parsed(trial)


def require_same_images(every: Sequence[Trial]) -> None:
    """Checks that trials with the same data and options of the data were trained and scored on the same images.

    They are compared and averaged, and a file may have been changed between two of them.

    Raises:
        UserError: they were not.
    """
    seen: dict[str, dict[str, tuple[str, Trial]]] = {}
    for trial in every:
        of_data = {key: value for key, value in trial.what["options"].items() if key.startswith("data")}
        in_recipe = (yaml.safe_load(trial.what["recipe"]) or {}).get("data")
        known = seen.setdefault(yaml.safe_dump([in_recipe, of_data]), {})
        for name, digest in digests(read_yaml(Path(trial.folder, ENVIRONMENT), {})).items():
            other, first = known.setdefault(name, (digest, trial))
            if digest != other:
                raise UserError(
                    f"{first.name} and {trial.name} have other images ({name}), so their files have changed in between:"
                    " delete the folder of what has the wrong ones, and the same command trains it anew."
                )


def _require_parsed(trial: Trial) -> None:
    given = last_of(sources("fit", trial.arguments[:2]), "trainer", "logger")
    if given is False or isinstance(given, list):  # over which no folder can be set
        raise UserError(_OTHER_LOGGER.format(trial.name))
    try:
        trainer = parsed(trial.arguments)["trainer"]
    except Exception as error:
        said = sentence(error)
        if said is None:
            raise
        raise UserError(f"{trial.name} can't be trained: {said}") from error
    if not is_file_logger(trainer["logger"]["class_path"]):  # which alone the report reads
        raise UserError(_OTHER_LOGGER.format(trial.name))
    if trial.scored_by == TEST and (trainer["limit_test_batches"] == 0 or trainer["fast_dev_run"]):
        raise UserError(
            f"{trial.name} can't be trained: its recipe leaves the test split out, which scores a trial: leave"
            " limit_test_batches and fast_dev_run out."
        )
