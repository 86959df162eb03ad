"""The gate of `cab run` and `cab bench`: variants that break a law are not trained or timed."""

from collections.abc import Sequence, Set
from multiprocessing.context import ForkServerContext

from cab.commands.common import output
from cab.running.cells import Cell
from cab.running.gate import LawCheck, check_all, law_checks
from cab.taxonomy import Pattern


def check_aloud(
    named: Sequence[tuple[str, LawCheck]],
    context: ForkServerContext | None,
    workers: int,
    done: str,
    hint: str = "",
) -> dict[tuple[str, Pattern], str]:
    """Check the variants that have not passed yet; report and return why some are refused.

    Args:
        named: checks, each with the name that the user gave the variant; the answer is keyed by
            that name and the pattern.
        context: may be None if all checks have passed before.
        workers: how many checks run at once.
        done: the participle for what a refused variant is denied, such as "run" or "timed".
        hint: a sentence with the command that shows more; {variant}, {pattern} and {files} are
            filled in.
    """
    missing = {
        law_check.file: (label, law_check)
        for label, law_check in named
        if not law_check.file.is_file()
    }
    for label, law_check in missing.values():
        output.say(f"Checking {label} ({law_check.pattern}) against the laws")
    refused: dict[tuple[str, Pattern], str] = {}
    if not missing:
        return refused
    assert context is not None
    for law_check, problems in check_all([one for _, one in missing.values()], context, workers):
        if problems:
            label, _ = missing[law_check.file]
            said = (
                f"{label} breaks a law in pattern {law_check.pattern}, so it is not {done} there."
            )
            files = "".join(f" --include {path}" for path in law_check.include)
            words = {"variant": law_check.variant, "pattern": law_check.pattern, "files": files}
            more = [hint.format(**words)] if hint else []
            refused[label, law_check.pattern] = " ".join([said, *problems, *more])
            output.fail(refused[label, law_check.pattern])
    return refused


def pass_gate(
    cells: Sequence[Cell],
    to_run: Set[str],
    device: str,
    context: ForkServerContext | None,
    workers: int = 1,
) -> tuple[list[Cell], list[str]]:
    """Drop the variants that break a law; return the remaining cells and the refusals."""
    wanted = [cell for cell in cells if cell.key in to_run and not cell.unchecked]
    named = [(law_check.variant, law_check) for law_check in law_checks(wanted, device)]
    hint = "Run `cab check {variant} --pattern {pattern}{files}` for the findings."
    refused = check_aloud(named, context, workers, "run", hint)
    kept = [
        cell
        for cell in cells
        if cell.key not in to_run or (cell.variant.name, cell.task.pattern) not in refused
    ]
    return kept, list(refused.values())
