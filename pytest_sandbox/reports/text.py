"""How text from inside a sandbox is made harmless, for each format.

It may hold anything: markup, terminal sequences, characters that turn the direction of writing, commands of a CI service.
"""

from __future__ import annotations

import re
from typing import Final

from pytest_sandbox.result import printable

__all__ = [
    "ascii_json",
    "cut",
    "inline",
    "markdown_block",
    "markdown_code",
    "markdown_command",
    "markdown_text",
    "plural",
    "seconds",
    "size",
]

# Punctuation that means something, unless it stands where it means nothing; and what begins a block when it begins a line.
_MARKUP: Final = re.compile(
    r"[`*{}\[\]<>|~&$\\]|(?<![^\W_])_|_(?![^\W_])|:(?=\S)|[@#]|(?<=www)\.|(?<=GH)-(?=\d)|\A[ \t]|^[-+=]|(?<=^\d)[.)]", re.IGNORECASE
)
_PLAIN_COMMAND: Final = re.compile(r"[a-z](?:[\w ./=@,+'()-]|:(?!:|//)){1,300}", re.ASCII)
_IN_BLOCK: Final = re.compile(r"[<>&]|:(?=:)|#(?=#)|\[(?=\w+\])")
_UNSAFE_JSON: Final = re.compile(r"</|<!--|[^\x20-\x7e\n]")
_LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def cut(text: str, most: int) -> str:
    """Return at most so many characters, and say how many are missing.

    Args:
        text: the text.
        most: characters that are kept.
    """
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}… {plural(more, 'more character')}"


def inline(text: str, most: int) -> str:
    """Return text on one line, without control and bidi characters, and cut.

    Args:
        text: the text.
        most: characters that are kept.
    """
    # Cut first: a huge text must not be gone through.
    return printable(cut(text, most).replace("\r\n", "\n").replace("\n", " ⏎ ").replace("\t", " "))


def markdown_text(text: str, most: int = 400) -> str:
    """Return text that Markdown shows as it is: no markup, mention, reference or link, and no command for a CI service."""
    return _MARKUP.sub(_broken, inline(text, most))


def markdown_code(text: str, most: int = 400) -> str:
    """Return text in a fixed-width font; as markup with entities, because a run of backticks and a pipe can end a code span.

    An @ is followed by a space without width: else GitHub makes links of what looks like an address.
    """
    return f"<code>{_MARKUP.sub(_entity, inline(text, most)).replace('&#64;', '&#64;&#8203;')}</code>" if text else ""


def markdown_command(text: str) -> str:
    """Return a command of ours that can be copied from what Markdown shows; one that cannot be such is shown like other text."""
    return f"`{text}`" if _PLAIN_COMMAND.fullmatch(text) else markdown_code(text)


def markdown_block(text: str, most: int = 4000) -> str:
    """Return text of several lines in a fixed-width font."""
    return f"<pre>{_IN_BLOCK.sub(_entity, printable(cut(text, most)))}</pre>"


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _broken(found: re.Match[str]) -> str:
    # GitHub looks for mentions and references in what Markdown has become, but not inside of <code> and <pre>.
    return _entity(found) + ("&#8203;" if found[0] in "@#-" else "")


def ascii_json(data: bytes) -> str:
    """Return JSON that means the same, and that neither a terminal nor a page takes for anything else."""
    return _UNSAFE_JSON.sub(_json_escape, data.decode())


def _json_escape(found: re.Match[str]) -> str:
    text = found[0]
    if text == "</":
        return "<\\/"
    if text == "<!--":
        return "\\u003c!--"
    code = ord(text)
    if text.isprintable() and text != "\u3000":
        return text
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def scrub(value: object) -> object:
    """Return a value of plain data without lone surrogates, which no encoding can write."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {scrub(key): scrub(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def seconds(value: float) -> str:
    """Return a duration as a person would say it."""
    if value < 0.000_5:
        return f"{value * 1e6:.0f} µs"
    if value < 0.1:
        return f"{value * 1e3:.1f} ms"
    if value < 1:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if value < 90 else f"{value / 60:.1f} min"


def plural(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def size(number: int | None) -> str:
    """Return a number of bytes as a person would say it."""
    if number is None:
        return "unknown"
    amount, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{number} B" if unit == "B" else f"{amount:.1f} {unit}"
