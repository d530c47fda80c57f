"""One line of output."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """`ratio` is how many times better ours is than the peer's; None where there is no peer."""

    bench: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None

    def print(self) -> None:
        rounded = {
            k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(self).items()
        }
        print(json.dumps(rounded), flush=True)


def lower_is_better(bench: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
    return Figure(bench, value, unit, peer, peer_value, peer_value / value)


def higher_is_better(bench: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
    return Figure(bench, value, unit, peer, peer_value, value / peer_value)


def without_peer(bench: str, value: float, unit: str) -> Figure:
    return Figure(bench, value, unit, None, None, None)
