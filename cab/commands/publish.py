"""`cab publish`: from the store to the published results."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from cab.commands.common import output
from cab.commands.common.boards import Results, ScoredProfile, scored_profile
from cab.commands.common.options import DEFAULT_STORE, Include, Json, Store
from cab.errors import CabError


def publish(
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant. Repeatable; all if none.")
    ] = None,
    profile: ScoredProfile = "quick",
    store: Store = DEFAULT_STORE,
    results: Results = None,
    include: Include = None,
    json: Json = False,
) -> None:
    """Write the store's records to results/<profile>/<variant>.jsonl, to be reviewed and merged.

    Records are added to those that are published; the same cell is replaced. A note names
    what is left out: records that ended in error, that ran without a check of the laws, whose
    training was changed, that are of another source than the installed one, of another version of
    their task, or further seeds at a learning rate that validation does not choose.
    """
    from cab.records.folders import refuse_package, results_folders
    from cab.records.rates import without_seeds_beside
    from cab.records.results import publishable, results_file, write_results
    from cab.records.sources import installed_sources, other_source
    from cab.records.store import Record, RecordStore
    from cab.registry import discover_tasks, discover_variants

    scored_profile(profile)
    folder = results_folders(results).own
    refuse_package([folder])
    records, problems = RecordStore(store).load()
    for problem in problems:
        output.warn(problem)
    records = [record for record in records if record.task.profile == profile]
    wanted = dict.fromkeys(variant or sorted({record.variant.name for record in records}))
    files = tuple(include or ())
    installed = installed_sources(discover_variants(files), wanted)
    versions = {card.name: card.version for card in discover_tasks(files).cards()}
    left_out: Counter[tuple[str, str]] = Counter()
    by_variant: dict[str, list[Record]] = {name: [] for name in wanted}
    for record in records:
        if record.variant.name not in wanted:
            continue
        if reason := publishable(record):
            left_out[record.variant.name, reason] += 1
        elif said := other_source(record.variant.name, record.variant.source_hash, installed):
            left_out[record.variant.name, said] += 1
        elif record.task.version != (now := versions.get(record.task.name, record.task.version)):
            left_out[record.variant.name, f"{record.task.name} is at version {now} now"] += 1
        else:
            by_variant[record.variant.name].append(record)
    written: list[tuple[str, Path, int, int]] = []
    for name, own in by_variant.items():
        if own:
            newest = max(own, key=lambda one: one.provenance.ended).variant.source_hash
            if others := sum(one.variant.source_hash != newest for one in own):
                left_out[name, "results of another source than the newest"] += others
                own = [one for one in own if one.variant.source_hash == newest]
            given, own = len(own), without_seeds_beside(own)
            if given > len(own):
                reason = "further seeds at a learning rate that validation does not choose"
                left_out[name, reason] += given - len(own)
            path = results_file(folder, profile, name)
            written.append((name, path, len(own), write_results(path, own)))
    sentences = [
        f"{count} of {name} left out: {reason}." for (name, reason), count in left_out.items()
    ]
    sentences += [
        f"Evaluations of the trained weights, in {count} records of {name}, are not published: no "
        f"rerun repeats them."
        for name, own in by_variant.items()
        if (count := sum(bool(one.evaluations) for one in own))
    ]
    for name in wanted:
        if not by_variant[name] and variant:
            sentences.append(f"{store} holds no {profile} results of {name} to publish.")
    if json:
        output.print_json(
            {
                "written": [
                    {"variant": name, "file": path, "records": count, "in_file": total}
                    for name, path, count, total in written
                ],
                "left_out": sentences,
            }
        )
    for sentence in sentences:
        output.warn(sentence)
    if not written:
        raise CabError(
            f"{store} holds nothing to publish in profile {profile}. Run "
            f"`cab run --variant NAME --profile {profile} --seeds 3`."
        )
    if not json:
        output.print_table(
            "Published",
            ("variant", "file", "records given", "records in file"),
            [(name, str(path), str(count), str(total)) for name, path, count, total in written],
        )
