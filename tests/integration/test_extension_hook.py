from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes

ONE_TEST = """
def test_x(executor) -> None:
    assert executor.execute("return 1+1").value == 2
"""


def install(pytester: pytest.Pytester, module: str, text: str) -> None:
    """Make an installed package with an entry point of ours."""
    site = pytester.path
    site.joinpath(f"{module}.py").write_text(text)
    info = site / f"{module}-1.5.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-sandbox\nVersion: 1.5\n")
    info.joinpath("entry_points.txt").write_text(f"[pytest_sandbox]\n{module} = {module}\n")


GOOD = """
from pytest_sandbox import ExecutorSpec, hookimpl

@hookimpl
def pytest_sandbox_executors():
    return [ExecutorSpec("beta", "fake_executors:Beta", 150)]
"""


def test_an_installed_package_adds_executors(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.path.joinpath("conftest.py").unlink()
    install(pytester, "acme", GOOD)
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest_subprocess("--executor=beta").assert_outcomes(passed=1)


def test_a_package_without_decorator_adds_executors_too(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.path.joinpath("conftest.py").unlink()
    install(pytester, "acme", GOOD.replace("@hookimpl\n", ""))
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest_subprocess("--executor=beta").assert_outcomes(passed=1)


def test_a_pytest_plugin_adds_executors(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.path.joinpath("conftest.py").unlink()
    pytester.path.joinpath("acme.py").write_text("import pytest\n" + GOOD.replace("@hookimpl", "@pytest.hookimpl(tryfirst=True)"))
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest_subprocess("-p", "acme", "--executor=beta").assert_outcomes(passed=1)


def test_a_package_that_is_also_a_pytest_plugin_counts_once(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.path.joinpath("conftest.py").unlink()
    install(pytester, "acme", GOOD)
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest_subprocess("-p", "acme", "--executor=beta").assert_outcomes(passed=1)


def test_the_library_knows_executors_of_a_conftest_inside_the_run(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        from pytest_sandbox import create_executor, detect_executors

        def test_x():
            with create_executor("beta", colour="red") as executor:
                assert executor.execute("options").value["colour"] == "red"
            assert {"alpha", "beta", "gamma"} < {row.name for row in detect_executors()}
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_broken_package_breaks_no_run_that_does_not_need_it(pytester: pytest.Pytester, fakes: Fakes) -> None:
    install(pytester, "acme", "import no_such_module")
    pytester.makepyfile(test_a="def test_unrelated(): pass", test_b=ONE_TEST)
    assert "acme" not in pytester.runpytest_subprocess("test_a.py").stdout.str()

    result = pytester.runpytest_subprocess("test_b.py", "--executor=alpha")
    result.assert_outcomes(passed=1)
    told = "plugin \"acme\" (acme-sandbox 1.5) adds no executors: it raised ModuleNotFoundError: No module named 'no_such_module'"
    assert f"sandbox: {told}" in result.outlines

    result = pytester.runpytest_subprocess("--executor=acme-vm")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f'ERROR: Unknown executor "acme-vm" (from --executor): known executors are *gamma; {told}'])

    assert f"problem: {told}" in pytester.runpytest_subprocess("--sandbox-list").outlines


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ('[ExecutorSpec("deno", "m:C")]', '*: the name "deno" is already taken by pytest-sandbox itself; rename *'),
        (
            '[ExecutorSpec("alpha", "m:C")]',
            '*: the name "alpha" is already taken by *"; rename the executor, or remove one of the two',
        ),
        (
            '[ExecutorSpec("x", "m:C"), ExecutorSpec("x", "m:D")]',
            '*: the name "x" is already taken by plugin "acme" (acme-sandbox 1.5); *',
        ),
        (
            '[ExecutorSpec("x", "m:C", 99)]',
            '*: executor "x" has priority 99; use 100 or more: lower ones are kept for pytest-sandbox *',
        ),
        ('[ExecutorSpec("x", "m:C", -1)]', '*: executor "x" has priority -1; use 100 or more*'),
        (
            '[ExecutorSpec("all", "m:C")]',
            "*: it raised InvalidArgument: Cannot use name='all': expected lower-case letters *; correct or *",
        ),
        ('[ExecutorSpec("X y", "m:C")]', "*: it raised InvalidArgument: Cannot use name='X y': expected lower-case letters *"),
        ('[ExecutorSpec("x", "m.C")]', "*Cannot use factory='m.C': expected the text \"package.module:Class\"; *"),
        ('["x"]', "*: pytest_sandbox_executors gave 'x'; return pytest_sandbox.ExecutorSpec objects"),
    ],
)
def test_a_registration_that_makes_no_sense_names_the_plugin(
    pytester: pytest.Pytester, fakes: Fakes, specs: str, message: str
) -> None:
    install(pytester, "acme", f"from pytest_sandbox import ExecutorSpec\ndef pytest_sandbox_executors(): return {specs}")
    pytester.makepyfile(test_a="def test_unrelated(): pass", test_b=ONE_TEST)
    pytester.runpytest_subprocess("test_a.py").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("--executor=beta", "test_b.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    # Plugins are asked in the order of their names: which of two is refused does not depend on the installation.
    result.stderr.fnmatch_lines([f"ERROR: Cannot register executors of {message}"])
    assert "acme" in result.stderr.str()


def test_an_error_in_a_conftest_is_never_passed_over(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makeconftest("def pytest_sandbox_executors(): return [nonsense]")
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: Cannot register executors of conftest \"*conftest.py\": it raised NameError: name 'nonsense' is not defined; correct *"
        ]
    )


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (
            "no_such_module:X",
            "its class no_such_module:X cannot be imported (ModuleNotFoundError: No module named 'no_such_module'); repair *",
        ),
        ("fake_executors:Missing", "its class fake_executors:Missing cannot be imported (AttributeError: *"),
        (
            "fake_executors:Beta",
            "creating it raised InvalidPlugin: *executor \"mine\" is made by a class whose name is 'beta'; use one *",
        ),
        (
            "fake_executors:log",
            'creating it raised InvalidPlugin: *the factory "fake_executors:log" of executor "mine" is <function *',
        ),
    ],
)
def test_a_factory_that_is_none_makes_the_executor_unavailable(
    pytester: pytest.Pytester, fakes: Fakes, factory: str, reason: str
) -> None:
    pytester.makeconftest(
        f"from pytest_sandbox import ExecutorSpec\ndef pytest_sandbox_executors(): return [ExecutorSpec('mine', '{factory}')]"
    )
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=mine")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f'ERROR: Cannot use executor "mine" (forced by --executor): {reason}'])


def test_a_factory_is_imported_only_when_it_is_used(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makeconftest(
        """
        from pytest_sandbox import ExecutorSpec

        def pytest_sandbox_executors():
            return [ExecutorSpec("alpha", "fake_executors:Alpha"), ExecutorSpec("bomb", "bomb:Executor")]
        """
    )
    pytester.path.joinpath("bomb.py").write_text("raise SystemExit('imported')")
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=1)


def test_a_hook_that_does_not_exist_is_told_by_pytest(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makeconftest("def pytest_sandbox_executer(): return []")
    result = pytester.runpytest_subprocess()
    assert result.ret != 0
    assert "unknown hook 'pytest_sandbox_executer'" in result.stdout.str() + result.stderr.str()
