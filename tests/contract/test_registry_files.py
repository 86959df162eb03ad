"""Files that register wrongly, and packages that offer entry points: what the message says."""

import pytest
from support import VARIANTS

from cab.errors import CabError, UnknownName
from cab.registry import discover_tasks, discover_variants
from cab.settings import read_keywords
from cab.taxonomy import TaskCard

CARD = 'name="mine", family="linear", patterns="cs ns", summary="for this test"'


def source(card: str = CARD) -> str:
    return f"""from cab.attention import Attention
from cab.registry import register_variant

@register_variant({card})
class Mine(Attention):
    pass
"""


@pytest.fixture
def refuse(tmp_path):
    """Return a function that includes a file of this text and gives the refusal's message."""

    def refusal(text: str | bytes) -> str:
        path = tmp_path / "mine.py"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(CabError) as caught:
            discover_variants((path,))
        assert str(path) in str(caught.value)
        return str(caught.value)

    return refusal


@pytest.mark.parametrize(
    ("text", "line"),
    [("def f(:\n", 1), (source() + "\n\nclass\n", 9), ("x = 1\n    y = 2\n", 2)],
)
def test_a_file_that_is_not_python_is_named_with_its_line(refuse, text, line):
    assert f"mine.py, line {line} is not valid Python" in refuse(text)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"x = '\xe9'\n", b"x = '\x00'\n"])
def test_a_file_that_is_not_text_is_named(refuse, text):
    assert "is not valid Python" in refuse(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", "nothing"),
        ("x = 1\n", "nothing"),
        (source().replace("@register", "# @register"), "nothing"),
    ],
)
def test_a_file_that_registers_nothing_is_told_what_to_register(refuse, text, count):
    said = f"registers {count}. Decorate one class with @register_variant(...) or"
    assert said in refuse(text)


def test_a_file_registers_one_class_of_a_kind(refuse):
    said = "registers 2 classes. Decorate one class with @register_variant(...)."
    assert said in refuse(source() + source(CARD.replace("mine", "other")))


TASK = """
from cab.registry import register_task
from cab.task import Task

@register_task(name="ask", domain="retrieval", pattern="cs", summary="for this test", version=1,
               backbone="decoder", metric="accuracy", higher_is_better=True, length="4 tokens")
class Ask(Task):
    pass
"""


@pytest.mark.parametrize(("text", "names"), [(TASK, (0, 1)), (source() + TASK, (1, 1))])
def test_a_file_registers_a_variant_a_task_or_one_of_each(tmp_path, text, names):
    path = tmp_path / "both.py"
    path.write_text(text)
    variants, tasks = discover_variants((path,)), discover_tasks((path,))
    assert ("mine" in variants.entries, "ask" in tasks.entries) == tuple(map(bool, names))
    assert tasks.load("ask").card.name == "ask"
    assert (variants.problems, tasks.problems) == ([], [])


def test_a_tasks_card_that_is_not_complete_is_a_sentence_and_no_variants_matter(tmp_path):
    path = tmp_path / "ask.py"
    path.write_text(TASK.replace("version=1,", ""))
    assert discover_variants((path,)).problems == []
    with pytest.raises(CabError, match=r"the card in @register_task is not complete: .*version"):
        discover_tasks((path,))
    path.write_text(TASK.replace('"ask"', '"mqar"'))
    with pytest.raises(CabError, match="Two files register the task 'mqar'"):
        discover_tasks((path,))


@pytest.mark.parametrize(
    "value", ["NAME", "f'{1}'", "'a' + 'b'", "str(1)", "[x for x in 'ab']", "{[]: 1}"]
)
def test_a_value_that_is_not_a_literal_is_named_with_its_line(refuse, value):
    message = refuse(source(f"{CARD},\n    paper={value}"))
    assert "mine.py, line 5: paper in @register_variant must be a literal" in message


def test_unpacked_keywords_are_refused_with_their_line(refuse):
    assert "mine.py, line 4: @register_variant takes no **." in refuse(source("**card"))


def test_an_unknown_card_field_is_answered_with_the_nearest(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(source(f'{CARD}, papr="x"'))
    with pytest.raises(UnknownName, match=r"card field .*'papr'.*mean paper") as refusal:
        discover_variants((path,))
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("field", ["name", "family", "patterns", "summary"])
def test_a_missing_field_is_named(refuse, field):
    rest = ", ".join(part for part in CARD.split(", ") if not part.startswith(field))
    message = refuse(source(rest))
    assert "is not complete" in message
    assert field in message


@pytest.mark.parametrize(
    ("old", "new"), [("linear", "lineal"), ("cs ns", "cs xs"), ("cs ns", "causal")]
)
def test_a_word_outside_the_taxonomy_is_named(refuse, old, new):
    assert f"'{new.split()[-1]}' is not a valid" in refuse(source(CARD.replace(old, new)))


NO_NAMES = [
    "--help",
    "-x",
    "x-",
    "a--b",
    "My",
    "a_b",
    "a b",
    "../a",
    "",
    "a\n",
    "\x1b]0;x\x07",
    "é",
    7,
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_could_be_an_option_a_path_or_a_control_code_is_refused(refuse, name):
    message = refuse(source(CARD.replace('"mine"', repr(name))))
    assert "mine.py: the card in @register_variant is not valid: the name" in message
    assert repr(name) in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("certificate=5", "certificate must be a dictionary by profile, not 5"),
        ('suites="lra"', "suites must name a column for each metric of a benchmark"),
        ('suites={"lra": "Text"}', "not {'lra': 'Text'}"),
        ('suites={"lra": {"accuracy": 5}}', "not {'lra': {'accuracy': 5}}"),
    ],
)
def test_fields_of_a_task_that_are_of_another_kind_are_named(tmp_path, given, said):
    path = tmp_path / "ask.py"
    path.write_text(TASK.replace("version=1", f"version=1, {given}"))
    with pytest.raises(CabError, match=r"the card in @register_task is not valid: ") as refusal:
        discover_tasks((path,))
    assert said in str(refusal.value)


@pytest.mark.parametrize("name", ["--help", "a_b"])
def test_the_name_of_a_task_is_checked_alike(tmp_path, name):
    path = tmp_path / "mine.py"
    keywords = (
        'domain="retrieval", pattern="cs", summary="x", backbone="decoder", metric="accuracy", '
        'higher_is_better=True, version=1, length="64"'
    )
    text = (
        "from cab.registry import register_task\n@register_task(name={!r}, {})\nclass Mine: ...\n"
    )
    path.write_text(text.format("mine-2", keywords))
    assert read_keywords(path, "register_task")["name"] == "mine-2"
    path.write_text(text.format(name, keywords))
    with pytest.raises(
        CabError, match=r"mine\.py: the card in @register_task is not valid: the name"
    ):
        read_keywords(path, "register_task")


def test_a_decorator_may_be_reached_through_its_module(tmp_path):
    path = tmp_path / "mine.py"
    text = source().replace(
        "from cab.registry import register_variant", "from cab import registry"
    )
    path.write_text(text.replace("@register_variant", "@registry.register_variant"))
    assert read_keywords(path, "register_variant")["name"] == "mine"
    assert discover_variants((path,)).load("mine").card.name == "mine"


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Return a function that installs a package offering one entry point of cab.variants."""

    def install(point: str, files: dict[str, str]) -> None:
        info = tmp_path / "offers-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cab.variants]\noffered = {point}\n")
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_an_installed_package_offers_a_variant(offer):
    offer("offering", {"offering.py": source()})
    registry = discover_variants()
    assert registry.problems == []
    assert registry.names() == sorted([*VARIANTS.names(), "mine"])
    assert registry.load("mine").__module__ == "offering"


def test_an_entry_point_may_name_the_class(offer):
    offer("offering_class:Mine", {"offering_class.py": source()})
    assert discover_variants().load("mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("point", "files", "why"),
    [
        ("absent_offer", {}, "no module absent_offer"),
        ("absent_package.absent", {}, "absent_package"),
        ("offer_syntax", {"offer_syntax.py": "def f(:"}, "line 1 is not valid Python"),
        ("offer_nothing", {"offer_nothing.py": "x = 1"}, "registers nothing"),
        ("offer_clash", {"offer_clash.py": source(CARD.replace("mine", "mean"))}, "'mean'"),
        ("offer_field", {"offer_field.py": source(f"{CARD}, papr=1")}, "'papr'"),
        ("sys", {}, "sys"),
        ("offer_raises.part", {"offer_raises/__init__.py": "1 / 0"}, "division by zero"),
        ("offer_typo.part", {"offer_typo/__init__.py": "def f(:"}, "invalid syntax"),
    ],
)
def test_a_broken_entry_point_is_noted_and_the_rest_is_listed(offer, point, files, why):
    offer(point, files)
    registry = discover_variants()
    assert registry.names() == VARIANTS.names()
    assert len(registry.problems) == 1
    assert "Entry point offered of cab.variants is skipped: " in registry.problems[0]
    assert why in registry.problems[0]


CERTIFICATES = [
    ("{}", False),
    ('{"quick": {"margin": 0.5, "seeds": 3}}', False),
    ('{"quick": {"margin": 0.5, "seeds": 3, "measured": {}, "floors": ()}}', False),
    ('{"quick": {"margin": 0.5, "seeds": 3, "measured": {"softmax": 0.9, "none": 0.1}}}', True),
    ('{"standard": {"margin": 0.5, "seeds": 3, "measured": {"softmax": 0.9}}}', False),
]


@pytest.mark.parametrize(("certificate", "scored"), CERTIFICATES)
def test_a_task_is_scored_once_its_certificate_was_measured(tmp_path, certificate, scored):
    path = tmp_path / "mine.py"
    path.write_text(
        "from cab.registry import register_task\n"
        '@register_task(name="mine", domain="retrieval", pattern="cs", summary="x", '
        'backbone="decoder", metric="accuracy", higher_is_better=True, version=1, length="64", '
        f'solvers={{"rwkv7": {{}}}}, certificate={certificate})\n'
        "class Mine: ...\n"
    )
    card = TaskCard.from_keywords(**read_keywords(path, "register_task"))
    assert card.scored_in("quick") is scored
    assert card.solvers == {"rwkv7": {}}


def test_the_floors_of_a_certificate_are_read_by_level(tmp_path):
    certificate = {"margin": 0.3, "seeds": 3, "measured": {"softmax": 0.9}, "floors": (0.5, 0.1)}
    card = TaskCard.from_keywords(
        name="mine",
        domain="retrieval",
        pattern="cs",
        summary="x",
        backbone="decoder",
        metric="accuracy",
        higher_is_better=True,
        version=1,
        length="64",
        certificate={"quick": certificate},
    )
    assert card.certificate["quick"].floors == (0.5, 0.1)


def test_what_is_read_of_a_card_is_the_readers_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(source())
    read_keywords(path, "register_variant")["name"] = "changed"
    assert read_keywords(path, "register_variant")["name"] == "mine"


@pytest.mark.parametrize(
    "around",
    [
        "if True:",
        "try:",
        "def made():",
        "class Outer:",
        "with open(__file__):",
        "match 1:\n  case 1:",
    ],
)
def test_a_class_is_found_inside_any_statement(tmp_path, around):
    path = tmp_path / "mine.py"
    inner = source().replace("\n", "\n    ")
    after = "\nfinally:\n    pass" if around == "try:" else ""
    path.write_text(f"{around}\n    {inner}{after}\n")
    assert read_keywords(path, "register_variant")["name"] == "mine"
