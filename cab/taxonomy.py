"""Attention patterns, domains, families, and the cards of variants and tasks.

The taxonomy {noncausal, causal} x {self, cross} is CAB's (Zhang et al., 2023, arXiv 2210.07661).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Literal, get_args

from cab.errors import UnknownName

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
class Use:
    """A named production model that contains a mechanism, and the address that says so."""

    model: str
    source: str


def _parse_date(text: object) -> date:
    try:
        found = date.fromisoformat(str(text))
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise ValueError(f"added must be a date such as '2026-11-30', not {text!r}")
    return found


def _parse_uses(pairs: object) -> tuple[Use, ...]:
    given = pairs if isinstance(pairs, tuple | list) else (pairs,)
    for pair in given:
        if not (
            isinstance(pair, tuple | list)
            and [type(text) for text in pair] == [str, str]
            and pair[0].strip()
            and re.fullmatch(r"https://[^\s/]+\.\S+", pair[1])
        ):
            raise ValueError(
                f"used_by must hold pairs of the name of a model and the address of a source, "
                f"which begins with https://, but one is {pair!r}"
            )
    return tuple(Use(*pair) for pair in given)


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
        added: the day on which the variant's file was first committed; None of a variant that is
            not CAB's own and does not say.
        used_by: production models that contain the mechanism, each with a source.
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
    added: date | None = None
    used_by: tuple[Use, ...] = ()

    @classmethod
    def from_keywords(cls, **keywords: object) -> "VariantCard":
        """Build a card from the decorator's keywords, all of them literals.

        patterns and extended are texts such as "ns cs", added is one such as "2026-11-30", and
        used_by holds pairs of a model and an address.
        """
        for key in ("patterns", "extended"):
            if key in keywords:
                keywords[key] = parse_patterns(str(keywords[key]))
        if "added" in keywords:
            keywords["added"] = _parse_date(keywords["added"])
        if "used_by" in keywords:
            keywords["used_by"] = _parse_uses(keywords["used_by"])
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
        floors: at each level, the best of chance, no attention, uniform attention and shortcuts.
    """

    margin: float
    seeds: int
    measured: Mapping[str, float] = field(default_factory=dict)
    floors: tuple[float, ...] = ()


@dataclass(frozen=True)
class TaskCard:
    """What a task declares about itself.

    Attributes:
        length: how many tokens the pattern mixes in profile `quick`, with the largest number.
        diagnostic: the profiles in which results are shown but not scored.
        imports: slow libraries that the data needs, imported once for all cells.
        grid: whether the tokens form an image.
        slot: "mixer" for a token mixer, "feature_map" for a gate on a convolution's feature map.
        controls, solvers: variants, with settings, also certified: worse and better ones.
        suites: by benchmark, the published column of each metric: {"lra": {"accuracy": "Text"}}.
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
    suites: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    certificate: Mapping[str, Certificate] = field(default_factory=dict)

    @classmethod
    def from_keywords(cls, **keywords: Any) -> "TaskCard":
        """Build a card from the decorator's keywords (literals only)."""
        certificate, suites = keywords.pop("certificate", {}), keywords.get("suites", {})
        if not isinstance(certificate, dict):
            raise ValueError(f"certificate must be a dictionary by profile, not {certificate!r}")
        columns = list(suites.values()) if isinstance(suites, dict) else [None]
        if not all(
            isinstance(one, dict) and all(isinstance(name, str) for name in one.values())
            for one in columns
        ):
            raise ValueError(
                f"suites must name a column for each metric of a benchmark, such as "
                f"{{'lra': {{'accuracy': 'Text'}}}}, not {suites!r}"
            )
        keywords["certificate"] = {name: Certificate(**one) for name, one in certificate.items()}
        keywords["domain"] = Domain(str(keywords["domain"]))
        keywords["pattern"] = Pattern(str(keywords["pattern"]))
        card = cls(**keywords)
        _check_name(card.name)
        return card

    def in_row(self, profile: str) -> bool:
        """Whether a whole row holds the task; it is scored as soon as it is certified."""
        return profile in self.certificate and profile not in self.diagnostic

    def scored_in(self, profile: str) -> bool:
        """Whether results of this profile are scored."""
        return self.in_row(profile) and bool(self.certificate[profile].measured)


def of_suite(cards: Sequence[TaskCard], suite: str) -> list[TaskCard]:
    """The cards of the tasks that repeat columns of a published benchmark.

    Raises:
        UnknownName: there is no such suite; the message lists similar names.
    """
    known = sorted({name for card in cards for name in card.suites})
    if suite not in known:
        raise UnknownName("suite", suite, known)
    return [card for card in cards if suite in card.suites]
