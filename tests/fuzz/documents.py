"""Changes a capture.json as JSON: values of other types, other sizes, more and fewer of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

_VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1 << 31,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
        1 << 64,
        -(1 << 63),
    ),
    *(
        1.5,
        1e308,
        float("inf"),
        float("nan"),
        10**400,
        "",
        "x",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "\udcff",
        "\uefff",
    ),
    *(
        "../segment-00000000000000000000.parquet",
        "segment-00000000000000000000.parquet",
        "/etc/passwd",
        "0" * 64,
    ),
    *(
        "a\nb",
        "=1+1",
        "<b>",
        "x" * 5000,
        "command",
        "failure",
        "2026-02-30T99:00:00Z",
        "9999-12-31T23:59:59Z",
    ),
    *([], {}, [[]], [None], {"": None}, {"segments": []}, [0] * 1000),
]


def mutated_document(raw: bytes, random: Random, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Change a document in one to four places; `mutate` changes bytes."""
    if random.random() < 0.3:
        return mutate(raw, len(raw) + 64)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return mutate(raw, len(raw) + 64)
    for _ in range(random.randint(1, 4)):
        document = _changed(document, random)
    written = json.dumps(document, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.01:
        written = written.replace("null", "[" * random.choice([100, 100_000]), 1)
    return written.encode(errors="surrogatepass")


def _changed(document: Any, random: Random) -> Any:
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return copy.deepcopy(random.choice(_VALUES))
    holder, key = random.choice(places)
    choice = random.randrange(8)
    if choice == 0:
        del holder[key]
    elif choice == 1 and isinstance(holder, dict):
        holder[random.choice([str(key) + "x", "seq", "\x00", ""])] = holder.pop(key)
    elif choice == 2 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[key]) for _ in range(random.choice([1, 2, 50])))
    elif choice == 3:
        other_holder, other_key = random.choice(places)
        holder[key] = copy.deepcopy(other_holder[other_key])
    elif choice == 4 and type(holder[key]) is int:
        holder[key] += random.choice([1, -1, 1 << 32])
    else:
        holder[key] = copy.deepcopy(random.choice(_VALUES))
    return document


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else []
    for key in keys:
        places.append((tree, key))
        _collect(tree[key], places)
