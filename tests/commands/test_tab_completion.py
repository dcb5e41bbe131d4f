"""What the Tab key gives, asked of the shells themselves."""

import contextlib
import io
import shutil
import subprocess
import sys

import pytest

from bioplausible.__main__ import main
from bioplausible.commands.class_help import own_classes
from bioplausible.commands.command_list import NAMES
from bioplausible.commands.recipes import all_recipes
from bioplausible.commands.tab_completion import LINE, arguments, everything
from tests.helpers import ROOT

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
_shtab_bioplausible 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def printed(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    script = tmp_path_factory.mktemp("completion") / "completion.bash"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["completion", "bash"]) == 0
    script.write_text(out.getvalue())

    def completed(*words):
        asked = ["bash", "-c", ASK, "bash", str(script), "bioplausible", *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    return completed


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["f"], ["fit"]),
        (["fit", "--model.ran"], ["--model.random_beta_sign"]),
        (["fit", "--trainer.max_e"], ["--trainer.max_epochs"]),
        (["fit", "--checkpoint_k"], ["--checkpoint_keep"]),
        (["fit", "--trainer.max_epochs", "3", "--model", "CorInfoMaxS"], ["CorInfoMaxSparse"]),
        (["fit", "--model.help", "Burst"], ["Burstprop"]),
        (["fit", "--model.random_beta_sign", "f"], ["false"]),
        (["fit", "--model.optimizer", "RMS"], ["RMSprop"]),
        (["fit", "--model.lr_scheduler", "Piece"], ["PiecewisePower"]),
        (["fit", "--config", "digits/holo"], ["digits/holomorphic_equilibrium_propagation"]),
        (["fit", "--config", "mi"], ["mine.yaml"]),
        (["fit", "--ckpt_path", "la"], ["last"]),
        (["fit", "--help", "a"], ["all"]),
        (["predict", "--outp"], ["--output"]),
        (["predict", "--checkpoint_k"], []),
        (["test", "--data", "MNIST5"], ["MNIST5000DataModule"]),
        (["recipes", "digits/holo"], ["digits/holomorphic_equilibrium_propagation"]),
        (["sweep", "--study", "inform"], ["information"]),
        (["report", "mi"], ["mine.yaml"]),
        (["report", "la"], []),
        (["verify", "--accelerator", "c"], ["cpu"]),
        (["completion", "z"], ["zsh"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bash_completes(words, completed, bash, tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert bash(*words) == completed


def test_bash_knows_every_command_rule_and_recipe(bash):
    assert bash("") == NAMES
    assert bash("fit", "--model", "") == [cls.__name__ for cls in own_classes("model")]
    assert bash("fit", "--config", "") == [f"{path.parent.name}/{path.stem}" for path in all_recipes()]


def test_the_documented_line_switches_it_on(capsys, tmp_path):
    documented = (ROOT / "docs/command-line.md").read_text()
    assert f"\n{LINE} " in documented
    assert LINE in arguments().format_help()
    (tmp_path / "printed").write_text(printed("bash", capsys))
    program = 'bioplausible() { [ "$*" = "completion bash" ] && cat printed; }'
    asked = ["bash", "-c", f"{program}\n{LINE}\ncomplete -p bioplausible"]
    assert (
        "-F _shtab_bioplausible bioplausible"
        in subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    )


def test_zsh_takes_the_script(capsys, tmp_path):
    """That zsh completes is not tested where there is none; that it has the same names, everywhere."""
    script = printed("zsh", capsys)
    for word in [*NAMES, "--model.random_beta_sign", "CorInfoMaxSparse", "digits/corinfomax_sparse", "--output"]:
        assert word in script
    if shutil.which("zsh"):
        (tmp_path / "completion.zsh").write_text(script)
        subprocess.run(["zsh", "-f", "-n", "completion.zsh"], check=True, capture_output=True)


def test_another_shell_is_refused(capsys):
    assert main(["completion", "fish"]) == 2
    assert "choose from" in capsys.readouterr().err


def test_each_command_is_there_with_what_it_does():
    parser = everything()
    assert all(name in parser.format_help() for name in NAMES)


def test_without_shtab_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == "error: completion needs shtab, which is not installed: pip install shtab.\n"
