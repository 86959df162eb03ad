"""The commands of the `cab` program."""

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
    probe,
    publish,
    reliability,
    report,
    run,
    show,
    site,
    sweep,
    verify,
)
from cab.commands.common.help import Command

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
    ("reliability", reliability.reliability, "Report how well the tasks tell entries apart."),
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
