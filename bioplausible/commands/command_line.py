"""The command line: LightningCLI with defaults that work, and checkpoints that carry their run's configuration."""

import sys
import tempfile
import time
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from bioplausible.commands.built_in_callbacks import beside
from bioplausible.commands.class_help import class_help
from bioplausible.commands.class_names import resolved
from bioplausible.commands.completion import Completed, complete
from bioplausible.commands.how_to_go_on import HowToGoOn, OwnHandler, how_to_go_on
from bioplausible.commands.list_lengths import TOLD, all_wrong_lengths
from bioplausible.commands.logger_places import NO_LOGGER
from bioplausible.commands.machine import require_accelerator, threads_of_run
from bioplausible.commands.network_ends import fill_ends
from bioplausible.commands.one_class import OneClass
from bioplausible.commands.own_options import add_own_options, require_possible
from bioplausible.commands.own_pictures import OwnPictures, PicturesCSV, as_table, warning
from bioplausible.commands.recipes import snake_case
from bioplausible.commands.run_loggers import (
    folder_of_runs,
    resumed_loggers,
)
from bioplausible.commands.saved_configuration import SaveRunConfig, as_list, plain_values
from bioplausible.commands.suggestions import suggestion
from bioplausible.commands.summary import of_which_images, summary
from bioplausible.commands.trainer import RunTrainer
from bioplausible.data import ImageDataModule
from bioplausible.errors import UserError, user_errors
from bioplausible.errors.renamed import old_name
from bioplausible.errors.sentences import sentence
from bioplausible.lightning_internals import starts_processes_within, trainer_option
from bioplausible.observers.predictions import PredictionsCSV
from bioplausible.observers.progress import EpochLines, LiveProgressBar
from bioplausible.observers.throughput import SamplesPerSecond
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps, LastCheckpoint
from bioplausible.resume.checkpoint_files import (
    AtomicCheckpointIO,
    ReadAhead,
    run_folder,
)
from bioplausible.resume.exact_resume import require_end_ahead
from bioplausible.resume.refused_options import defaults_to_name
from bioplausible.rules import LearningRule
from bioplausible.training.data_parallel import processes
from bioplausible.training.loggers import RunLogger, is_file_logger
from bioplausible.training.monitored import search_no_more, searches
from bioplausible.training.named_runs import in_full
from bioplausible.training.optimization import build_optimizer, refuse_idle_rate
from bioplausible.training.stop_on_signal import StopOnSignal


class CommandLine(LightningCLI):
    """LightningCLI for learning rules.

    Args:
        completed: the command, its options, and what they imply.
        callbacks: further callbacks of the Trainer.
    """

    def __init__(self, completed: "Completed", callbacks: Sequence[Callback] = ()) -> None:
        self.further_callbacks = callbacks
        self.ahead, self.named, self.as_trained = completed.ahead, completed.named, completed.as_trained
        self.stop_on_signal = StopOnSignal()
        self.known_options: dict[str, LightningArgumentParser] = {}
        # of the command that is given alone: to know all options of one takes a tenth of a second
        given = {name: skip for name, skip in LightningCLI.subcommands().items() if name == completed.args[0]}
        self.subcommands = lambda: given  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "below.yaml")
            # in its own order, so that a resumed run saves the same configuration
            file.write_text(yaml.safe_dump(completed.below, sort_keys=False))
            strict = {"exit_on_error": False, "allow_abbrev": False, "default_env": True}
            of_command = {**strict, "default_config_files": [str(file)] if completed.below else []}
            super().__init__(
                LearningRule,
                ImageDataModule,
                trainer_class=RunTrainer,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                save_config_callback=SaveRunConfig,
                save_config_kwargs={"overwrite": True},
                trainer_defaults=completed.trainer_defaults,
                parser_kwargs=strict | {"prog": "python -m bioplausible"} | dict.fromkeys(given, of_command),
                args=completed.args,
            )

    # -------------------------------------------------------------------------------------------------------- arguments

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        add_own_options(parser, subcommand)
        self.known_options[subcommand] = parser
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the arguments; unlike the base class it doesn't warn that they are not ``sys.argv``.

        Raises:
            UserError: NumPy takes no such seed, a precision or number of threads is none, or the checkpoint's
                configuration is an earlier version's.
        """
        try:
            # :func:`sources` has read the environment
            if any(word.startswith("--print_config") for word in args):  # which the upper parser prints
                self.config = parser.parse_args(args, env=False)
            else:  # the upper one would read and check all that the command's own has read and checked
                own = self.known_options[args[0]].parse_args(args[1:], env=False)
                self.config = Namespace(subcommand=args[0], **{args[0]: own})  # type: ignore[no-untyped-call]
        except ArgumentError as error:
            renamed = old_name(str(error))
            if renamed and self.ahead and repr(renamed[0]) in str(self.ahead.config):
                raise UserError(
                    f"The checkpoint {self.ahead.path} is of an earlier version, in which {renamed[1]} was called"
                    f" {renamed[0]}: use it with that version, or train anew."
                ) from error
            known = None if renamed else suggestion(str(error), self.known_options[args[0]])
            if known is not None:
                raise UserError(known) from error
            raise
        plain_values(self.config)
        require_possible(self.config[self.config.subcommand])

    def _parse_ckpt_path(self) -> None:
        """Does nothing: Lightning would let the checkpoint's hyperparameters override the command line's.

        :func:`complete` puts the checkpoint's configuration below the command line's.
        """

    # ------------------------------------------------------------------------------------------------------ preparation

    def before_instantiate_classes(self) -> None:
        """Fills in what the network leaves to the data, and names the run's folder where it has no name."""
        config = self.config[self.subcommand]
        require_accelerator(config.trainer.accelerator)
        fill_ends(config, rank_zero_only(print))
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        for logger in as_list(config.trainer.logger):
            if isinstance(logger, Namespace) and is_file_logger(logger.class_path):
                options = logger.init_args
                if "name" in options and options.name is None:
                    options.name = f"{snake_case(config.data.class_path)}/{snake_case(config.model.class_path)}"
                if "save_dir" in options:
                    options.save_dir = in_full(options.save_dir or folder_of_runs(config.trainer.default_root_dir))

    def _dump_config(self) -> None:
        """Notes what rule and data module keep as hyperparameters; Lightning would check all options once more."""
        if not hasattr(self, "config_dump"):
            parser = self.known_options[str(self.subcommand)]
            config = self.config[self.subcommand]
            text = parser.dump(config, skip_link_targets=False, skip_none=False, skip_validation=True)
            self.config_dump = yaml.safe_load(text)

    def instantiate_classes(self) -> None:
        """Builds data, rule and Trainer.

        Raises:
            UserError: lists with an entry a layer are too long or too short, which are named all at once, or the
                checkpoint has an option that is refused today.
        """
        try:
            super().instantiate_classes()
        except Exception as error:
            said = sentence(error)
            if said is not None and (cure := self._defaults_for_checkpoint(said)):
                raise UserError(f"{said.rstrip('.')}; the checkpoint gives it, so name the default: {cure}") from error
            if said is None or not TOLD.match(said):
                raise
            raise UserError(all_wrong_lengths(self.config[self.subcommand].model, said)) from error

    def _defaults_for_checkpoint(self, said: str) -> str:
        """Returns what to type where a sentence refuses options that the checkpoint alone gives; else nothing."""
        rule = resolved(self.config[self.subcommand].model.class_path)
        if self.ahead is None or rule is None:
            return ""
        defaults = defaults_to_name(said, self.ahead.config, self.named, rule)
        return " ".join(f"--model.{name} {'null' if value is None else value}" for name, value in defaults.items())

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Adds the callbacks that every run has."""
        config = self.config[self.subcommand]
        if config.ckpt_path is not None and self.ahead is None:  # a YAML file names it
            self.ahead = ReadAhead(config.ckpt_path)
        trainer = self.config_init[self.subcommand].get("trainer", {})
        given = [*as_list(trainer.get("callbacks")), *self.further_callbacks]
        progress = LiveProgressBar if sys.stdout.isatty() else EpochLines
        callbacks: list[Callback] = [] if trainer.get("enable_progress_bar") is False else [progress()]
        self.one_class = OneClass()
        callbacks.append(self.one_class)
        if self.ahead is not None and self.ahead.from_python:
            # the command line gives every argument: those that nobody named stay as the checkpoint has them
            self.model.named_arguments &= self.named
        if self.subcommand == "fit":
            self.refuse_rate_without_effect()
            if config.threads is None:
                # saved with the configuration: the order of sums depends on it
                config.threads = threads_of_run(config.trainer, self.model, self.datamodule)
            every, keep = config.checkpoint_every_n_steps, config.checkpoint_keep
            if every is not None and trainer.get("enable_checkpointing") is False:
                raise UserError("checkpoint_every_n_steps needs checkpoints: leave out enable_checkpointing false.")
            if every is None and keep != 1:
                raise UserError(
                    f"checkpoint_keep is {keep}, which does nothing without checkpoint_every_n_steps: add it."
                )
            own_stop = [callback for callback in given if isinstance(callback, StopOnSignal)]
            self.stop_on_signal = own_stop[0] if own_stop else self.stop_on_signal
            callbacks += [SamplesPerSecond(), self.stop_on_signal, HowToGoOn()]
            if trainer.get("logger") not in NO_LOGGER:
                callbacks.append(LearningRateMonitor())
            if trainer.get("enable_checkpointing") is not False:
                steps = [] if every is None else [EveryNSteps(every, keep)]
                # in the order in which they are written: each holds what those before it know
                callbacks += [BestCheckpoint(), *steps, LastCheckpoint()]
        if self.subcommand == "predict":
            callbacks += self._written_predictions()
        callbacks = [OwnHandler(), *beside(given, callbacks)]  # before StopOnSignal, whose handler goes over it
        plugins = [*as_list(trainer.get("plugins")), AtomicCheckpointIO(self.ahead)]
        with user_errors("The Trainer can't be built", "change the options --trainer…"):
            built = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        if starts_processes_within(built):
            strategy = trainer.get("strategy")
            name = strategy if isinstance(strategy, str) else type(built.strategy).__name__
            raise UserError(
                f"the strategy {name} starts its processes from within this one, which can't tell"
                " what went wrong in them: use --trainer.strategy ddp."
            )
        if self.subcommand == "fit" and self.ahead is not None:
            require_end_ahead(built, self.ahead.global_step or 0, self.ahead.epochs_begun)
        if self.ahead is not None and searches(built):
            search_no_more(built)
            rank_zero_only(print)("BatchSizeFinder is left out: the batch size is the checkpoint's, or a named one")
        made = built.loggers
        of_run = self.subcommand == "fit" or self.as_trained  # what is measured in another way is not the run's
        if self.ahead is not None and of_run and not trainer_option(built, "fast_dev_run"):
            built.loggers = resumed_loggers(made, as_list(config.trainer.logger), self.ahead)
        going_on = [logger for logger in built.loggers if logger not in made]
        self.model.run_folders.expect(config.ckpt_path, going_on)
        return built

    def _written_predictions(self) -> list[PredictionsCSV]:
        """Reads the pictures of ``--images``, and returns what writes the predictions to a file."""
        config = self.config[self.subcommand]
        if config.invert and not config.images:
            raise UserError("--invert is of pictures of one's own: name them with --images, or leave it out.")
        self.pictures = OwnPictures(self.datamodule, config.images, config.invert) if config.images else None
        path = Path(config.output).expanduser() if config.output else None
        self.written: PredictionsCSV | None = None
        if self.pictures is not None:
            self.written = None if path is None else PicturesCSV(path, self.pictures)
        else:
            folder = run_folder(config.ckpt_path) or Path()
            self.written = PredictionsCSV(path or folder / "predictions.csv")
        return [] if self.written is None else [self.written]

    def refuse_rate_without_effect(self) -> None:
        """Refuses a rate of the optimizer's where every layer has its own.

        Raises:
            UserError: there is one.
        """
        optimizer = build_optimizer(self.model.optimizer, self.model.parameter_groups())
        refuse_idle_rate(optimizer, self.model)

    # ------------------------------------------------------------------------------------------ what is said at the end

    def before_fit(self) -> None:
        """Starts the clock."""
        self.seconds = -time.monotonic()

    def after_fit(self) -> None:
        """Tests the final weights, and prints where the run lies and how good it is."""
        try:
            self._after_fit()
        except KeyboardInterrupt:  # not amid Trainer's work, where HowToGoOn has said so
            if self.trainer.is_global_zero:
                print(f"\n{how_to_go_on(self.trainer)}")
            raise

    def _after_fit(self) -> None:
        for logger in self.trainer.loggers:
            # only where no checkpoint is written, which would have said so
            if isinstance(logger, RunLogger) and logger.lost:
                raise UserError(
                    f"The run's folder {logger.log_dir} disappeared, and with it all that the run was to leave: train"
                    " again, and let no other program clear that folder."
                )
        self.seconds += time.monotonic()
        say = print if self.trainer.is_global_zero else _nothing
        if self.ahead is not None and self.trainer.global_step == self.ahead.global_step:
            say("\nnothing was left to train: the checkpoint is at the end that max_epochs or max_steps sets")
        if self.stop_on_signal.signal is not None:
            say(f"\nstopped after step {self.trainer.global_step} by {self.stop_on_signal.signal.name}")
            say(how_to_go_on(self.trainer))
            return
        search_no_more(self.trainer)
        # of the weights that training ended with, which are those in last.ckpt: what was validated on the way was other
        validated = []
        if self.datamodule.has_validation:
            validated = self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        tested = self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
        validation, test = (found[0] if found else {} for found in (validated, tested))
        say()
        for line in summary(self.trainer, self.model, self.datamodule, self.seconds, validation, test):
            say(line)
        self._warn_of_one_class()

    def after_validate(self) -> None:
        """Says of how many images the metrics are, where a limit leaves some out."""
        self._say_of_which_images("val")

    def after_test(self) -> None:
        """Says so too, and where the network tells no classes apart."""
        self._say_of_which_images("test")
        self._warn_of_one_class()

    def _warn_of_one_class(self) -> None:
        if self.one_class.said and self.trainer.is_global_zero:
            print(f"warning: {self.one_class.said}", file=sys.stderr)

    def _say_of_which_images(self, split: str) -> None:
        limit = f"limit_{split}_batches"
        some = of_which_images(self.model, self.datamodule, split)
        if some and self.trainer.is_global_zero:
            print(f"measured on {some} ({limit} is {getattr(self.trainer, limit)})")

    def predict(self, model: LearningRule, datamodule: ImageDataModule, **options: Any) -> None:
        """Predicts the test split, or pictures of one's own in its place, whose classes are printed."""
        if self.pictures is None:
            self.trainer.predict(model, datamodule=datamodule, **options)
            return
        if self.trainer.world_size > 1:
            raise UserError("predict --images reads the pictures in one process: use --trainer.devices 1.")
        if said := warning(self.pictures):
            print(f"warning: {said}", file=sys.stderr)
        predicted = self.trainer.predict(model, datamodule=self.pictures, **{**options, "return_predictions": True})
        print(f"\n{as_table(self.pictures, cast(Any, predicted))}")

    def after_predict(self) -> None:
        """Prints where the predictions lie."""
        if self.written is not None:
            print(f"\npredictions  {self.written.path}")


def run(args: list[str], callbacks: Sequence[Callback] = ()) -> int:
    """Runs one of LightningCLI's commands and returns its exit status: 128 + its number where a signal ended it, or 0.

    Args:
        args: the command and its options.
        callbacks: further callbacks of the Trainer.

    Raises:
        UserError: a mistake that the user can cure.
    """
    asked = class_help(args)
    if asked is not None:
        print(asked)
        return 0
    completed = complete(args)
    command = CommandLine(completed, callbacks)
    if processes() > 1:
        torch.distributed.barrier()
        # the group's threads free the last tensors with Python's lock, which destroying the group holds (torch 2.6)
        time.sleep(0.2)
        torch.distributed.destroy_process_group()  # else its threads may abort the process as it ends
    stopped = command.stop_on_signal.signal
    # the first process's status is the run's: it takes another process's for a crash
    return 0 if stopped is None or not command.trainer.is_global_zero else 128 + stopped


def _nothing(*_: Any) -> None:
    pass
