"""Made-up words, names and addresses for datagen's string strategies.

Each strategy is (random generator, n, low, high) → n strings; `low` and `high` bound how many
parts those that repeat (words, sentence) have.

Cost: about 1 µs a string.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Make = Callable[[np.random.Generator, int, int, int], list[str]]


def _list(words: str) -> list[str]:
    return words.split()


_FIRST = _list(
    "Ada Alan Barbara Claude Dorothy Edsger Frances Grace Hedy Ivan John Katherine Leslie "
    "Margaret Niklaus Ole Peter Radia Sophie Tony Ursula Vint Whitfield Yukihiro"
)
_LAST = _list(
    "Allen Babbage Codd Dijkstra Engelbart Floyd Gray Hopper Iverson Johnson Knuth Lamport "
    "Liskov McCarthy Naur Perlis Ritchie Shannon Stonebraker Turing Ullman Wirth"
)
_CITY = _list(
    "Amsterdam Basel Chicago Delft Edinburgh Florence Geneva Hamburg Istanbul Kyoto Lisbon "
    "Madrid Nairobi Oslo Prague Quito Riga Seattle Turin Utrecht Vienna Warsaw Zurich"
)
_COUNTRY = _list(
    "Argentina Brazil Canada Denmark Estonia France Germany Hungary India Japan Kenya Latvia "
    "Mexico Norway Peru Romania Spain Turkey Uruguay Vietnam"
)
_WORD = _list(
    "amber brook cedar delta ember field grove harbor island jasper kettle lantern meadow "
    "north orchard pebble quarry river stone timber upland valley willow yarrow"
)
_DOMAIN = _list("example.com example.org example.net")


def _pick(rng: np.random.Generator, n: int, words: list[str]) -> list[str]:
    return [words[i] for i in rng.integers(0, len(words), size=n).tolist()]


def _one_of(words: list[str]) -> Make:
    return lambda rng, n, low, high: _pick(rng, n, words)


def _name(rng: np.random.Generator, n: int, low: int, high: int) -> list[str]:
    pairs = zip(_pick(rng, n, _FIRST), _pick(rng, n, _LAST), strict=True)
    return [f"{first} {last}" for first, last in pairs]


def _email(rng: np.random.Generator, n: int, low: int, high: int) -> list[str]:
    numbers = rng.integers(0, 10_000, size=n).tolist()
    hosts = _pick(rng, n, _DOMAIN)
    people = zip(_pick(rng, n, _FIRST), _pick(rng, n, _LAST), numbers, hosts, strict=True)
    return [f"{first}.{last}{i}@{host}".lower() for first, last, i, host in people]


def _words(rng: np.random.Generator, n: int, low: int, high: int) -> list[str]:
    counts = rng.integers(low, high, size=n).tolist()
    return [" ".join(_pick(rng, k, _WORD)) for k in counts]


def _sentence(rng: np.random.Generator, n: int, low: int, high: int) -> list[str]:
    return [f"{s.capitalize()}." for s in _words(rng, n, low, high)]


def _sentences(rng: np.random.Generator, n: int, low: int, high: int) -> list[str]:
    counts = rng.integers(low, high, size=n).tolist()
    return [" ".join(_sentence(rng, k, 4, 12)) for k in counts]


def _ipv4(rng: np.random.Generator, n: int, low: int, high: int) -> list[str]:
    return [f"{a}.{b}.{c}.{d}" for a, b, c, d in rng.integers(0, 256, size=(n, 4)).tolist()]


STRATEGIES: dict[str, Make] = {
    "word": _one_of(_WORD),
    "words": _words,
    "sentence": _sentence,
    "sentences": _sentences,
    "first_name": _one_of(_FIRST),
    "last_name": _one_of(_LAST),
    "name": _name,
    "email": _email,
    "city_name": _one_of(_CITY),
    "country_name": _one_of(_COUNTRY),
    "ipv4": _ipv4,
}
