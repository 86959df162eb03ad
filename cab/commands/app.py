"""The `cab` program."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import typer

import cab
from cab.commands import (
    bench,
    certify,
    check,
    compare,
    crossover,
    data,
    doctor,
    extrapolate,
    index,
    info,
    leaderboard,
    list_,
    lm_eval,
    new,
    output,
    probe,
    publish,
    report,
    run,
    show,
    site,
    sweep,
    verify,
)
from cab.commands.help import Command
from cab.errors import CabError, Interrupted

INTERRUPTED = 130

app = typer.Typer(
    name="cab",
    help="CAB, the Comprehensive Attention Benchmark.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, function, summary in (
    ("list", list_.list_, "List variants, tasks, profiles and data sets."),
    ("info", info.info, "Describe one variant, task, profile or data set."),
    ("run", run.run, "Train and test variants on tasks."),
    ("sweep", sweep.sweep, "Run many cells at once, here or on a cluster."),
    ("check", check.check, "Check a variant against the laws."),
    ("bench", bench.bench, "Measure time and memory at several lengths."),
    ("crossover", crossover.crossover, "Find the length from which a variant is cheaper."),
    ("extrapolate", extrapolate.extrapolate, "Test a trained cell at other lengths."),
    ("lm-eval", lm_eval.lm_eval, "Evaluate a trained decoder with lm-eval."),
    ("certify", certify.certify_tasks, "Measure how much tasks need attention."),
    ("probe", probe.probe, "Measure what trained attention does."),
    ("show", show.show, "Show the results in a store."),
    ("publish", publish.publish, "Write a store's records to results files."),
    ("verify", verify.verify, "Check results files and rerun cells."),
    ("leaderboard", leaderboard.leaderboard, "Print the leaderboard."),
    ("compare", compare.compare, "Compare two entries of the leaderboard."),
    ("report", report.report, "Write the leaderboard as csv, json or a table."),
    ("index", index.index, "Add a store's records to MLflow."),
    ("doctor", doctor.doctor, "Check that this machine is ready."),
):
    app.command(name, cls=Command, short_help=summary)(function)
app.add_typer(data.app, name="data")
app.add_typer(new.app, name="new")
app.add_typer(site.app, name="site")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cab {cab.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """CAB, the Comprehensive Attention Benchmark."""


def main() -> None:
    """Run the program; errors that the user can mend exit with 2 and without a traceback."""
    signals: list[int] = []
    try:
        with _interruptible(signals):
            app()
    except (Interrupted, Exception) as error:
        if signals:  # an import that is cut off may raise something else than what cut it off
            reason = str(error) if isinstance(error, Interrupted) else ""
            output.say(f"Interrupted. {reason}".strip())
            sys.exit(INTERRUPTED)
        if isinstance(error, CabError):
            output.fail(str(error))
            sys.exit(2)
        raise


@contextlib.contextmanager
def _interruptible(signals: list[int]) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into `Interrupted`, and note them in `signals`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        raise Interrupted

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
