"""Room `compile`: a typed plan becomes a running circuit. The only room that knows both.

    program       compile_circuit(plan) → Circuit          the door
    relations     one plan node → operators
    expressions   typed expressions → functions over batches
    frame         rows under evaluation; masks, gather, scatter
    failures      what is said about a row that fails

Not here: the meaning of functions (`penstock.functions`), of operators (`penstock.circuit`).
"""

from __future__ import annotations
