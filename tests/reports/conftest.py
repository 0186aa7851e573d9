"""Audits made by hand: a usual one, a hostile one, and a huge one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from pytest_sandbox.guarantees.model import GUARANTEES, Verdict
from pytest_sandbox.guarantees.results import (
    Audit,
    ControlResult,
    ExecutorAudit,
    Fact,
    GuaranteeResult,
    Latency,
    Machine,
    ProbeResult,
)
from pytest_sandbox.guarantees.verdicts import sum_up
from pytest_sandbox.reports.model import Report, Section, Selected, Spent, TestResult, TestRun, report_of

MACHINE: Final = Machine(
    system="Linux",
    kernel="6.18.0",
    architecture="x86_64",
    cores=2,
    memory=8 << 30,
    python="3.11.7",
    user="root",
    jail="bubblewrap 0.8.0, own user id, system call filter",
    engines=("docker 20.10.24 by SDK over unix:///run/docker.sock, overlay2, runc 1.1.5",),
    versions={"pytest": "9.2.0", "pytest-sandbox": "0.1.0"},
)

HOSTILE: Final = {
    "markup": '<img src=x onerror="document.title=1"><script>document.title="owned"</script><!-- ',
    "end of script": "</script></style></textarea></title><script>document.title='owned'</script>",
    "attribute": "\" autofocus onfocus=alert(1) x=\"' onclick='alert(1)",
    "ansi": "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07\x9b2J\x07\x00\r\x7f",
    "bidi": "\u202eabc\u2066def\u2069\u200f\u061c\ufeff\u2028\u2029",
    "markdown": "| a | b |\n|---|---|\n```\n# head\n* [link](http://evil.example) ![i](http://evil.example/i.png) `code` **b** <http://evil.example> @octocat #1",
    "autolink": "www.evil.example http://evil.example/x mailto:a@evil.example",
    "command": "::error file=a.py,line=1::owned\n::add-mask::secret\n##[error]owned\n::stop-commands::x",
    "cdata": "]]>&lt;&amp;&#0;&#x1f; \x01\x08\x0b\x0c\x1f \ufffe\uffff",
    "json": '"},{"x":"\\u0000\\"',
    "surrogate": "\ud800 lone \udc00",
    "template": "{{ 7*7 }} {% raw %} {# x #}",
    "long line": "x" * 40_000,
    "many lines": "y\n" * 20_000,
    "fences": "`````\n~~~~\n</details></pre></code></table>\n\n\n    indented\n\n---\n===\n",
}
"""Texts that a snippet may print, by what they try."""

COLUMNS: Final = ("isolated-vm", "deno", "container", "vm2", "exec.native (confined)", "exec.docker")


@pytest.fixture(autouse=True)
def _no_step_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    # That of the step that runs this suite.
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def make_probe(guarantee: str, number: int, verdict: Verdict, **fields: Any) -> ProbeResult:
    """Return a probe as an audit would."""
    texts: dict[str, Any] = {
        "source": f"console.log('trying {number}');\nconst probe = await codemode.canary({number});\nreturn fetch(probe.url).then((r) => r.text());",
        "reason": "the attack ran and was kept out" if verdict == "held" else "the attack got through: our listener was called",
        "witness": f"trying {number}",
        "attack": "ReferenceError: fetch is not defined" if verdict == "held" else "read 16 bytes of the canary",
        "observer": "nobody knocked on 127.0.0.1:34567" if verdict == "held" else "one connection from pid 4711",
        "control": None
        if verdict == "violated"
        else ControlResult(
            runner="plain node 24.19.0", succeeded=verdict == "held", evidence="the listener was called", duration=0.013
        ),
        "rerun": f"pytest-sandbox audit --executor deno --probe {guarantee}.p{number}",
    }
    return ProbeResult(
        id=f"{guarantee}.p{number}",
        guarantee=guarantee,
        mechanism=f"{guarantee}.m{number}",
        title=f"connect to a listener of ours on loopback, way {number}",
        vantage="snippet",
        verdict=verdict,
        duration=0.0123,
        **{**texts, **fields},
    )


def make_result(id_: str, declared: bool, probes: tuple[ProbeResult, ...]) -> GuaranteeResult:
    """Return a guarantee with the verdict that its probes come to."""
    guarantee = GUARANTEES[id_]
    empty = GuaranteeResult(
        id=id_,
        meaning=guarantee.meaning,
        severity=guarantee.severity,
        family=guarantee.family,
        declared=declared,
        verdict="inconclusive",
        reason="",
    )
    return sum_up(empty, probes)


def make_audit(probes: int = 3, columns: tuple[str, ...] = COLUMNS, **fields: Any) -> Audit:
    """Return an audit with a violated, an inconclusive and several open cells."""
    dice = random.Random(1)
    executors = []
    for name in columns:
        is_snippet = not name.startswith("exec")
        results = []
        for id_, guarantee in GUARANTEES.items():
            if guarantee.family in (("confinement", "commands") if is_snippet else ("realm",)):
                continue
            declared = not (name == "container" and guarantee.family == "realm")
            verdict: Verdict = "held" if declared else "violated"
            if (name, id_) == ("vm2", "memory-limit"):
                verdict = "violated"
            if (name, id_) == ("exec.docker", "cpu-limit"):
                verdict = "inconclusive"
            found = [make_probe(id_, number, "held" if number else verdict, **fields) for number in range(probes)]
            results.append(make_result(id_, declared, tuple(found)))
        base = {"isolated-vm": 0.002, "deno": 0.02, "container": 0.3, "vm2": 0.004}.get(name, 0.1)
        executors.append(
            ExecutorAudit(
                name=name,
                kind="snippet" if is_snippet else "command",
                info=f"{name} 1.2, node 24.19.0 (/usr/bin/node), fresh realm, jail bubblewrap 0.8.0"
                + (", loosened: memory unlimited (default 268435456)" if name == "vm2" else ""),
                versions={name: "1.2", "node": "24.19.0"},
                jail="bubblewrap 0.8.0, own user id" if name != "exec.docker" else "the container",
                facts=(
                    Fact(id="concurrency", title="Concurrency", value="parallel", detail="two at once took 1.1 times as long"),
                    Fact(id="start-up", title="Start-up", value="low", detail="2.1 ms at the median"),
                ),
                latencies=(
                    Latency(id="start", title="A fresh start", seconds=tuple(base * dice.uniform(4, 9) for _ in range(8))),
                    Latency(
                        id="execution", title="An execution in use", seconds=tuple(base * dice.uniform(0.8, 2.5) for _ in range(40))
                    ),
                ),
                guarantees=tuple(results),
                duration=12.5,
            )
        )
    executors.append(
        ExecutorAudit(name="deno-canary", kind="snippet", available=False, reason="no deno-canary on PATH", fix="install it")
    )
    return Audit(
        tool_version="0.1.0", started="2026-11-22T03:00:00+00:00", duration=61.4, machine=MACHINE, executors=tuple(executors)
    )


def make_run(text: str = "", tests: int = 6) -> TestRun:
    """Return a test run with a failure that shows some text."""
    results = [
        TestResult(
            id=f"tests/test_agent.py::test_{number}[deno]",
            outcome="passed",
            duration=0.2,
            spent=(
                Spent(
                    kind="snippet",
                    executor="deno",
                    executions=3,
                    wall=0.05 + number / 100,
                    cpu=0.02,
                    memory=80 << 20,
                    tool_calls=4,
                    output=120,
                ),
            ),
        )
        for number in range(tests)
    ]
    failed = TestResult(
        id=f"tests/test_agent.py::test_bad[{text[:200] or 'deno'}]",
        outcome="failed",
        duration=0.4,
        spent=(Spent(kind="snippet", executor="deno", executions=1, wall=0.4),),
        problem=f"AssertionError: assert None == 8 {text}",
        shown=(Section(title=f"sandbox snippet 1 (deno, failed) {text[:200]}", text=f"1 | return 1\nlogs:\n  {text}"),),
    )
    return TestRun(
        started="2026-11-22T03:00:00+00:00",
        duration=4.2,
        exit_code=1,
        outcomes={"passed": tests, "failed": 1},
        selected=(
            Selected(
                name="deno",
                why="from --executor",
                available=True,
                detail="deno 2.9.0 (/usr/bin/deno), fresh process",
                runtime="deno 2.9.0",
                backend="deno 2.9.0",
                fresh="process",
                jail="bubblewrap 0.8.0",
                loosened=(f"memory unlimited {text[:200]}",),
            ),
            Selected(name="vm2", why="all", available=False, reason="no node on PATH", fix="install node"),
        ),
        problems=('plugin "x" adds no executors: it raised ImportError: no',),
        tests=(*results, failed),
    )


def make_hostile(text: str) -> Report:
    """Return a report that has a text wherever a sandbox could have put it."""
    control = ControlResult(runner=text, succeeded=True, evidence=text)
    fields: dict[str, Any] = {
        "title": text,
        "source": text,
        "reason": text,
        "witness": text,
        "attack": text,
        "observer": text,
        "rerun": text,
    }
    verdicts: tuple[Verdict, ...] = ("held", "violated", "inconclusive")
    probes = tuple(
        ProbeResult(
            id=f"network.p{number}",
            guarantee="network",
            mechanism=text,
            vantage="snippet",
            verdict=verdict,
            control=control,
            **fields,
        )
        for number, verdict in enumerate(verdicts)
    )
    result = GuaranteeResult(
        id="network",
        meaning=text,
        severity="critical",
        family="host",
        declared=True,
        verdict="violated",
        reason=text,
        probes=probes,
    )
    executor = ExecutorAudit(
        name=text[:200],
        kind="snippet",
        reason=text,
        fix=text,
        info=f"loosened: {text}",
        versions={text[:200]: text},
        jail=text,
        facts=(Fact(id="x", title=text, value=text, detail=text),),
        latencies=(Latency(id="x", title=text, seconds=(0.1, 0.2)),),
        guarantees=(result,),
    )
    machine = Machine(
        system=text,
        kernel=text,
        architecture=text,
        cores=1,
        memory=1,
        python=text,
        user=text,
        jail=text,
        engines=(text,),
        versions={text[:200]: text},
    )
    audit = Audit(tool_version="0.1.0", started="2026-11-22T03:00:00+00:00", duration=1.0, machine=machine, executors=(executor,))
    return report_of(audit, make_run(text))


@pytest.fixture(scope="session")
def audit() -> Audit:
    """A usual audit."""
    return make_audit()


@pytest.fixture(scope="session")
def report(audit: Audit) -> Report:
    """A report of a usual audit, and of a test run."""
    return report_of(audit, make_run())


@pytest.fixture(scope="session")
def huge_audit() -> Callable[..., Audit]:
    """Makes audits of any size."""
    return make_audit


@pytest.fixture(params=HOSTILE)
def hostile_text(request: pytest.FixtureRequest) -> str:
    """What a snippet prints."""
    return HOSTILE[request.param]


@pytest.fixture
def hostile_report(hostile_text: str) -> Report:
    """A report full of it."""
    return make_hostile(hostile_text)


@pytest.fixture(scope="session")
def hostile_everything() -> Report:
    """A report with all hostile texts at once."""
    return make_hostile(" ".join(text[:3000] for text in HOSTILE.values()))
