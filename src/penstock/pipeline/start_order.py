"""Which input connectors wait for which others: `labels` and `start_after` (contract 7.2).

a: labels ["history"]      b: start_after "history"     b begins when a has reached its end
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from penstock.errors import UserError
from penstock.plan.nodes import ConnectorPlan


def start_order(plans: Iterable[ConnectorPlan]) -> Mapping[str, tuple[str, ...]]:
    """Endpoint → the endpoints at whose end of input it begins, for those that wait.

    Raises UserError for a label that no connector has, an empty list, and connectors that wait for
    each other."""
    labelled: dict[str, list[str]] = {}
    for plan in plans:
        for label in plan.config.get("labels") or ():
            labelled.setdefault(label, []).append(plan.endpoint)
    found = {
        plan.endpoint: _awaited(plan, labelled)
        for plan in plans
        if plan.config.get("start_after") is not None
    }
    try:
        TopologicalSorter(found).prepare()
    except CycleError as e:
        raise UserError(
            f"connectors wait for each other: {' after '.join(e.args[1])}: change their "
            "'start_after'",
            code="ConfigError.CyclicDependency",
            details={"cycle": e.args[1]},
        ) from e
    return found


def _awaited(plan: ConnectorPlan, labelled: Mapping[str, list[str]]) -> tuple[str, ...]:
    given = plan.config["start_after"]
    labels = [given] if isinstance(given, str) else list(given)
    missing = next((label for label in labels if label not in labelled), None)
    if not labels or missing is not None:
        problem = (
            "'start_after' names no label"
            if missing is None
            else f"'start_after' names the label '{missing}', which no input connector has"
        )
        raise UserError(
            f"connector '{plan.endpoint}': {problem}: give \"labels\" to those that come before",
            code="ConfigError.EmptyStartAfter",
            details={"endpoint": plan.endpoint, "label": missing},
        )
    return tuple(dict.fromkeys(e for label in labels for e in labelled[label]))
