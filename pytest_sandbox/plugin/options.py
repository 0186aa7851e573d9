"""Command-line options and ini values: what is registered, how it is read, and where each value came from.

Help texts follow pytest-xdist's rule: a capital first; one phrase has no period; several phrases all have one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pytest_sandbox.durations import parse_duration
from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.names import COMMAND_KINDS, EXECUTOR_TYPE

__all__ = ["Settings", "TextOption", "add_options", "our_group", "parse_names", "parse_seconds", "read_settings", "refuse"]


@dataclass(frozen=True)
class Settings:
    """What the user asked for on the command line, in the environment and in the ini file.

    Attributes:
        executor: the text that selects executors, not yet parsed, and where it came from.
        timeout: seconds that one execution may take, or None for the executor's own default.
        require: snippet executors that must not be missing.
        require_commands: the same of command executors.
        require_source: what asked for them.
        node_modules: a folder with the user's own copy of isolated-vm and vm2, or None.
        image: the image for executor container, or None for our own.
        pull: whether that image may be pulled.
    """

    executor: tuple[str, str]
    timeout: float | None
    require: tuple[str, ...]
    require_commands: tuple[str, ...]
    require_source: str
    node_modules: Path | None
    image: str | None
    pull: bool


@dataclass(frozen=True)
class TextOption:
    """An option whose value is a text, with its twins in the environment and in the ini file.

    Attributes:
        flag: such as ``--sandbox-timeout``.
        name: of the ini value, such as ``sandbox_timeout``.
        metavar: what stands for the value in the help.
        help: what it does.
        variable: of the environment.
    """

    flag: str
    name: str
    metavar: str
    help: str
    variable: str

    def add(self, parser: pytest.Parser) -> None:
        """Register the option and the ini value."""
        our_group(parser).addoption(self.flag, dest=self.name, metavar=self.metavar, help=self.help)
        parser.addini(self.name, f"Default for {self.flag}", default="")

    def read(self, config: pytest.Config) -> tuple[str, str]:
        """Return the value by precedence (flag, environment, ini) and its source; two empty strings when it is not set.

        An empty variable or ini value counts as not set; an empty flag is somebody's mistake, and is passed on.
        """
        value = config.getoption(self.name)
        if value is not None:
            return value, self.flag
        value = os.environ.get(self.variable, "").strip()
        if value:
            return value, self.variable
        value = str(config.getini(self.name)).strip()
        return (value, f"ini value {self.name}") if value else ("", "")


_EXECUTOR: Final = TextOption(
    "--executor",
    "sandbox_executor",
    "NAME[,NAME...]|auto|all|available",
    "Executors that run the snippets.\n"
    "auto: the best one that works. all: every registered one; tests of one that does not work are skipped. "
    "available: every one that works.\n"
    "Beats EXECUTOR_TYPE, which beats the ini value. Default: auto.",
    EXECUTOR_TYPE,
)
_TIMEOUT: Final = TextOption(
    "--sandbox-timeout",
    "sandbox_timeout",
    "SECONDS",
    "Seconds that one execution may take, such as 90, 90s or 1.5m. Default: the executor's own, 30 s.",
    "PYTEST_SANDBOX_TIMEOUT",
)
_REQUIRE: Final = TextOption(
    "--sandbox-require",
    "sandbox_require",
    "NAME[,NAME...]",
    "Executors whose absence fails a test instead of skipping it",
    "PYTEST_SANDBOX_REQUIRE",
)
_IMAGE: Final = TextOption(
    "--sandbox-image",
    "sandbox_image",
    "IMAGE",
    "Image with Node for the executor container, instead of one that is built here. It must be present, unless\n"
    "--sandbox-pull is given. Beats PYTEST_SANDBOX_IMAGE, which beats the ini value.",
    "PYTEST_SANDBOX_IMAGE",
)


def our_group(parser: pytest.Parser) -> pytest.OptionGroup:
    """Return the group of the help in which our options are."""
    return parser.getgroup("sandbox", "sandboxes for untrusted code")


def add_options(parser: pytest.Parser) -> None:
    """Register the command-line options and ini values."""
    for option in (_EXECUTOR, _TIMEOUT, _REQUIRE, _IMAGE):
        option.add(parser)
    group = our_group(parser)
    group.addoption(
        "--sandbox-pull",
        dest="sandbox_pull",
        action="store_true",
        default=None,
        help="Pull the image of --sandbox-image when it is not present",
    )
    group.addoption(
        "--sandbox-list",
        dest="sandbox_list",
        action="store_true",
        default=False,
        help="Show all executors and whether they work here, and exit",
    )
    parser.addini("sandbox_pull", "Default for --sandbox-pull", type="bool", default=False)
    parser.addini(
        "sandbox_node_modules",
        "Folder with a copy of isolated-vm and vm2 to be used instead of ours, relative to the ini file",
        default="",
    )


def read_settings(config: pytest.Config) -> Settings:
    """Read all options; what selects executors is only checked when executors are needed.

    Raises:
        pytest.UsageError: naming the option, the value, and what would have been accepted.
    """
    timeout, timeout_source = _TIMEOUT.read(config)
    require, require_source = _REQUIRE.read(config)
    required = parse_names(require, require_source) if require_source else ()
    return Settings(
        executor=_EXECUTOR.read(config),
        timeout=parse_seconds(timeout, timeout_source) if timeout_source else None,
        require=tuple(name for name in required if name not in COMMAND_KINDS),
        require_commands=tuple(name for name in required if name in COMMAND_KINDS),
        require_source=require_source,
        node_modules=_node_modules(config),
        image=(image := _image(config)),
        pull=_pull(config, image),
    )


def _image(config: pytest.Config) -> str | None:
    image, source = _IMAGE.read(config)
    if source and (not image or image.startswith("-") or any(ord(char) <= 32 for char in image)):
        raise refuse(source, image, "the name or id of an image, such as node:24-slim")
    return image or None


def _pull(config: pytest.Config, image: str | None) -> bool:
    given = config.getoption("sandbox_pull")
    if given and image is None:
        raise refuse("--sandbox-pull", "", "an image to pull, named with --sandbox-image; our own is built here")
    return image is not None and bool(config.getini("sandbox_pull") if given is None else given)


def _node_modules(config: pytest.Config) -> Path | None:
    value = str(config.getini("sandbox_node_modules")).strip()
    if not value:
        return None
    base = config.inipath.parent if config.inipath else config.rootpath
    return base / Path(value).expanduser()


def parse_names(text: str, source: str) -> tuple[str, ...]:
    """Split a comma-separated list of names.

    Raises:
        pytest.UsageError: when one is empty or given twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise refuse(source, text, "names separated by single commas, such as deno,vm2")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refuse(source, text, f"each name once: {', '.join(twice)} is given twice")
    return names


def parse_seconds(text: str, source: str) -> float:
    """Return a duration in seconds.

    Raises:
        pytest.UsageError: when it is no number, or not greater than 0.
    """
    try:
        return parse_duration(source, text)
    except InvalidArgument as error:
        raise pytest.UsageError(str(error)) from error


def refuse(source: str, text: str, expected: str) -> pytest.UsageError:
    """Return the error for an option whose value makes no sense."""
    return pytest.UsageError(str(InvalidArgument(source, text, expected)))
