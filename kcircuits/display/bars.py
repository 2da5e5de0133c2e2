"""Bar charts without scripts: lists whose items have a name, a bar and a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kcircuits.display.html import Html, tag


@dataclass(frozen=True)
class Bar:
    """A bar.

    Parameters
    ----------
    name
        Label of the bar.
    style
        CSS class that sets the colour.
    length
        Share of the whole width, from 0 to 1.
    text
        The displayed number.
    spread
        Range of the values, as shares; None for a single value.
    """

    name: str
    style: str
    length: float
    text: str
    spread: tuple[float, float] | None = None


def grouped_bars(title: str, groups: Iterable[tuple[str, Sequence[Bar]]]) -> Html:
    """A chart of horizontal bars in groups, each under the group's name."""
    rows = [
        tag("li", tag("span", name, class_="group"), tag("ul", *map(_bar, bars)), class_="bar-group")
        for name, bars in groups
    ]
    return tag("figure", tag("figcaption", title), tag("ul", *rows, class_="bars"), class_="bar-chart")


def stacked_bars(
    title: str, keys: Sequence[tuple[str, str]], rows: Iterable[tuple[str, Sequence[Bar]]]
) -> Html:
    """A chart with one stacked bar per row. Pointing at a piece shows its name.

    `keys` is the legend: style and name of each kind of piece.
    """
    legend = tag("ul", *(_key(style, name) for style, name in keys), class_="legend")
    items = [
        tag(
            "li",
            tag("span", name, class_="name"),
            tag("span", *(_piece(each) for each in pieces), class_="track stacked"),
        )
        for name, pieces in rows
    ]
    body = tag("ul", *items, class_="bars rows")
    return tag("figure", tag("figcaption", title), legend, body, class_="bar-chart")


def _bar(bar: Bar) -> Html:
    parts = [tag("span", "", class_=f"fill {bar.style}", style=f"width:{_percent(bar.length)}")]
    if bar.spread is not None:
        low, high = bar.spread
        place = f"left:{_percent(low)};width:{_percent(high - low)}"
        parts.append(tag("span", "", class_="spread", style=place))
    return tag(
        "li",
        tag("span", bar.name, class_="name"),
        tag("span", *parts, class_="track", aria_hidden="true"),
        tag("span", bar.text, class_="share"),
    )


def _piece(bar: Bar) -> Html:
    words = f"{bar.name} {bar.text}"
    spoken = tag("span", words, class_="unseen")
    return tag("span", spoken, class_=f"fill {bar.style}", style=f"width:{_percent(bar.length)}", title=words)


def _key(style: str, name: str) -> Html:
    return tag("li", tag("span", "", class_=f"block {style}", aria_hidden="true"), name)


def _percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"
