"""A peer's virtual environment: made at its first use, kept in the system's temporary folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: seconds to install a peer, and to run one query
INSTALLING, RUNNING = 1800, 900


#: how Python and Java begin to say what went wrong
_ERROR = re.compile(r"(Caused by: )?[\w.]*(Error|Exception)\b")


class Unavailable(Exception):
    """The peer cannot be had or started; the text says why, in a line."""


@dataclass(frozen=True)
class Peer:
    """`package` as pip names it; `script` (beside this file) runs in the environment."""

    name: str
    package: str
    script: str

    def measure(self, folder: Path, query: str) -> float:
        """Seconds for `query` over the events in `folder`. Raises Unavailable."""
        script = Path(__file__).parent / self.script
        return float(json.loads(_run([str(self._python()), str(script), str(folder), query]))["s"])

    def _python(self) -> Path:
        folder = Path(os.environ.get("PEERS_DIR", tempfile.gettempdir())) / f"penstock-{self.name}"
        python, made = folder / "bin" / "python", folder / self.package
        if not made.exists():
            _run([sys.executable, "-m", "venv", str(folder)], INSTALLING)
            _run([str(python), "-m", "pip", "install", "--quiet", self.package], INSTALLING)
            made.touch()
        return python


#: what is imported here as it is, and has no environment of its own
DUCKDB = "duckdb"
PEERS = {
    "flink": Peer("flink", "apache-flink==2.3.0", "flink_query.py"),
    "pathway": Peer("pathway", "pathway==0.33.0", "pathway_query.py"),
}


def asked(names: str) -> list[str]:
    """The peers that `PEERS` asks for, in order."""
    return [name.strip() for name in names.split(",") if name.strip()]


def unknown(names: str) -> str | None:
    """What is wrong with `PEERS`, in a sentence; None where nothing is."""
    known = [*PEERS, DUCKDB]
    strange = [name for name in asked(names) if name not in known]
    if not strange:
        return None
    return f"there is no peer '{strange[0]}': PEERS may name {', '.join(known)}"


def _run(command: list[str], seconds: float = RUNNING) -> str:
    """The last line that `command` prints."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    try:
        done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not done after {seconds:.0f} s") from None
    except OSError as e:
        raise Unavailable(str(e)) from e
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or (not lines and "venv" not in command and "pip" not in command):
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        # warnings may stand behind what it ended with
        why = [line for line in said if _ERROR.match(line)] or said
        raise Unavailable(why[-1][:300] if why else f"ended with {done.returncode}")
    return lines[-1] if lines else ""
