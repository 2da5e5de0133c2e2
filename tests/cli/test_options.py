"""Options come from the fields of dataclasses: every one has its words, the same on every surface."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import typer
from typer.testing import CliRunner

from kcircuits.cli import app as commands
from kcircuits.cli import behaviour
from kcircuits.cli.groups import add, build_group, list_options
from kcircuits.cli.options import FolderOutput, TaskChoice
from kcircuits.errors import KCircuitsError
from kcircuits.report.results import FILES
from kcircuits.runtime.option_fields import OptionError, Options, option

NOTES = re.compile(r" \[[^\[\]]*\]$")
# Flags with other meanings in some commands, and how many: mostly of `edit`, which is about no circuit.
HOMONYMS = {
    "--circuit": 2,
    "--limit": 2,
    "--method": 2,
    "--nodes": 2,
    "--prompt": 2,
    "--random": 2,
    "--scores": 2,
    "--steps": 2,
    "--strongest": 3,
    "--subject": 2,
    "--text": 2,
    "--threads": 2,
}


def all_commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    root = typer.main.get_command(commands.app)
    for name, command in root.commands.items():
        for inner, each in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner}".strip(), each


COMMANDS = dict(all_commands())


def functions() -> list:
    modules = [getattr(commands, name) for name in COMMANDS if hasattr(commands, name)]
    return [module.command for module in modules if hasattr(module, "command")] + [
        behaviour.hallucination,
        behaviour.in_context,
    ]


def test_all_commands_are_looked_at():
    assert len(COMMANDS) == 16 == len(functions())
    assert {"discover", "behaviour icl", "sweep"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_sentence_and_a_heading(name):
    for parameter in COMMANDS[name].params:
        sentence = NOTES.sub("", parameter.help)
        assert sentence[0].isupper() and sentence.endswith(".") and len(sentence.split()) >= 3, sentence
        assert parameter.name == "help" or parameter.rich_help_panel
    assert len(COMMANDS[name].params) == len({parameter.name for parameter in COMMANDS[name].params})


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_under_its_heading(name):
    with typer.Context(COMMANDS[name], info_name=name) as context:
        text = COMMANDS[name].get_help(context)
    for parameter in COMMANDS[name].params:
        section = re.search(rf"^{parameter.rich_help_panel}:\n(.*?)(^\w|\Z)", text, re.M | re.S)
        shown = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
        assert section and shown in section[1]
    headings = re.findall(r"^([A-Z][\w -]+):$", text, re.M)
    assert headings[-1] == "Other" and headings[-2] == "Output"
    assert len(headings) == len(set(headings))


def test_no_option_is_said_in_different_words():
    said = defaultdict(set)
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                said[parameter.opts[0]].add(NOTES.sub("", parameter.help))
    assert {flag: len(words) for flag, words in said.items() if len(words) > 1} == HOMONYMS


def test_commands_take_few_groups():
    for function in functions():
        assert len(inspect.signature(function).parameters) <= 8


def test_the_report_names_all_files_that_it_reads():
    (folder,) = (each for each in COMMANDS["report"].params if each.name == "folder")
    assert re.findall(r"\w+\.json", folder.help) == list(FILES)


@dataclass(frozen=True)
class Longer(TaskChoice):
    """A group with a field more."""

    rounds: int | None = option(None, help="Number of rounds to play.", metavar="N", least=1)
    colours: tuple[str, ...] = option(("red", "blue"), help="Colours of the players.", metavar="A,B,…")
    weights: tuple[float, ...] | None = option(None, help="Weights of the players.", metavar="X,Y,…")
    loud: bool = option(False, help="Shout at the end.", flag="--loud/--soft")


@dataclass(frozen=True)
class Extra(Options):
    """Another group."""

    title: ClassVar[str] = "Extra"

    places: list[str] | None = option(None, help="Places of the game.", metavar="PLACE")
    kind: Literal["chess", "go"] = option("go", help="Kind of the game.")


@dataclass(frozen=True)
class Both:
    """Two groups in one."""

    task: Longer
    extra: Extra


@pytest.fixture
def played() -> tuple[typer.Typer, list]:
    made: list = []

    def play(both: Both, output: FolderOutput) -> None:
        """Play a game."""
        made.append((both, output))

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    add(app, "play", play)
    return app, made


def test_a_field_more_is_an_option_more(played):
    app, made = played
    text = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "Task: --ablation" in text and "Extra: --places PLACE Places of the game." in text
    assert "--rounds N Number of rounds to play." in text
    assert "--colours A,B,… Colours of the players. [default: red,blue]" in text
    assert "--loud / --soft Shout at the end. [default: soft]" in text
    given = ["--rounds", "3", "--colours", "green, red", "--weights", "1,0.5", "--loud"]
    places = ["--places", "here", "--places", "there", "--kind", "chess", "--metric", "kl"]
    assert CliRunner().invoke(app, [*given, *places, "--out", "out", "--quiet"]).exit_code == 0
    ((both, output),) = made
    assert both == Both(
        Longer(metric="kl", rounds=3, colours=("green", "red"), weights=(1.0, 0.5), loud=True),
        Extra(["here", "there"], "chess"),
    )
    assert (output.out, output.quiet, output.as_json, output.shows_progress) == ("out", True, False, False)


def test_what_is_not_given_has_its_default(played):
    app, made = played
    assert CliRunner().invoke(app, ["--out", "out"]).exit_code == 0
    assert made == [(Both(Longer(), Extra()), FolderOutput(out="out"))]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rounds": 0}, "--rounds must be a whole number from 1 on, got 0"),
        ({"weights": "1,heavy"}, "--weights must be numbers with commas between them, got '1,heavy'"),
        (
            {"reference_prompts": "file", "ablation": "zero"},
            "--reference-prompts is for mean ablation alone, got zero",
        ),
        ({"reference_prompts": "file"}, "got none: give --ablation mean"),
    ],
)
def test_errors_name_the_option_as_it_is_typed(given, message):
    nothing = dict.fromkeys(each.name for each in list_options(Longer))
    with pytest.raises(KCircuitsError) as error:
        build_group(Longer, nothing | given)
    assert message in str(error.value) and not isinstance(error.value, OptionError)
