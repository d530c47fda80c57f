"""One line of output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Figure:
    """`ratio` is how many times better ours is than the peer's; None where there is no peer.
    `made_with`: what of the input decides about the figure, printed with it."""

    bench: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    made_with: Mapping[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """The figure as JSON."""
        said = asdict(self)
        said |= said.pop("made_with")
        return json.dumps(
            {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in said.items()}
        )

    def print(self) -> None:
        print(self.line(), flush=True)


def lower_is_better(bench: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
    return Figure(bench, value, unit, peer, peer_value, peer_value / value)


def higher_is_better(bench: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
    return Figure(bench, value, unit, peer, peer_value, value / peer_value)


def without_peer(bench: str, value: float, unit: str) -> Figure:
    return Figure(bench, value, unit, None, None, None)
