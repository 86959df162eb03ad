"""Attention patterns, domains, families, and the cards of variants and tasks.

The taxonomy {noncausal, causal} x {self, cross} is CAB's (Zhang et al., 2023, arXiv 2210.07661).
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args

from cab.errors import CabError, UnknownName

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Pattern(StrEnum):
    """Which tokens a query may attend to: of its own sequence (self) or a context (cross)."""

    NS = "ns"
    CS = "cs"
    NC = "nc"
    CC = "cc"

    @property
    def causal(self) -> bool:
        """Whether output t is independent of x[> t]; in CC the whole context stays visible."""
        return self in (Pattern.CS, Pattern.CC)

    @property
    def cross(self) -> bool:
        """Whether keys and values come from a context instead of the queries' own sequence."""
        return self in (Pattern.NC, Pattern.CC)

    @property
    def words(self) -> str:
        """The pattern in words."""
        return f"{'causal' if self.causal else 'noncausal'} {'cross' if self.cross else 'self'}"


class Domain(StrEnum):
    """The kind of ability that a task measures, and the folder of its file."""

    LONG_RANGE = "long_range"
    RETRIEVAL = "retrieval"
    VISION = "vision"
    SPEECH = "speech"
    LANGUAGE = "language"


class Family(StrEnum):
    """How a mechanism mixes tokens, and the folder of its file."""

    CONTROL = "control"
    SOFTMAX = "softmax"
    SPARSE = "sparse"
    LINEAR = "linear"
    RECURRENT = "recurrent"
    HYBRID = "hybrid"
    CONVOLUTIONAL = "convolutional"
    FEATURE_MAP = "feature_map"


Role = Literal["entry", "reference", "reimplementation", "equivalent", "control", "no_attention"]
"""How a variant appears on the board; an entry is an ordinary variant, and ranked.

reference: softmax attention; it is ranked and fills the attention layers not under test.
reimplementation: the reference's function by other code; the spread of these scores is noise.
equivalent: an entry's function by other code, without a rank of its own.
control: mixes tokens without looking at their content. no_attention: mixes no tokens at all.
"""

Padding = Literal["removed", "distance", "position"]
"""What padded tokens do to later ones: removed, as if they were not there; distance, so only on
the left of all, while between tokens they count in distances and decays; position, they take
places as tokens do. Their content never matters."""


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"the name {name!r} must consist of lower-case letters and digits, in words joined by "
            f"single hyphens"
        )


def parse_patterns(text: str) -> tuple[Pattern, ...]:
    """Parse `"ns cs"` into patterns, in the order ns, cs, nc, cc."""
    named = [Pattern(word) for word in text.split()]
    return tuple(pattern for pattern in Pattern if pattern in named)


@dataclass(frozen=True)
class VariantCard:
    """What a variant declares about itself; `cab check` tests every claim.

    Attributes:
        patterns: every supported pattern.
        extended: the supported patterns that the variant's paper does not describe.
        time, memory: formulas (`cab.formula`) for how cost grows, without constants, in N queries,
            M keys, H heads, E head width, d model width, causal, cross and the Config's fields.
        state: a formula for the elements of the decoding state per head, if the variant decodes.
        sees: a formula that is true if query t attends to key s, in `cross`, `causal` and, for
            images, `row_t`, `column_t`, `row_s`, `column_s`; "chosen" means that content or chance
            decides. The causal mask of self-attention is implied.
        padding: what padding before other tokens does in self attention (see `Padding`).
        gradients: "estimated" if the backward pass is not the derivative of the forward pass.
        budget: the Config field whose growth brings an approximation nearer to softmax attention.
        exact: whether the variant computes softmax attention exactly.
        needs_grid: whether the tokens must form an image.
        fixed_length: whether the module takes at most max_length tokens.
        published_defaults: the settings of the paper, and how the defaults here differ.
    """

    name: str
    family: Family
    patterns: tuple[Pattern, ...]
    summary: str
    paper: str = ""
    year: int | None = None
    arxiv: str = ""
    time: str = ""
    memory: str = ""
    state: str = ""
    sees: str = "all"
    padding: Padding = "removed"
    gradients: Literal["exact", "estimated"] = "exact"
    budget: str = ""
    exact: bool = False
    role: Role = "entry"
    extended: tuple[Pattern, ...] = ()
    needs_grid: bool = False
    fixed_length: bool = False
    published_defaults: str = ""

    @classmethod
    def from_keywords(cls, **keywords: object) -> "VariantCard":
        """Build a card from the decorator's keywords (patterns as text such as "ns cs")."""
        for key in ("patterns", "extended"):
            if key in keywords:
                keywords[key] = parse_patterns(str(keywords[key]))
        card = cls(**{**keywords, "family": Family(str(keywords["family"]))})  # type: ignore[arg-type]
        _check_name(card.name)
        if not card.patterns:
            raise ValueError("patterns must name at least one of ns, cs, nc, cc")
        if not set(card.extended) <= set(card.patterns):
            raise ValueError("extended names a pattern that is missing from patterns")
        for key, kind in (("role", Role), ("padding", Padding)):
            if (value := getattr(card, key)) not in get_args(kind):
                offered = ", ".join(get_args(kind))
                raise ValueError(f"{key} must be one of {offered}, not {value!r}")
        return card


@dataclass(frozen=True)
class Certificate:
    """The certificate of a task in one profile: measurements showing that it needs attention.

    Attributes:
        margin: the lead that attention must keep over the best control, in the metric's unit.
        seeds: the number of seeds that were measured.
        measured: the mean test results; empty if the task is not certified yet nor scored.
        floors: the best result without attention, at each level from the easiest: of chance, no
            attention, uniform attention and the shortcuts.
    """

    margin: float
    seeds: int
    measured: Mapping[str, float] = field(default_factory=dict)
    floors: tuple[float, ...] = ()


@dataclass(frozen=True)
class TaskCard:
    """What a task declares about itself.

    Attributes:
        length: how many tokens the pattern mixes in profile `quick`.
        diagnostic: the profiles in which results are shown but not scored.
        imports: slow libraries that the data needs, imported once for all cells.
        grid: whether the tokens form an image.
        slot: "mixer" for a token mixer, "feature_map" for a gate on a convolution's feature map.
        controls, solvers: variants, with settings, also certified: worse and better ones.
        certificate: by profile; a profile without one is not scored.
    """

    name: str
    domain: Domain
    pattern: Pattern
    summary: str
    backbone: str
    metric: str
    higher_is_better: bool
    version: int
    length: str
    chance: float | None = None
    data: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    diagnostic: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    grid: bool = False
    slot: Literal["mixer", "feature_map"] = "mixer"
    controls: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    solvers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    certificate: Mapping[str, Certificate] = field(default_factory=dict)

    @classmethod
    def from_keywords(cls, **keywords: object) -> "TaskCard":
        """Build a card from the decorator's keywords (literals only)."""
        certificate = keywords.pop("certificate", {})
        assert isinstance(certificate, dict)
        keywords["certificate"] = {name: Certificate(**one) for name, one in certificate.items()}
        keywords["domain"] = Domain(str(keywords["domain"]))
        keywords["pattern"] = Pattern(str(keywords["pattern"]))
        card = cls(**keywords)  # type: ignore[arg-type]
        _check_name(card.name)
        return card

    def in_row(self, profile: str) -> bool:
        """Whether a whole row holds the task; it is scored as soon as it is certified."""
        return profile in self.certificate and profile not in self.diagnostic

    def scored_in(self, profile: str) -> bool:
        """Whether results of this profile are scored."""
        return self.in_row(profile) and bool(self.certificate[profile].measured)


DECORATORS: Mapping[str, Any] = {"register_variant": VariantCard, "register_task": TaskCard}
"""The decorators of `cab.registry`, with their cards."""


def read_keywords(path: Path, decorator: str) -> dict[str, Any]:
    """Read the keywords of the one `@decorator(...)` in a file, without running the file.

    Raises:
        CabError: the file is not Python, does not register one class, or has other than literals.
    """
    calls = list(_decorator_calls(_parse(path), decorator))
    if (n := len(calls)) != 1:
        count = f"{n} classes" if n else "nothing"
        raise CabError(f"{path} registers {count}. Decorate one class with @{decorator}(...).")
    keywords: dict[str, Any] = {}
    for keyword in calls[0].keywords:
        if keyword.arg is None:
            raise CabError(f"{path}, line {keyword.lineno}: @{decorator} takes no **.")
        try:
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            where = f"{path}, line {keyword.lineno}: {keyword.arg} in @{decorator}"
            raise CabError(
                f"{where} must be a literal, because the card is read without running the file."
            ) from None
    _check_keywords(path, decorator, keywords)
    return keywords


def kinds_in(path: Path) -> list[str]:
    """What a file of the user's registers, `variant` or `task` or both, without running it.

    Raises:
        CabError: there is no such file, or it is not Python.
    """
    if not path.is_file():
        raise CabError(f"--include {path}: there is no such file.")
    tree = _parse(path)
    found = (name for name in DECORATORS if any(_decorator_calls(tree, name)))
    return [name.removeprefix("register_") for name in found]


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise CabError(f"{path}{line} is not valid Python: {error}.") from None


def _check_keywords(path: Path, decorator: str, keywords: dict[str, Any]) -> None:
    card_class = DECORATORS[decorator]
    fields = card_class.__dataclass_fields__
    for key in (key for key in keywords if key not in fields):
        raise UnknownName(f"card field (in {path})", key, fields)
    try:
        card_class.from_keywords(**keywords)
    except (TypeError, KeyError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not complete: {error}.") from None
    except (ValueError, AssertionError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not valid: {error}.") from None


def _decorator_calls(tree: ast.Module, decorator: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
                if (name.id if isinstance(name, ast.Name) else name) == decorator:
                    yield call
