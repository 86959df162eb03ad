"""What commands say and do at the gate: what is not proved does not run, and is not timed."""

from collections.abc import Sequence, Set
from multiprocessing.context import ForkServerContext

from cab.commands import output
from cab.running.cells import Cell
from cab.running.gate import Claim, claims, prove_all
from cab.taxonomy import Pattern


def prove_aloud(
    named: Sequence[tuple[str, Claim]],
    context: ForkServerContext | None,
    workers: int,
    done: str,
    hint: str = "",
) -> dict[tuple[str, Pattern], str]:
    """Prove what has no proof yet; return what the laws say of the refused, and say it.

    Args:
        named: claims, each with what the user calls its variant; the answer is by that and the
            pattern.
        context: may be None if all is proved.
        workers: proofs at once.
        done: what is not done with a variant that is refused.
        hint: where the user finds more, with {variant}, {pattern} and {files}.
    """
    unproved = {claim.proof: (label, claim) for label, claim in named if not claim.proof.is_file()}
    for label, claim in unproved.values():
        output.say(f"Checking {label} ({claim.pattern}) against the laws")
    refused: dict[tuple[str, Pattern], str] = {}
    if not unproved:
        return refused
    assert context is not None
    for claim, problems in prove_all([one for _, one in unproved.values()], context, workers):
        if problems:
            label, _ = unproved[claim.proof]
            said = f"{label} breaks a law in {claim.pattern} and is not {done} there."
            files = "".join(f" --include {path}" for path in claim.include)
            words = {"variant": claim.variant, "pattern": claim.pattern, "files": files}
            more = [hint.format(**words)] if hint else []
            refused[label, claim.pattern] = " ".join([said, *problems, *more])
            output.fail(refused[label, claim.pattern])
    return refused


def pass_gate(
    cells: Sequence[Cell],
    to_run: Set[str],
    device: str,
    context: ForkServerContext | None,
    workers: int = 1,
) -> tuple[list[Cell], list[str]]:
    """Drop the variants that break a law; return the cells that may run and what was refused."""
    wanted = [cell for cell in cells if cell.key in to_run and not cell.unchecked]
    named = [(claim.variant, claim) for claim in claims(wanted, device)]
    hint = "`cab check {variant} --pattern {pattern}{files}` says more."
    refused = prove_aloud(named, context, workers, "run", hint)
    kept = [
        cell
        for cell in cells
        if cell.key not in to_run or (cell.variant.name, cell.task.pattern) not in refused
    ]
    return kept, list(refused.values())
