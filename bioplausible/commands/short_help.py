"""What ``--help`` says of LightningCLI's commands: what people change, on one screen, before torch is imported."""

from collections.abc import Sequence

WHOLE = "all"
"""The word after ``--help`` that asks for every option, Lightning's with them."""

DATA = """\
  --data NAME                      DigitsDataModule, MNISTDataModule, …
  --data.batch_size N              also subset_size, validation_split, mirror, …
  --data.help [NAME]               the data sets, or one with its options"""

FIT = f"""\
usage: python -m bioplausible fit [--config RECIPE] [options]

Trains. Without options CorInfoMax on handwritten digits, in about 20 s.

rule
  --config RECIPE                  a name that recipes lists, or a YAML file
  --model NAME                     CorInfoMax, Backpropagation, …
  --model.help [NAME]              the rules, or one with its options
network
  --model.layer_sizes [64,200,10]  input, hidden layers, classes
  --model.network LIST             layers of any kind: docs/networks.md
data
{DATA}
rates
  --model.learning_rates 0.1       one, or a list of one a layer; some rules
                                   name theirs otherwise: --model.help NAME
  --model.optimizer Adam           any of torch's; --model.optimizer.lr 0.001
  --model.lr_scheduler StepLR      any of torch's, with its options likewise
length, seed, machine
  --trainer.max_epochs N           --trainer.max_time 00:08:00:00 ends it too
  --seed_everything N              default: 0
  --threads N                      default: what is fastest here now
  --trainer.accelerator gpu        default: auto
where it goes, and going on
  --trainer.default_root_dir DIR   runs go to lightning_logs below it
  --ckpt_path last                 goes on with the newest run; or a file of one
  --print_config                   prints all settings, to be kept as a file

examples
  python -m bioplausible fit --config fashion_mnist/corinfomax
  python -m bioplausible fit --model PEPITA --trainer.max_epochs 20
  python -m bioplausible fit --ckpt_path last --trainer.max_epochs 80

fit --help all lists every option, Lightning's with them."""


def _evaluation(command: str, does: str, own: str, example: str) -> str:
    return f"""\
usage: python -m bioplausible {command} --ckpt_path CHECKPOINT [options]

{does}.
A checkpoint has its run's settings with it; options change them.

  --ckpt_path CHECKPOINT           a file, a run's folder, or last, the newest
  {own}
data
{DATA}
machine
  --threads N                      threads that torch computes with
  --trainer.accelerator gpu        default: auto

examples
  python -m bioplausible {command} --ckpt_path last
  python -m bioplausible {command} {example}

{command} --help all lists every option, Lightning's with them."""


SHORT_HELP = {
    "fit": FIT,
    "validate": _evaluation(
        "validate",
        "Scores a checkpoint on the validation split",
        "--trainer.limit_val_batches N    only so many batches of it",
        "--ckpt_path RUN/checkpoints/best.ckpt",
    ),
    "test": _evaluation(
        "test",
        "Scores a checkpoint on the test split",
        "--trainer.limit_test_batches N   only so many batches of it",
        "--ckpt_path RUN/checkpoints/best.ckpt",
    ),
    "predict": _evaluation(
        "predict",
        "Writes predictions for the test split as CSV, or tells your pictures' classes",
        "--images FILE …                  pictures of one's own: prints their classes\n"
        "  --invert                         turns them light for dark\n"
        "  --output FILE                    default: predictions.csv beside the log;\n"
        "                                   with --images: none",
        "--ckpt_path last --images shoe.png",
    ),
}
"""A command's help; each option in it is one that the command has."""


def short_help(arguments: Sequence[str]) -> str | None:
    """Returns the help that a command line asks for; None where it asks for none, or for every option."""
    command, *options = arguments
    asked = [i for i, option in enumerate(options) if option in ("-h", "--help")]
    if not asked or options[asked[0] + 1 :][:1] == [WHOLE]:
        return None
    return SHORT_HELP.get(command)
