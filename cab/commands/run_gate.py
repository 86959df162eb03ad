"""What `cab run` says and does at the gate: unproved variants do not run."""

from collections.abc import Sequence
from multiprocessing.context import ForkServerContext

from cab.cells import Cell
from cab.commands import output
from cab.gate import claims, prove


def pass_gate(
    cells: Sequence[Cell], to_run: set[str], device: str, context: ForkServerContext | None
) -> tuple[list[Cell], list[str]]:
    """Drop the variants that break a law; return the cells that may run and what was refused."""
    refused: dict[tuple[str, str], str] = {}
    wanted = [cell for cell in cells if cell.key in to_run and not cell.unchecked]
    for claim in claims(wanted, device):
        assert context is not None
        if not claim.proof.is_file():
            output.say(f"Checking {claim.variant} ({claim.pattern}) against the laws")
        problems = prove(claim, context)
        if problems:
            said = f"{claim.variant} breaks a law in {claim.pattern} and is not run there."
            more = f"`cab check {claim.variant} --pattern {claim.pattern}` says more."
            refused[claim.variant, claim.pattern] = " ".join([said, *problems, more])
            output.fail(refused[claim.variant, claim.pattern])
    kept = [
        cell
        for cell in cells
        if cell.key not in to_run or (cell.variant.name, cell.task.pattern) not in refused
    ]
    return kept, list(refused.values())
