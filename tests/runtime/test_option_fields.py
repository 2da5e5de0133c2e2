"""Options as fields: their words, checks, and objects made of what was given."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Literal

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import (
    OptionError,
    Options,
    given_options,
    made_from,
    option,
    options_of,
    settings_of,
)


@dataclass(frozen=True)
class Game(Options):
    players: int = option(help="Number of players.", metavar="N", least=2)
    speed: float | None = option(None, help="Speed of the game.", least=0, name="pace")
    kind: Literal["chess", "go"] = option("go", help="Kind of the game.")
    loud: bool = option(False, help="Shout at the end.")
    place: str | None = option(None, help="Where it is played.", default_text="at home")
    result: int = 0


@dataclass(frozen=True)
class Longer(Game):
    rounds: int = option(3, like=(Game, "players"), help="Number of rounds.")
    tempo: float = option(1.0, like=(Game, "pace"))


def test_options_by_their_outside_names():
    known = options_of(Game)
    assert list(known) == ["players", "pace", "kind", "loud", "place"]
    assert known["players"].default is MISSING and known["players"].type is int
    assert known["pace"].field.name == "speed" and known["pace"].type == (float | None)
    assert known["place"].words.default_text == "at home"
    assert options_of(Game(2)) == known


def test_words_of_another_class_are_taken():
    known = options_of(Longer)
    assert known["rounds"].words.help == "Number of rounds."
    assert (known["rounds"].words.metavar, known["rounds"].words.least) == ("N", 2)
    assert known["pace"].words == options_of(Game)["pace"].words
    with pytest.raises(KeyError):
        option(like=(Game, "speed"))


def test_settings_and_what_was_given():
    game = Game(4, 0.5)
    assert settings_of(game) == {"players": 4, "pace": 0.5, "kind": "go", "loud": False, "place": None}
    assert given_options(game) == {"players": 4, "pace": 0.5}


def test_objects_from_outside_names():
    assert made_from(Game, "the game", {"players": 2, "pace": 3}) == Game(2, 3)
    with pytest.raises(KCircuitsError, match="the game has no option 'speed'; its options are players, pace"):
        made_from(Game, "the game", {"speed": 2})
    with pytest.raises(KCircuitsError, match="the game needs a players"):
        made_from(Game, "the game", {})


BAD = [
    ({"players": 1}, "players must be a whole number from 2 on, got 1"),
    ({"players": True}, "players must be a whole number from 2 on, got True"),
    ({"players": 2.0}, "players must be a whole number from 2 on, got 2.0"),
    ({"players": None}, "players must be a whole number from 2 on, got None"),
    ({"speed": -0.1}, "pace must be a finite number from 0 on, got -0.1"),
    ({"speed": float("inf")}, "pace must be a finite number from 0 on, got inf"),
    ({"speed": "fast"}, "pace must be a finite number from 0 on, got 'fast'"),
    ({"kind": "poker"}, "kind must be one of chess, go, got 'poker'"),
    ({"kind": ["go"]}, "kind must be one of chess, go, got ['go']"),
    ({"loud": 1}, "loud must be true or false, got 1"),
    ({"place": 3}, "place must be text, got 3"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[message for _, message in BAD])
def test_values_of_another_kind_are_refused(given, message):
    with pytest.raises(OptionError) as error:
        Game(**{"players": 2} | given)
    assert str(error.value) == message
    assert error.value.about == message.split()[0]


def test_every_surface_names_options_in_its_own_way():
    error = OptionError("`top_k` needs a `relation`", "top_k")
    assert str(error) == "top_k needs a relation"
    assert error.named(lambda name: f"<{name}>") == "<top_k> needs a <relation>"
