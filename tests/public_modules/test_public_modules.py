"""Ten modules of other projects under the laws: what is right holds, and each fault is named.

The files in `wrappers/` are what a contributor would write around such a module. Each case lists
every finding that the laws may print, by law and pattern, with its cause in the module's source.
"""

import os
import re
import tomllib
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from cli_support import cab_here
from support import REPOSITORY

from cab.conformance.check import LAWS, hold, subjects
from cab.registry import discover_variants
from cab.taxonomy import Pattern

WRAPPERS = Path(__file__).parent / "wrappers"
EXTRA = "public-modules"
BUDGET = r"^A layer of width 64 has {} more parameters than with softmax"
ROW = r"^A row of length \d+ in a batch of lengths .* differs from the same row alone$"
BEFORE = r"^Outputs with padding on the left \(float64, relative\) differ from those without"
TABLE = r"^Part of the computation is in float32: a table of numbers"
NO_PICKLE = r"^The module cannot be copied and pickled, not even before a call \({}"
JUDGED = "judged in float32, in which part of it computes"


@dataclass(frozen=True)
class Case:
    """A wrapped module, and what the laws find: {(law, patterns): patterns of the findings}."""

    file: str
    package: str
    patterns: str
    faults: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    judged: str = ""
    """The laws that judge it in float32, in all patterns."""

    def expected(self, law: str, pattern: str) -> tuple[str, ...]:
        """What the findings of a law must match, one by one and together."""
        parts = [
            said
            for (name, where), said in self.faults.items()
            if name == law and pattern in where.split()
        ]
        return tuple(one for part in parts for one in part)


CASES = (
    # softmax(dtype=torch.float32), so float64 inputs lose their last digits: no fault.
    Case("llama", "transformers", "ns cs", judged="causality padding gradients"),
    # The rotary angles are computed in float32 here too.
    Case("llama", "transformers", "ns cs", settings={"implementation": "sdpa"}, judged="padding"),
    Case(
        "local",
        "local-attention",
        "ns cs",
        {
            # autopad fills up the last window with zeros, which without a mask are attended to.
            # A mask, even one that hides nothing, covers them. In cs they are in the future.
            ("padding", "ns"): (
                TABLE,
                ROW,
                r"^A padding mask that is False everywhere changes the output",
                r"^Outputs with padding on the right",
            ),
            # Rotary scales are torch.ones(1), in float32 whatever the module was cast to.
            ("numerics", "ns cs"): (TABLE, r"^It cannot be cast to bfloat16"),
        },
    ),
    Case("taylor", "taylor-series-linear-attention", "ns nc"),
    Case(
        "native_sparse",
        "native-sparse-attention-pytorch",
        "cs",
        # The two networks that compress blocks of keys and values.
        {("budget", "cs"): (BUDGET.format(r"79\.7%"),)},
    ),
    Case(
        "routing",
        "routing-transformer",
        "ns cs",
        {
            # Each cluster takes the 16 best of all tokens, so that later tokens and padding drive
            # earlier ones out, also with centroids that stay as they are.
            ("causality", "cs"): (
                r"^Changing x after position \d+ of .* changes output \d+",
                r"^The first \d+ outputs change when tokens are appended",
            ),
            ("padding", "ns cs"): (ROW, r"^Outputs with padding .* differ from those without"),
            # The first call, in evaluation too, draws centroids from its tokens by chance.
            ("determinism", "ns cs"): (
                r"^A module restored from its state dict gives different outputs: .* in a call",
                r"^forward uses or seeds PyTorch's global random generator$",
                r"^A call in evaluation changes .*kmeans\.means in the state dict$",
            ),
        },
    ),
    Case(
        "titans",
        "titans-pytorch",
        "cs",
        {
            ("gradients", "cs"): (
                # With several heads, parameters are made by einops.repeat, which expands.
                r"^Elements of .*memory_model_parameters\.0, .* share memory, as in an expanded",
                # The network that they were copied from is registered as well, and never used.
                r"^No gradient reaches .*memory_model\.model\.weights\.0",
                # Memories learn by torch.func.grad through PyTorch's fused layer norm, whose third
                # derivative is wrong there; with the norm written out it is right.
                r"^The second derivative of x \+ attention\(x\) is wrong",
            ),
            # The loss is a function within __init__.
            ("determinism", "cs"): (NO_PICKLE.format("AttributeError: .*forward_and_loss"),),
            ("budget", "cs"): (BUDGET.format(r"23\.4%"),),
            # torch.func.grad refuses the hooks of checkpoint(use_reentrant=False).
            ("composition", "cs"): (
                r"^It raised RuntimeError: torch\.func\..* saved tensor hooks",
            ),
        },
    ),
    # softmax(dtype=torch.float32): no fault.
    Case("x_attention", "x-transformers", "ns cs nc cc", judged="causality padding gradients"),
    Case(
        "x_attention",
        "x-transformers",
        "cs nc",
        # It keeps members of SDPBackend, which pickle does not find by their class's name.
        {("determinism", "cs nc"): (NO_PICKLE.format("PicklingError: .*SDPBackend"),)},
        settings={"flash": True},
    ),
    Case(
        "performer",
        "performer-pytorch",
        "ns cs nc",
        {
            # Features of keys are divided by their maximum over all positions, later ones too.
            ("causality", "cs"): (
                r"^Changing x after position \d+ of .* changes output \d+",
                r"^The first \d+ outputs change when tokens are appended",
            ),
            ("liveness", "cs"): (r"output \d+ depends on position \d+, but the card",),
            # The mask covers values alone: padded keys count in the denominator and the maximum.
            ("padding", "ns nc"): (ROW, BEFORE),
            ("padding", "cs"): (BEFORE,),
            # The maximum is detached, although eps is added after the division by it.
            ("gradients", "ns cs nc"): (
                r"^The derivative along a random direction of (x|context) is",
                r"^In training, autograd's derivative along a random direction differs",
                r"^The second derivative of x \+ attention\(x\) is wrong",
            ),
        },
    ),
    Case(
        "low_rank",
        "linformer",
        "ns nc",
        {
            # forward swallows a mask among **kwargs; keys count by their place in the context.
            ("padding", "nc"): (BEFORE,),
            ("budget", "ns nc"): (BUDGET.format(r"16\.8%"),),
        },
    ),
    Case(
        "fla_linear",
        "flash-linear-attention",
        "cs",
        # The operator casts to float32. It writes outputs one by one into a tensor, so that the
        # backward pass copies a gradient as long as the sequence at every token.
        {
            ("cost", "cs"): (
                r"^Counted time grows as N\^1\.9\d .* the card's formula N d E grows as N\^1",
            )
        },
        judged="padding gradients",
    ),
)


def pins() -> dict[str, str]:
    """The versions that the extra asks for."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["optional-dependencies"][EXTRA]
    return dict(one.split("==") for one in wanted)


def need(package: str) -> None:
    """Skip the test where a package is not installed as pinned; fail where CI must have it."""
    try:
        found = version(package)
    except PackageNotFoundError:
        found = "nothing"
    if found != (pinned := pins()[package]):
        reason = f"it needs {package} {pinned} and found {found}: pip install -e '.[{EXTRA}]'"
        if os.environ.get("CAB_PUBLIC_MODULES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)


def wrapper(file: str):
    """The variants with a wrapper among them, and its name."""
    path = WRAPPERS / f"{file}.py"
    (name,) = re.findall(r'@register_variant\(name="([^"]+)"', path.read_text(encoding="utf-8"))
    return discover_variants((path,)), name


def named(value) -> str:
    return f"{value.file}-{'-'.join(map(str, value.settings.values()))}".rstrip("-")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_laws_name_the_faults_of_a_public_module_and_nothing_else(case: Case):
    need(case.package)
    variants, name = wrapper(case.file)
    wrong, judged = [], set()
    patterns = [Pattern(one) for one in case.patterns.split()]
    for subject in subjects(variants, name, patterns, options=case.settings):
        for law in LAWS:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # routing-transformer draws from it
                verdict = hold(subject, law)
            if verdict is None:
                continue
            expected = case.expected(law.name, subject.pattern)
            said = [one.message for one in verdict.findings]
            strange = [one for one in said if not any(re.search(e, one) for e in expected)]
            missing = [e for e in expected if not any(re.search(e, one) for one in said)]
            where = f"{law.name} in {subject.pattern}"
            wrong += [f"{where} says: {one}" for one in strange]
            wrong += [f"{where} does not say: {one}" for one in missing]
            if verdict.measured.get("precision") == JUDGED:
                judged.add(law.name)
    assert not wrong, "\n".join(wrong)
    assert judged == set(case.judged.split())


@pytest.mark.slow
def test_cab_check_prints_the_law_and_the_finding():
    need("linformer")
    _, name = wrapper("low_rank")
    said = cab_here("check", name, "--include", WRAPPERS / "low_rank.py", "--pattern", "nc")
    assert said.code == 1
    printed = " ".join(said.out.split())
    assert "Outputs with padding on the left (float64, relative) differ from those" in printed


def test_every_wrapper_has_a_case_and_is_short():
    files = sorted(WRAPPERS.glob("*.py"))
    assert {path.stem for path in files} == {case.file for case in CASES}
    assert len(files) == 10
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert sum(bool(line.strip()) for line in lines) <= 30, path


def test_every_public_module_is_pinned_and_ci_installs_and_requires_them():
    assert {case.package for case in CASES} <= set(pins())
    for file in (".ci/run", ".github/workflows/tests.yml"):
        text = (REPOSITORY / file).read_text(encoding="utf-8")
        assert "make .venv/.compared" in text
        assert "CAB_PUBLIC_MODULES=required" in text


def test_a_missing_package_is_named_and_fails_where_it_is_required(monkeypatch):
    monkeypatch.setattr("test_public_modules.pins", lambda: {"no-such-package": "1.0"})
    monkeypatch.setenv("CAB_PUBLIC_MODULES", "")
    with pytest.raises(
        pytest.skip.Exception, match=r"no-such-package 1\.0 and found nothing: pip"
    ):
        need("no-such-package")
    monkeypatch.setenv("CAB_PUBLIC_MODULES", "required")
    with pytest.raises(pytest.fail.Exception, match="no-such-package"):
        need("no-such-package")
