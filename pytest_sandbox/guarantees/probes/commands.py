"""Attacks on `whitelist` and `clean-environment`: by what a call says, and by what a command finds."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.guarantees.attacks import scripted
from pytest_sandbox.guarantees.command_subject import CommandSubject
from pytest_sandbox.guarantees.probe import CodeProbe, Probe, ScriptedProbe
from pytest_sandbox.guarantees.probes import environment
from pytest_sandbox.guarantees.stage import NotApplicable, Stage
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.guarantees.witness import Witness

__all__ = ["ALLOWED", "PROBES", "allowed_command"]

ALLOWED: Final = "process.stdout.write('allowed')"
"""The script of the only command that the whitelist of an audited entry has."""


def allowed_command(node: str) -> str:
    """Return the only command that the whitelist of an audited entry has."""
    return shlex.join([node, "-e", ALLOWED])


class _Liar(str):
    """A text that claims to be equal to all others."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(allowed_command("node"))


Call = tuple[str, dict[str, Any]]


def _whitelist(name: str, title: str, make: Callable[[str, str], Call]) -> ScriptedProbe:
    """Try a call that the whitelist does not have.

    Args:
        name: the second half of the probe's id.
        title: what it tries.
        make: returns the command and the call's other arguments, from the path of Node and a script that says the witness's word.
    """

    def script(stage: Stage) -> Sighting:
        subject = stage.subject
        assert isinstance(subject, CommandSubject)
        witness = Witness()
        said = f"process.stdout.write({witness.code})"
        command, more = make(subject.node, said)
        if stage.is_control:
            return _control(subject, witness, command, more)
        if stage.whitelisted is None:
            raise NotApplicable("the audit has no entry with a whitelist")
        # That the entry works at all is half of the witness: one that refuses everything keeps nothing out.
        works = stage.whitelisted.run(allowed_command(subject.node), timeout=20).stdout == "allowed"
        try:
            result = stage.whitelisted.run(command, timeout=20, **more)
        except SandboxError as error:
            told = f"{type(error).__name__}: {error}"
            return Sighting(
                breached=False,
                witness="the call was made and refused, and the allowed command ran" if works else "",
                attack=told[:300],
                observer="no process was started: the call was refused before",
            )
        # What is not the allowed command has run: whatever it printed.
        return Sighting(
            breached=True,
            witness=witness.said(result.stdout) or "the call was made",
            attack=f"exit code {result.exit_code}, printed {result.stdout[:80]!r}",
            observer=f"a command that is not in the whitelist ran: {command[:120]!r}",
        )

    shown = make("node", "process.stdout.write('ran')")[0]
    return scripted(f"whitelist.{name}", title, shown, script, vantages=("command",))


def _control(subject: CommandSubject, witness: Witness, command: str, more: dict[str, Any]) -> Sighting:
    """Run the same call where there is no whitelist: it has to start something."""
    try:
        words = shlex.split(command.replace("\0", ""))
    except ValueError as error:
        raise NotApplicable(f"no shell would take it: {error}") from error
    done = subject.invoke(words, 20.0)
    ran = bool(done.stdout)
    return Sighting(
        breached=ran,
        witness=witness.said(done.stdout) or ("it printed what the allowed command prints" if "allowed" in done.stdout else ""),
        attack=f"exit code {done.exit_code}, printed {done.stdout[:80]!r}, {done.stderr[-100:]!r}",
        observer="without a whitelist, it starts a program" if ran else "it starts nothing even without a whitelist",
    )


def _node(node: str, script: str) -> str:
    return shlex.join([node, "-e", script])


WHITELIST: tuple[ScriptedProbe, ...] = (
    _whitelist("other", "run another command", lambda node, said: (_node(node, said), {})),
    _whitelist("argument", "add an argument", lambda node, said: (f"{allowed_command(node)} extra", {})),
    _whitelist("prefix", "put an option in front", lambda node, said: (allowed_command(node).replace(" -e", " --no-warnings -e", 1), {})),
    _whitelist("blank", "add a blank", lambda node, said: (allowed_command(node).replace(" -e", "  -e", 1), {})),
    _whitelist("newline", "add a newline", lambda node, said: (f"{allowed_command(node)}\n", {})),
    _whitelist("quoting", "quote it otherwise, with the same words", lambda node, said: (allowed_command(node).replace(" -e", " '-e'", 1), {})),
    _whitelist("second-line", "put a second command on a line below", lambda node, said: (f"{allowed_command(node)}\n{_node(node, said)}", {})),
    _whitelist("chain", "chain a second command", lambda node, said: (f"{allowed_command(node)} ; {_node(node, said)}", {})),
    _whitelist("nul", "add what comes after a NUL", lambda node, said: (f"{allowed_command(node)}\0 extra", {})),
    _whitelist("liar", "use a text that claims to be equal to the allowed one", lambda node, said: (_Liar(_node(node, said)), {})),
    _whitelist("options-variable", "have the allowed program load code by a variable", lambda node, said: (allowed_command(node), {"env": {"NODE_OPTIONS": "--no-warnings"}})),
    _whitelist("path", "have the allowed name mean another program by PATH", lambda node, said: (allowed_command(node), {"env": {"PATH": "/tmp"}})),
    _whitelist("loader", "have the loader load code by a variable", lambda node, said: (allowed_command(node), {"env": {"LD_LIBRARY_PATH": "/tmp"}})),
    _whitelist("work-dir", "run the allowed command in a folder outside of the entry's", lambda node, said: (allowed_command(node), {"work_dir": "/"})),
    _whitelist("work-dir-climb", "climb out of the entry's folder", lambda node, said: (allowed_command(node), {"work_dir": "x/../../.."})),
)  # fmt: skip


def _clean(probe: CodeProbe) -> CodeProbe:
    name = probe.id.partition(".")[2]
    return replace(probe, id=f"clean-environment.{name}", guarantee="clean-environment", vantages=("command",), mechanism="")


_COMMANDS: Final = ("variables", "variable", "proxies", "proc-environ", "report", "child")

PROBES: tuple[Probe, ...] = (
    *WHITELIST,
    *(_clean(probe) for probe in environment.PROBES if probe.id.partition(".")[2] in _COMMANDS),
)
