"""Attacks on `environment`: what a sandbox was handed, by each way to read it."""

from __future__ import annotations

from typing import Any, Final

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Runtime
from pytest_sandbox.guarantees.scenes import leak

__all__ = ["PROBES"]


def _named(canaries: Canaries) -> dict[str, Any]:
    return {"name": canaries.env_name}


_ALL: Final = ("env_secret", "proxy_secret", "engine_secret")


def _inherit(name: str, title: str, code: str, *wanted: str, runtimes: tuple[Runtime, ...] = BOTH) -> CodeProbe:
    scene = leak(_named, *(wanted or _ALL))
    return attack(f"environment.{name}", title, code, scene, runtimes=runtimes, vantages=("snippet", "process"))


PROBES: tuple[CodeProbe, ...] = (
    _inherit("variables", "read all variables", "return { ...needProcess().env };"),
    _inherit("variable", "read a variable by its name", "return needProcess().env[P.name];", "env_secret"),
    _inherit(
        "proxies",
        "read the proxy settings that engines hand to containers",
        "const { env } = needProcess(); return Object.keys(env).filter((name) => /proxy/i.test(name)).map((name) => env[name]);",
        "proxy_secret",
        "engine_secret",
    ),
    _inherit(
        "proc-environ",
        "read the variables that the process began with",
        "return (await need('fs')).readFileSync('/proc/self/environ', 'utf8');",
    ),
    _inherit(
        "all-environ",
        "read the variables of every process in sight",
        """
        const fs = await need("fs");
        const found = [];
        for (const pid of fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
          try { const text = fs.readFileSync(`/proc/${pid}/environ`, "utf8"); const at = text.indexOf("canary-"); if (at >= 0) found.push(text.slice(at, at + 60)); } catch {}
        }
        return found;
        """,
        "env_secret",
        "proxy_secret",
    ),
    _inherit(
        "report",
        "find variables in the runtime's own report",
        "const { report } = needProcess(); return report.getReport().environmentVariables ?? JSON.parse(report.getReport()).environmentVariables;",
        runtimes=("node",),
    ),
    _inherit(
        "child",
        "find variables in a child process",
        "return (await need('child_process')).execFileSync(needProcess().execPath, theDeno() ? ['eval', 'console.log(JSON.stringify(Deno.env.toObject()))'] : ['-p', 'JSON.stringify(process.env)']).toString();",
    ),
    _inherit("deno-variables", "read all variables by Deno.env", "return needDeno().env.toObject();", runtimes=("deno",)),
)
