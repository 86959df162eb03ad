"""What `cab run` and `cab sweep` say and do at the gate: unproved variants do not run."""

from collections.abc import Sequence, Set
from multiprocessing.context import ForkServerContext

from cab.cells import Cell
from cab.commands import output
from cab.gate import claims, prove_all


def pass_gate(
    cells: Sequence[Cell],
    to_run: Set[str],
    device: str,
    context: ForkServerContext | None,
    workers: int = 1,
) -> tuple[list[Cell], list[str]]:
    """Drop the variants that break a law; return the cells that may run and what was refused."""
    refused: dict[tuple[str, str], str] = {}
    wanted = [cell for cell in cells if cell.key in to_run and not cell.unchecked]
    unproved = [claim for claim in claims(wanted, device) if not claim.proof.is_file()]
    for claim in unproved:
        output.say(f"Checking {claim.variant} ({claim.pattern}) against the laws")
    if not unproved:
        return list(cells), []
    assert context is not None
    for claim, problems in prove_all(unproved, context, workers):
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
