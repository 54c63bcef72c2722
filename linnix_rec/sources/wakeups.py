"""When a channel's producers wake its reader, as `--wakeup` has it. Knows no channel."""

from dataclasses import dataclass
from typing import Final

from linnix_rec.errors import UsageError

POLICIES: Final = ("adaptive", "none", "force")
EVERY_MAX: Final = 1 << 30

_DIGITS_MAX: Final = 12


@dataclass(frozen=True)
class Wakeups:
    """A policy. `every` is 0 except for every:N, at each N events of a CPU."""

    policy: str
    every: int = 0

    def __str__(self) -> str:
        return f"every:{self.every}" if self.every else self.policy


def parse_wakeups(text: str) -> Wakeups:
    """Read `adaptive`, `none`, `force` or `every:N`; raises UsageError."""
    if text in POLICIES:
        return Wakeups(text)
    policy, _, number = text.partition(":")
    is_number = number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX
    if policy == "every" and is_number and 0 < int(number) <= EVERY_MAX:
        return Wakeups(policy, int(number))
    raise UsageError(
        f"no such wake-up policy: {text}; take {', '.join(POLICIES)}, or every:N such as every:64"
    )
