"""The words of the benchmark: attention patterns, domains, families, and the cards that use them.

The taxonomy {noncausal, causal} x {self, cross} is that of CAB (Zhang et al., 2023,
arXiv 2210.07661).
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
"""The names of variants and tasks. They become names of files and pages and arguments of commands,
so they hold nothing that has a meaning there (a leading hyphen, a slash, a control code)."""


class Pattern(StrEnum):
    """Who may see whom: the query stream x against itself (self) or a context (cross)."""

    NS = "ns"
    CS = "cs"
    NC = "nc"
    CC = "cc"

    @property
    def causal(self) -> bool:
        """Output t never depends on x[> t]. In CC the whole context stays visible."""
        return self in (Pattern.CS, Pattern.CC)

    @property
    def cross(self) -> bool:
        """Keys and values come from a context, not from the query stream."""
        return self in (Pattern.NC, Pattern.CC)

    @property
    def words(self) -> str:
        """The pattern in words."""
        return f"{'causal' if self.causal else 'noncausal'} {'cross' if self.cross else 'self'}"


class Domain(StrEnum):
    """What kind of ability a task measures; each task file lives in the folder of its domain."""

    LONG_RANGE = "long_range"
    RETRIEVAL = "retrieval"
    VISION = "vision"
    SPEECH = "speech"
    LANGUAGE = "language"


class Family(StrEnum):
    """How a mechanism mixes tokens; each variant file lives in the folder of its family."""

    CONTROL = "control"
    SOFTMAX = "softmax"
    SPARSE = "sparse"
    LINEAR = "linear"
    RECURRENT = "recurrent"
    HYBRID = "hybrid"
    CONVOLUTIONAL = "convolutional"
    FEATURE_MAP = "feature_map"


Role = Literal["entry", "reference", "identity", "control", "zero"]
"""entry: ranked; reference: fills the other slots and defines score 1; identity: the reference's
function by another implementation (their spread is the noise band); control: mixes without any
choice; zero: no mixing at all, which defines score 0."""


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"the name {name!r} must consist of lower-case letters and digits, in words joined by "
            f"single hyphens"
        )


def parse_patterns(text: str) -> tuple[Pattern, ...]:
    """Read `"ns cs"` into patterns, in the order of the taxonomy."""
    named = [Pattern(word) for word in text.split()]
    return tuple(pattern for pattern in Pattern if pattern in named)


@dataclass(frozen=True)
class VariantCard:
    """What a variant says of itself; `cab check` holds it to every claim.

    patterns are all that it supports, extended those of them that go beyond its paper.

    time, memory and state are formulas (see `cab.formula`) in N (queries), M (keys), H (heads),
    E (head width), d (model width), causal, cross and the fields of the variant's Config. time and
    memory say how cost grows, constants left out; state is the decode state's elements per head,
    if it decodes.

    sees tells which keys s a query t reads, in the same language, with `cross` and `causal` true
    in those patterns and, for pictures, `row` and `column` of t and of s (`row_t`, `column_s` and
    so on); "all" by default, "chosen" where content or chance chooses. Causal self attention is
    implied.

    gradients is "estimated" where the backward pass is not the derivative of the forward pass
    (a straight-through choice). budget names the Config field whose growth brings an
    approximation nearer to softmax attention.
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
            raise ValueError("patterns names none of ns, cs, nc, cc")
        if not set(card.extended) <= set(card.patterns):
            raise ValueError("extended names a pattern that patterns does not")
        if card.role not in get_args(Role):
            raise ValueError(f"role is one of {', '.join(get_args(Role))}, not {card.role!r}")
        return card


@dataclass(frozen=True)
class Necessity:
    """The measured proof that a task needs attention, in one profile.

    margin is what the reference must keep over the best control, in the metric's own unit;
    measured holds the test means that were seen, per control, over `seeds` seeds.
    """

    margin: float
    seeds: int
    measured: Mapping[str, float]


@dataclass(frozen=True)
class TaskCard:
    """What a task says of itself.

    metric is the one that is scored; chance its value for a guess; length the tokens that the
    pattern under test mixes in `quick`. diagnostic names the profiles in which results are shown
    and not scored: controls come too near the reference, or a task that asks the same counts.

    imports names slow libraries that its data needs, imported once for all cells of a run. grid
    says that its tokens are a picture, which some mechanisms need; slot, that they are a
    convolution's feature map. controls names further variants, with settings, that a certificate
    of necessity compares with, such as a window below the span.
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
    necessity: Mapping[str, Necessity] = field(default_factory=dict)

    @classmethod
    def from_keywords(cls, **keywords: object) -> "TaskCard":
        """Build a card from the decorator's keywords (literals only)."""
        necessity = keywords.pop("necessity", {})
        assert isinstance(necessity, dict)
        card = cls(
            **{  # type: ignore[arg-type]
                **keywords,
                "domain": Domain(str(keywords["domain"])),
                "pattern": Pattern(str(keywords["pattern"])),
                "necessity": {profile: Necessity(**proof) for profile, proof in necessity.items()},
            }
        )
        _check_name(card.name)
        return card

    def scored_in(self, profile: str) -> bool:
        """Whether results of this profile count towards a score."""
        return profile in self.necessity and profile not in self.diagnostic


DECORATORS: Mapping[str, Any] = {"register_variant": VariantCard, "register_task": TaskCard}
"""The decorators of `cab.registry`, and the cards that their keywords make."""


def read_keywords(path: Path, decorator: str) -> dict[str, Any]:
    """Read the keywords of the one `@decorator(...)` in a file, without running the file.

    Raises:
        CabError: the file is not Python, registers nothing or more than one class, or a keyword
            is not a literal.
    """
    calls = list(_decorator_calls(_parse(path), decorator))
    if len(calls) != 1:
        count = "nothing" if not calls else f"{len(calls)} classes"
        raise CabError(f"{path} registers {count}; one @{decorator}(...) on one class is needed.")
    keywords: dict[str, Any] = {}
    for keyword in calls[0].keywords:
        if keyword.arg is None:
            raise CabError(f"{path}, line {keyword.lineno}: ** is not read in @{decorator}.")
        try:
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            raise CabError(
                f"{path}, line {keyword.lineno}: {keyword.arg} in @{decorator} must be a literal, "
                f"since the card is read without running the file."
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
    found = [name for name in DECORATORS if any(_decorator_calls(tree, name))]
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
    for key in keywords:
        if key not in fields:
            raise UnknownName(f"card field (in {path})", key, fields)
    try:
        card_class.from_keywords(**keywords)
    except (TypeError, KeyError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not complete: {error}.") from None
    except (ValueError, AssertionError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not valid: {error}.") from None


def _decorator_calls(tree: ast.Module, decorator: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call):
                    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
                    if (name.id if isinstance(name, ast.Name) else name) == decorator:
                        yield call
