"""`cab run` checks a variant before it scores it, keeps passed checks, and can be told not to."""

from pathlib import Path

import pytest
from cli_support import cab_here, write_variant

from cab.records.store import RecordStore

RUN = ("run", "--profile", "smoke", "--tracking", "none", "--task", "mqar", "--json")
LEAKS = "return q + v.mean(dim=2, keepdim=True)"


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_variant(tmp_path_factory.mktemp("leaky"), "leaky", LEAKS)


def test_a_variant_that_breaks_a_law_does_not_run_and_the_others_do(leaky, tmp_path):
    said = cab_here(
        *(*RUN, "--include", leaky, "--variant", "leaky", "--variant", "mean"),
        *("--store", tmp_path / "store"),
        CAB_CACHE=str(tmp_path / "cache"),
    )
    assert said.code == 1
    assert "leaky breaks a law in pattern cs, so it is not run there." in said.err
    assert "causality" in said.err
    assert f"Run `cab check leaky --pattern cs --include {leaky}` for the findings." in said.err
    assert [cell["variant"] for cell in said.document["cells"]] == ["mean"]
    assert "causality" in said.document["refused"][0]
    assert len(list((tmp_path / "cache" / "law-checks").iterdir())) == 1


def test_a_run_of_refused_variants_alone_ends_after_the_error(leaky, tmp_path):
    run = (*RUN[:-1], "--include", leaky, "--variant", "leaky", "--store", tmp_path / "store")
    said = cab_here(*run, CAB_CACHE=str(tmp_path / "cache"))
    assert said.code == 1
    assert said.out == ""
    assert "leaky breaks a law in pattern cs, so it is not run there." in said.err
    assert " ran, " not in said.err
    assert not (tmp_path / "store" / "records").exists()


def test_unchecked_runs_it_and_marks_the_record(leaky, tmp_path):
    store = tmp_path / "store"
    said = cab_here(
        *(*RUN, "--include", leaky, "--variant", "leaky", "--variant", "none"),
        *("--store", store, "--unchecked"),
    )
    assert said.code == 0
    for cell in said.document["cells"]:
        record = RecordStore(store).read(cell["key"])
        assert record is not None
        assert record.variant.unchecked
    shown = cab_here("show", "--profile", "smoke", "--store", store)
    assert "leaky (unchecked)" in shown.out


def test_an_unchecked_result_does_not_replace_a_checked_one(tmp_path):
    run = (*RUN, "--variant", "mean", "--store", tmp_path / "store")
    unchecked = cab_here(*run, "--unchecked").document["cells"]
    checked = cab_here(*run).document["cells"]
    assert [cell["state"] for cell in (*unchecked, *checked)] == ["ran", "ran"]
    assert unchecked[0]["key"] != checked[0]["key"]


def test_a_passed_check_is_kept_and_repeated_when_the_source_changes(tmp_path):
    cache, path = str(tmp_path / "cache"), write_variant(tmp_path, "plain", "return q")
    # A query that is returned reads nothing: only the card's claims are wrong, so liveness says.
    said = cab_here(*RUN, "--include", path, "--variant", "plain", CAB_CACHE=cache)
    assert said.code == 1
    assert "liveness" in said.err
    for expected in (True, False):
        ran = cab_here(
            *(*RUN, "--variant", "none", "--force", "--store", tmp_path / "store"),
            CAB_CACHE=cache,
        )
        assert ran.code == 0
        assert ("Checking none (cs)" in ran.err) == expected


def test_a_variant_that_ends_the_process_breaks_the_law_it_was_tried_by(tmp_path):
    path = write_variant(tmp_path, "ends", "os._exit(3)")
    said = cab_here(
        *(*RUN, "--include", path, "--variant", "ends", "--store", tmp_path / "store"),
        CAB_CACHE=str(tmp_path / "cache"),
    )
    assert said.code == 1
    assert "ended with status 3" in said.err
