"""Text from outside, before it reaches a terminal."""

import pytest

from edgeprune.errors import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\u00e9 [/b] 鳥 100 %", "caf\u00e9 [/b] 鳥 100 %"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb\x08\x7f", "a\\rb\\x08\\x7f"),
        ("name\udce9", "name\\udce9"),
        ("\u202egnp.exe\u200b", "\\u202egnp.exe\\u200b"),
        ("a\u2028b\nc", "a\\u2028b\\nc"),
        (3, "3"),
    ],
)
def test_controls_are_written_out(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_a_newline_may_stay_or_become_a_blank() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert one_line("  two\nlines\t") == "two lines"
    assert one_line("a\tb") == "a\\tb"
