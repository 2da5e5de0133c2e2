"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "sh", "yaml", "json", "text")
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line of code, and `reason` why it is not run."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def padded(self) -> str:
        """The code at its lines in the page, for tracebacks."""
        return "\n" * (self.line - 1) + self.code


@dataclass(frozen=True)
class Page:
    """One page, by its path in the repository."""

    path: str

    def __str__(self) -> str:
        return self.path

    @cached_property
    def text(self) -> str:
        """Its Markdown."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Its fenced blocks, from top to bottom."""
        return tuple(
            Block(
                self.path,
                self.text.count("\n", 0, match.start("code")) + 1,
                match["language"],
                match["code"],
                match["reason"],
            )
            for match in _FENCE.finditer(self.text)
        )

    @cached_property
    def prose(self) -> str:
        """What is outside the blocks, at its lines."""
        return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), self.text)

    @property
    def inline_code(self) -> list[str]:
        """Code in the prose."""
        return _INLINE.findall(self.prose)

    def of(self, language: str) -> list[Block]:
        """The blocks of one language."""
        return [block for block in self.blocks if block.language == language]


PAGES = [
    Page(str(file.relative_to(ROOT)))
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
]


def commands_in(code: str) -> list[list[str]]:
    """The words of every command in a shell block, without comments and with continued lines joined."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
