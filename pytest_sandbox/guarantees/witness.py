"""What shows that code has run: a word that only code which runs can say."""

from __future__ import annotations

import secrets
from typing import ClassVar

__all__ = ["LuaWitness", "Witness"]


class Witness:
    """A word that only code which really runs can say: the reverse of what it was given."""

    _words: ClassVar[str] = "the code ran: asked for the reverse of {0.challenge}, it said {0.answer}"

    def __init__(self) -> None:
        self.challenge = secrets.token_hex(8)

    @property
    def answer(self) -> str:
        """What the code has to say."""
        return self.challenge[::-1]

    @property
    def code(self) -> str:
        """An expression whose value is the answer."""
        return f'[..."{self.challenge}"].reverse().join("")'

    def said(self, text: str) -> str:
        """Return what stands as the witness if the answer is in a text, else nothing."""
        return self._words.format(self) if self.answer in text else ""


class LuaWitness(Witness):
    """The same for Lua, which prints the word."""

    _words = "the script ran: asked for the reverse of {0.challenge}, it printed {0.answer}"

    @property
    def code(self) -> str:
        """A statement that prints the answer."""
        return f'print(("{self.challenge}"):reverse())\n'
