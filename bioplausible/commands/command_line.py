"""The command line: LightningCLI with defaults that work, and checkpoints that carry their run's configuration."""

import logging
import time
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from bioplausible.commands.arguments import CommandArguments
from bioplausible.commands.recipes import recipes
from bioplausible.commands.run_loggers import how_to_look, resumed_loggers, version_name, where_it_lies
from bioplausible.data import ImageDataModule
from bioplausible.errors import UserError, user_errors
from bioplausible.errors.renamed import old_name
from bioplausible.lightning_internals import (
    CHATTY_LOGGERS,
    NEEDLESS_WARNINGS,
    starts_processes_within,
    trainer_option,
)
from bioplausible.observers.predictions import PredictionsCSV
from bioplausible.observers.progress import LiveProgressBar
from bioplausible.observers.throughput import SamplesPerSecond
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps, LastCheckpoint
from bioplausible.resume.checkpoint_files import (
    LOGGER_VERSIONS,
    RUN_CONFIG,
    AtomicCheckpointIO,
    ReadAhead,
    newest_checkpoint,
    run_folder,
)
from bioplausible.rules import LearningRule
from bioplausible.training.data_parallel import processes
from bioplausible.training.loggers import RunLogger, folder_of_run
from bioplausible.training.stop_on_signal import StopOnSignal

LARGEST_SEED = 2**32 - 1
"""That NumPy takes."""


class SaveRunConfig(SaveConfigCallback):
    """Saves the configuration in the run's folder and in each checkpoint, so that a checkpoint is all one needs."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **options: Any) -> None:
        config = config.clone()
        config.ckpt_path = None  # a saved configuration starts a run of its own
        super().__init__(parser, config, **options)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Saves nothing: a run that fails before it trains leaves nothing, and evaluating one leaves it as it was."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the configuration in the run's folder."""
        folder = folder_of_run(trainer)
        if folder is not None and trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(self.parser.dump(self.config, skip_none=False))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the configuration to the checkpoint, as YAML text, and the loggers' versions."""
        checkpoint[RUN_CONFIG] = self.parser.dump(self.config, skip_none=False)
        if trainer.is_global_zero:
            checkpoint[LOGGER_VERSIONS] = [version_name(logger) for logger in trainer.loggers]


class CommandLine(LightningCLI):
    """LightningCLI for learning rules.

    Args:
        args: the command and its options.
        callbacks: further callbacks of the Trainer.
        ahead: the checkpoint that ``--ckpt_path`` names, where it was read already.
    """

    def __init__(self, args: list[str], callbacks: Sequence[Callback] = (), ahead: ReadAhead | None = None) -> None:
        self.further_callbacks = callbacks
        self.ahead = ahead
        self.stop_on_signal = StopOnSignal()
        strict = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            LearningRule,
            ImageDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "logger": {"class_path": "bioplausible.training.loggers.RunLogger"},
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
                "use_distributed_sampler": False,
            },
            parser_kwargs=strict | dict.fromkeys(self.subcommands(), strict),
            args=args,
        )

    # -------------------------------------------------------------------------------------------------------- arguments

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument(
                "--checkpoint_every_n_steps",
                type=int | None,
                default=None,
                help="Write a checkpoint every so many training steps too.",
            )
            parser.add_argument(
                "--checkpoint_keep", type=int, default=1, help="How many of these to keep; -1 keeps all."
            )
        if subcommand == "predict":
            parser.add_argument(
                "--output",
                type=str | None,
                default=None,
                help="CSV file to write; default: predictions.csv in the run's folder.",
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the arguments; unlike the base class it doesn't warn that they are not ``sys.argv``.

        Raises:
            UserError: NumPy takes no such seed, or the checkpoint's configuration is an earlier version's.
        """
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            renamed = old_name(str(error))
            if renamed and self.ahead and repr(renamed[0]) in str(self.ahead.config):
                raise UserError(
                    f"The checkpoint {self.ahead.path} is of an earlier version, in which {renamed[1]} was called"
                    f" {renamed[0]}: use it with that version, or train anew."
                ) from error
            raise
        seed = self.config[self.config.subcommand].seed_everything
        if not isinstance(seed, bool) and not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"seed_everything is {seed}: it must lie between 0 and {LARGEST_SEED}.")

    def _parse_ckpt_path(self) -> None:
        """Does nothing: Lightning would let the checkpoint's hyperparameters override the command line's.

        :func:`complete_arguments` puts the checkpoint's configuration below the command line's.
        """

    # ------------------------------------------------------------------------------------------------------ preparation

    def before_instantiate_classes(self) -> None:
        """Names the run's folder after data set and rule where it has no name."""
        config = self.config[self.subcommand]
        if str(config.trainer.precision) in ("16", "16-mixed"):  # which Trainer would take for bf16-mixed on a CPU
            raise UserError(f"precision is {config.trainer.precision}: choose 32-true, 64-true or bf16-mixed.")
        for logger in self._run_loggers():
            options = logger.init_args
            if options.name is None:
                options.name = f"{_snake_case(config.data.class_path)}/{_snake_case(config.model.class_path)}"

    def _run_loggers(self) -> list[Namespace]:
        loggers = _as_list(self.config[self.subcommand].trainer.logger)
        return [
            logger for logger in loggers if isinstance(logger, Namespace) and logger.class_path.endswith("RunLogger")
        ]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Adds the callbacks that every run has."""
        config = self.config[self.subcommand]
        if config.ckpt_path is not None and self.ahead is None:  # a YAML file names it
            self.ahead = ReadAhead(config.ckpt_path)
        trainer = self.config_init[self.subcommand].get("trainer", {})
        callbacks = [*_as_list(trainer.get("callbacks")), *self.further_callbacks]
        if trainer.get("enable_progress_bar") is not False:
            callbacks.append(LiveProgressBar())
        if self.subcommand == "fit":
            every, keep = config.checkpoint_every_n_steps, config.checkpoint_keep
            if every is not None and trainer.get("enable_checkpointing") is False:
                raise UserError("checkpoint_every_n_steps needs checkpoints: leave out enable_checkpointing false.")
            if every is None and keep != 1:
                raise UserError(
                    f"checkpoint_keep is {keep}, which does nothing without checkpoint_every_n_steps: add it."
                )
            callbacks += [SamplesPerSecond(), self.stop_on_signal]
            if trainer.get("logger") is not False:
                callbacks.append(LearningRateMonitor())
            if trainer.get("enable_checkpointing") is not False:
                steps = [] if every is None else [EveryNSteps(every, keep)]
                # in the order in which they are written: each holds what those before it know
                callbacks += [BestCheckpoint(), *steps, LastCheckpoint()]
        if self.subcommand == "predict":
            folder = run_folder(config.ckpt_path) or Path()
            self.predictions = PredictionsCSV(Path(config.output) if config.output else folder / "predictions.csv")
            callbacks.append(self.predictions)
        plugins = [*_as_list(trainer.get("plugins")), AtomicCheckpointIO(self.ahead)]
        with user_errors("The Trainer can't be built", "change the options --trainer…"):
            built = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        if starts_processes_within(built):
            given = trainer.get("strategy")
            name = given if isinstance(given, str) else type(built.strategy).__name__
            raise UserError(
                f"the strategy {name} starts its processes from within this one, which can't tell"
                " what went wrong in them: use --trainer.strategy ddp."
            )
        made = built.loggers
        if self.ahead is not None and not trainer_option(built, "fast_dev_run"):
            built.loggers = resumed_loggers(made, _as_list(config.trainer.logger), self.ahead)
        going_on = [logger for logger in built.loggers if logger not in made]
        self.model.run_folders.expect(config.ckpt_path, going_on)
        return built

    # ------------------------------------------------------------------------------------------ what is said at the end

    def after_fit(self) -> None:
        """Tests the final weights, and prints where the run lies and how good it is."""
        if self.trainer.interrupted:
            return
        for logger in self.trainer.loggers:
            # only where no checkpoint is written, which would have said so
            if isinstance(logger, RunLogger) and logger.lost:
                raise UserError(
                    f"The run's folder {logger.log_dir} disappeared, and with it all that the run was to leave: train"
                    " again, and let no other program clear that folder."
                )
        say = print if self.trainer.is_global_zero else _nothing
        if self.stop_on_signal.signal is not None:
            say(f"\nstopped after step {self.trainer.global_step} by {self.stop_on_signal.signal.name}")
            last = self.trainer.checkpoint_callback
            if isinstance(last, ModelCheckpoint) and last.best_model_path:
                say(f"go on with         python -m bioplausible fit --ckpt_path {last.best_model_path}")
            return
        validation = self.trainer.callback_metrics.get("val/accuracy")
        if validation is None and self.datamodule.validation_split:  # the run ended within an epoch
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
            validation = self.trainer.callback_metrics.get("val/accuracy")
        why = "not run" if self.datamodule.validation_split else "none (validation_split is 0)"
        tested = self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
        test = tested[0].get("test/accuracy") if tested else None
        say(f"\nrun                  {where_it_lies(self.trainer)}")
        say(f"validation accuracy  {why if validation is None else f'{validation:.2%}'}")
        say(f"test accuracy        {'not run' if test is None else f'{test:.2%}'}")
        for line in how_to_look(self.trainer):
            say(line)

    def after_predict(self) -> None:
        """Prints where the predictions lie."""
        print(f"\npredictions  {self.predictions.path}")


def complete_arguments(args: list[str]) -> tuple[list[str], ReadAhead | None]:
    """Returns the arguments with the configuration that they imply put in front, so that they override it.

    That is the configuration inside the checkpoint where ``--ckpt_path`` names one (``last`` is the newest below the
    log folder, a folder the newest below it), and the recipe ``digits/corinfomax.yaml`` where nothing else is given.
    The checkpoint is returned too, for it is read for this.

    Raises:
        UserError: a checkpoint is needed and not given, or it can't be read.
    """
    if not args or args[0] not in CommandLine.subcommands() or {"-h", "--help"} & set(args):
        return args, None
    command, rest = args[0], args[1:]
    scan = CommandArguments(add_help=False, allow_abbrev=False)
    for name in ("--ckpt_path", "--config", "--trainer.logger.init_args.save_dir"):
        scan.add_argument(name, *(["-c"] if name == "--config" else []))
    given, _ = scan.parse_known_args(rest)
    if given.ckpt_path is None:
        if command != "fit":
            raise UserError(
                f"{command} needs the weights of a trained network: add --ckpt_path FILE, or --ckpt_path last for the"
                " newest."
            )
        implied = [] if given.config else ["--config", str(recipes() / "digits" / "corinfomax.yaml")]
        return [command, *implied, *rest], None
    path = Path(given.ckpt_path)
    if given.ckpt_path == "last":
        path = newest_checkpoint(vars(given)["trainer.logger.init_args.save_dir"] or "lightning_logs")
    elif path.is_dir():
        path = newest_checkpoint(path)
    ahead = ReadAhead(path)
    known = {"seed_everything", "model", "data", "trainer"}
    config = {n: v for n, v in ahead.config.items() if n != "ckpt_path" and (command == "fit" or n in known)}
    # in its own order, so that a resumed run saves the same configuration
    implied = ["--config", yaml.safe_dump(config, sort_keys=False)] if config else []
    return [command, *implied, *rest, "--ckpt_path", str(path)], ahead


def quiet() -> None:
    """Silences what Lightning says of itself, and its warnings about what is done here on purpose."""
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NEEDLESS_WARNINGS:
        warnings.filterwarnings("ignore", f"(?s).*{message}")


def run(args: list[str], callbacks: Sequence[Callback] = ()) -> int:
    """Runs one of LightningCLI's commands and returns its exit status: 128 + its number where a signal ended it, or 0.

    Args:
        args: the command and its options.
        callbacks: further callbacks of the Trainer.

    Raises:
        UserError: a mistake that the user can cure.
    """
    completed, ahead = complete_arguments(args)
    command = CommandLine(completed, callbacks, ahead)
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


def _as_list(value: Any) -> list[Any]:
    """Returns a Trainer option that may be given as nothing, one or several as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _snake_case(class_path: str) -> str:
    """Returns ``fashion_mnist`` for ``bioplausible.FashionMNISTDataModule``."""
    name = class_path.rpartition(".")[2].removesuffix("DataModule")
    for word in ("CorInfoMax", "MNIST", "CIFAR"):
        name = name.replace(word, word.capitalize())
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
