"""empty_input: a table's source that has nothing (contract section 7.3)."""

from __future__ import annotations

from penstock.io.contracts import InputConnector, Intake, Position
from penstock.io.formats.options import TRANSPORT_ERROR, Options


class EmptyInput(InputConnector):
    """Reaches the end of its input at once; useful with `start_after`."""

    can_resume = True

    def resume(self, position: Position) -> None:
        """It pushes nothing, so there is one position only."""

    def validate(self) -> None:
        Options.of("empty_input", TRANSPORT_ERROR, self.context.config).done()

    def run(self, intake: Intake) -> None:
        intake.end_of_input()
