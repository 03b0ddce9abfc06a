"""Text that came from outside, before it reaches a terminal."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, invisible formats, lone surrogates, line separators


def printable(text: object, *, keep: str = "") -> str:
    """Return ``text`` with control characters written out, so that a terminal obeys none of them.

    Args:
        text: anything; `str` of it is shown.
        keep: control characters that stay, such as a newline between lines of one's own.
    """
    return "".join(
        sign if sign in keep or unicodedata.category(sign) not in _HIDDEN else _written_out(sign)
        for sign in str(text)
    )


def one_line(text: object) -> str:
    """Return ``text`` on one line: newlines become blanks, other control characters are written out."""
    return printable(" ".join(str(text).split("\n")).strip())


def _written_out(sign: str) -> str:
    return sign.encode("unicode_escape", "backslashreplace").decode("ascii")
