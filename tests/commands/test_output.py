"""What commands print says what they were given, whatever rich would make of it."""

import pytest

from cab.commands.common import output


def test_a_text_between_colons_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.fail("field :smile: is not permitted")
    output.print_table(":smile:", (":cat:",), [(":dog:",)])
    said = capsys.readouterr()
    assert said.err == "Error: field :smile: is not permitted\n"
    assert all(name in said.out for name in (":smile:", ":cat:", ":dog:"))
