"""Colour for terminals, or none; knows no words, and nothing of what is coloured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ink:
    """Wraps text in colours by meaning (ECMA-48 SGR), or leaves it alone if `colored` is false."""

    colored: bool = False

    def good(self, text: str) -> str:
        return self._wrapped("32", text)

    def bad(self, text: str) -> str:
        return self._wrapped("1;31", text)

    def doubtful(self, text: str) -> str:
        return self._wrapped("33", text)

    def faint(self, text: str) -> str:
        return self._wrapped("2", text)

    def strong(self, text: str) -> str:
        return self._wrapped("1", text)

    def term(self, text: str) -> str:
        return self._wrapped("36", text)

    def _wrapped(self, codes: str, text: str) -> str:
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colored and text else text


PLAIN = Ink()
