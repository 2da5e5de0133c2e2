"""HTML from parts. Everything that is not HTML is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from kcircuits.display.text import printable

LONGEST_TEXT = 2000


class Html(str):
    """Text that is HTML and needs no escaping. Only this module and `inline_svg` create it."""

    __slots__ = ()


def escape(content: object) -> Html:
    """Escape anything that is not HTML."""
    return content if isinstance(content, Html) else Html(html.escape(printable(content, LONGEST_TEXT)))


def join(parts: Iterable[object]) -> Html:
    """Join parts, and escape those that are not HTML."""
    return Html("\n".join(map(escape, parts)))


def tag(name: str, /, *content: object, **attributes: str) -> Html:
    """An element.

    Parameters
    ----------
    name
        Name of the element.
    content
        Its content. Text is escaped.
    attributes
        Its attributes. Values are escaped. A "_" in a name stands for "-"; one at the end is dropped.

    Examples
    --------
    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    return Html(f"<{name}{_attribute_text(attributes)}>{join(content)}</{name}>")


def void(name: str, /, **attributes: str) -> Html:
    """An element without content, such as "input".

    Examples
    --------
    >>> void("input", type="checkbox", checked="")
    '<input type="checkbox" checked="">'
    """
    return Html(f"<{name}{_attribute_text(attributes)}>")


def _attribute_text(attributes: dict[str, str]) -> str:
    return "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()
    )


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], sortable: bool = False
) -> Html:
    """A table whose first column names the rows. On a narrow screen it scrolls, also by keyboard.

    A `sortable` table sorts by a column when its title is clicked, if scripts run.
    """
    titles = tag("tr", *(tag("th", title, scope="col") for title in head))
    body = (
        tag("tr", tag("th", first, scope="row"), *(tag("td", each) for each in rest)) for first, *rest in rows
    )
    parts = tag("caption", caption), tag("thead", titles), tag("tbody", *body)
    made = tag("table", *parts, class_="sortable") if sortable else tag("table", *parts)
    return scroll_box(made, caption)


def scroll_box(content: Html, label: str) -> Html:
    """A box that scrolls if its content is too wide. It can take the focus, so that keys scroll it."""
    return tag("div", content, class_="scrolls", role="region", aria_label=label, tabindex="0")


def section(identifier: str, title: str, *content: object) -> Html:
    """A section of the page with its heading; `identifier` is a fixed word, not user input."""
    heading = tag("h2", title, id=f"{identifier}-title")
    return tag("section", heading, *content, id=identifier, aria_labelledby=f"{identifier}-title")


def definitions(pairs: Iterable[tuple[str, object]]) -> Html:
    """A list of terms and their values."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", value)) for term, value in pairs))
