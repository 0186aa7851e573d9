from __future__ import annotations

import json
import subprocess
import sys

import pytest

SHOWS_MODULES = """
import json, os, sys, pytest
code = pytest.main(sys.argv[1:])
print("\\n" + json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""

# Everyone who has the plugin installed would pay for them on every run.
HEAVY = {
    "asyncio",
    "concurrent.futures",
    "deno",
    "docker",
    "http.client",
    "jinja2",
    "lupa",
    "msgspec",
    "multiprocessing",
    "psutil",
    "pytest_sandbox.proofs",
    "pytest_sandbox.registry",
    "pytest_sandbox.snippets",
    "rich",
    "ssl",
    "testcontainers",
    "yaml",
}


def modules(pytester: pytest.Pytester, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", SHOWS_MODULES, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["code"] in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout
    return set(answer["modules"])


@pytest.mark.parametrize("tests", ["", "def test_unrelated(): pass"])
@pytest.mark.parametrize("arguments", [[], ["--executor=deno"], ["--executor=all", "--sandbox-timeout=5"]])
def test_a_run_that_needs_no_executor_loads_nothing_heavy(pytester: pytest.Pytester, tests: str, arguments: list[str]) -> None:
    if tests:
        pytester.makepyfile(tests)
    plain = modules(pytester, "-p", "no:sandbox")
    ours = modules(pytester, *arguments) - plain
    assert "pytest_sandbox.plugin" in ours, "the plugin was not even loaded"
    if arguments:  # names are looked up
        ours -= {"pytest_sandbox.proofs", "pytest_sandbox.registry"}
    assert ours & HEAVY == set()


def test_the_check_itself_sees_heavy_modules(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_x(executor): executor.execute('return 1')")
    assert {"msgspec", "pytest_sandbox.registry", "pytest_sandbox.snippets"} <= modules(pytester) - modules(
        pytester, "-p", "no:sandbox", "--collect-only"
    )


def test_no_process_is_started_for_a_run_that_needs_no_executor(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeconftest(
        """
        import sys

        def refuse(event, arguments):
            if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec"):
                with open("spawned", "a") as file:
                    print(event, arguments, file=file)

        sys.addaudithook(refuse)
        """
    )
    pytester.makepyfile(test_a="def test_unrelated(): pass", test_b="def test_x(executor): pass")
    spawned = pytester.path / "spawned"
    for arguments in (["test_a.py"], ["-k", "unrelated"], ["--collect-only"], ["--executor=all", "--collect-only"]):
        pytester.runpytest_subprocess(*arguments)
        assert not spawned.exists(), f"{arguments}: {spawned.read_text()}"
    pytester.runpytest_subprocess("test_b.py").assert_outcomes(passed=1)
    assert spawned.exists(), "the audit hook sees nothing"
