"""`cab check`: a crash is told once, and what was checked before an interrupt is printed."""

import re
import signal

from cli_support import cab_here, finish, start_cab, wait_until, write_variant


def test_the_same_crash_is_told_once(tmp_path):
    path = write_variant(tmp_path, "crashes", "raise RuntimeError('odd')", patterns="ns nc")
    said = cab_here("check", path, "--law", "liveness", "--law", "padding", "--law", "numerics")
    assert said.code == 1
    words = " ".join(said.out.split())
    assert words.count("It raised RuntimeError: odd") == 1
    ended = "ended padding ns, numerics ns, liveness nc, padding nc, numerics nc."
    assert f"line {line_of(path, 'raise RuntimeError')})) {ended}" in words
    assert "6 of 6 verdicts failed" in words


def line_of(path, text):
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_an_interrupted_check_prints_its_verdicts_and_names_the_law_that_ran(tmp_path):
    marker = tmp_path / "marker"
    attend = f"""
        if q.shape[2] > 300:
            open({str(marker)!r}, 'a').close()
            while True: time.sleep(0.05)
        return v"""
    path = write_variant(tmp_path, "waits", attend, patterns="ns")
    laws = ("--law", "budget", "--law", "liveness")
    process = start_cab("check", path, *laws, cwd=tmp_path)
    assert wait_until(marker.exists), finish(process)
    process.send_signal(signal.SIGINT)
    said = finish(process)
    assert said.code == 130
    assert "budget holds" in " ".join(said.out.split())
    assert "Stopped in law liveness in pattern ns." in said.err


def test_each_verdict_is_printed_when_its_law_ends():
    said = cab_here("check", "mean", "--pattern", "cs", "--law", "liveness", "--law", "budget")
    lines = said.err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "liveness, cs: holds",
        "budget, cs: holds",
    ]
    assert all(re.search(r" \(\d+\.\d s\)$", line) for line in lines)


def test_a_module_that_computes_in_float32_is_told_so_once(tmp_path):
    attend = """
        weights = (q @ k.mT / q.shape[3]**0.5).softmax(dim=-1, dtype=torch.float32)
        return weights.to(v.dtype) @ v.detach()"""
    path = write_variant(tmp_path, "lowers", attend, patterns="ns")
    said = cab_here("check", path, "--law", "gradients", "--law", "numerics", "--law", "budget")
    assert said.code == 1
    words = " ".join(said.out.split())
    assert words.count("Part of the computation is in float32 although the input is in") == 1
    assert f"line {line_of(path, 'dtype=torch.float32')})" in words
    assert "In float64 laws fail by its rounding alone, so it is judged in float32." in words


def test_a_module_that_computes_in_float32_is_judged_in_float32(tmp_path):
    attend = """
        weights = (q @ k.mT / q.shape[3]**0.5).softmax(dim=-1, dtype=torch.float32)
        return weights.to(v.dtype) @ v"""
    path = write_variant(tmp_path, "lowers", attend, patterns="ns")
    laws = ("gradients", "liveness", "budget")
    said = cab_here("check", path, *(part for law in laws for part in ("--law", law)))
    assert said.code == 0, said.out
    assert "judged in float32, in which part of it computes" in " ".join(said.out.split())


def test_a_fault_in_float64_is_not_laid_to_precision(tmp_path):
    path = write_variant(tmp_path, "detached", "return v.detach()", patterns="ns")
    said = cab_here("check", path, "--law", "gradients")
    assert said.code == 1
    assert "Part of the computation" not in said.out


def test_a_module_that_cannot_be_cast_to_bfloat16_is_told_so_once(tmp_path):
    attend = """
        if q.dtype == torch.bfloat16:
            raise RuntimeError("no kernel for it")
        return (q @ k.mT).softmax(dim=-1) @ v"""
    path = write_variant(tmp_path, "uncast", attend, patterns="ns")
    said = cab_here("check", path, "--law", "gradients", "--law", "numerics")
    assert said.code == 1
    words = " ".join(said.out.split())
    assert words.count("cannot be cast to bfloat16") == 1
    assert "gradients holds" in words
