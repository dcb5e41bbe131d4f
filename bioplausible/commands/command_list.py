"""The commands; nothing heavy is imported to know them."""

import re

COMMANDS = """usage: python -m bioplausible COMMAND [options]

  fit         train; without options CorInfoMax on handwritten digits
  validate    score a checkpoint on the validation split
  test        score a checkpoint on the test split
  predict     write a checkpoint's predictions for the test split as CSV, or for
              pictures of one's own
  verify      replay recorded trajectories through a rule
  look        draw figures of a trained network
  report      compare runs, seeds aggregated, with the published figures
  sweep       train with many seeds and options, several at once
  benchmark   time the rules against what the machine can do
  recipes     list the recipes, or print one
  completion  print what lets the Tab key complete all this in bash or zsh

examples
  python -m bioplausible fit
  python -m bioplausible fit --config fashion_mnist/corinfomax
  python -m bioplausible test --ckpt_path last
  python -m bioplausible report lightning_logs

COMMAND --help lists a command's options, --version says which version this is.
"""

NAMES = re.findall(r"^  (\w+)  ", COMMANDS, re.MULTILINE)

OWN = {name: name for name in ("verify", "look", "report", "sweep", "benchmark")}
OWN |= {"recipes": "list_recipes", "completion": "tab_completion"}
"""The modules of the commands that are not LightningCLI's."""
