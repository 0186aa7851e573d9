"""`--sandbox-image` and `--sandbox-pull`: another image for the executor container, which is only pulled when that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_sandbox.engines.base import Engine
from pytest_sandbox.errors import ImageNotFound
from pytest_sandbox.plugin.state import run_of
from pytest_sandbox.snippets.container import ContainerExecutor
from tests.real_engines import engine_named

from .conftest import TOKEN
from .test_pull import Registry, registry

__all__ = ["registry"]

ONE_TEST = "def test_x(executor) -> None: ..."
Run = Callable[..., pytest.RunResult]
MISSING = "localhost/nothing"


@pytest.fixture(scope="module")
def docker() -> Engine:
    return engine_named("docker-sdk")


@pytest.fixture
def run(docker: Engine, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one test on executor container, with Docker."""
    monkeypatch.setenv("CONTAINER_RUNTIME", "docker")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # pytester's own home has no image's digests
    pytester.makepyfile(ONE_TEST)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--executor=container", *arguments)

    return run


@pytest.fixture(scope="module")
def named(docker: Engine) -> Iterator[str]:
    """A name of ours for an image with Node: our own, which for the option is a foreign one like any other."""
    with ContainerExecutor(engine="docker", transport="socket") as executor:
        name = f"localhost/pytest-sandbox-test/node:{TOKEN}"
        docker._client.tag(executor._spec.image, name.partition(":")[0], TOKEN)  # type: ignore[attr-defined]
    yield name
    docker.remove_image(name)


def test_the_named_image_runs_the_header_says_what_is_looser_and_a_marker_beats_it(
    run: Run, pytester: pytest.Pytester, named: str
) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        def test_of_the_option(executor) -> None:
            assert executor.execute("return typeof require").check().value == "function"
            assert executor.info.loosened

        @pytest.mark.executor(image={MISSING!r})
        def test_of_the_marker(executor) -> None: ...

        @pytest.mark.executor(image=None)
        def test_of_our_own(executor) -> None:
            assert not executor.info.loosened
        """
    )
    result = run(f"--sandbox-image={named}")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            f"sandbox: container (from --executor): *node in image {named} *loosened: image {named}: its Node can be read and traced*",
            f"*the engine has no image {MISSING}; pull it with 'docker pull {MISSING}', or allow that with pull=True or --sandbox-pull",
        ]
    )


def test_flag_beats_environment_beats_ini_beats_our_own(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def options(*arguments: str) -> dict[str, object]:
        return run_of(pytester.parseconfigure(*arguments)).options_for("container")

    assert options() == {}
    pytester.makeini("[pytest]\nsandbox_image = ini\nsandbox_pull = true")
    assert options() == {"image": "ini", "pull": True}
    monkeypatch.setenv("PYTEST_SANDBOX_IMAGE", "environment")
    assert options()["image"] == "environment"
    assert options("--sandbox-image=flag")["image"] == "flag"
    pytester.makeini("[pytest]")
    assert options("--sandbox-image=flag") == {"image": "flag", "pull": False}
    assert run_of(pytester.parseconfigure("--sandbox-image=flag")).options_for("deno") == {}


@pytest.mark.parametrize("image", ["", "two words", "-v", "a\tb"])
def test_nonsense_is_a_usage_error_that_names_flag_and_value(pytester: pytest.Pytester, image: str) -> None:
    result = pytester.runpytest(f"--sandbox-image={image}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: Cannot use --sandbox-image={image!r}: expected the name or id of an image*"])


def test_a_pull_without_an_image_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--sandbox-pull")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *--sandbox-pull*expected an image to pull, named with --sandbox-image*"])
    pytester.makeini("[pytest]\nsandbox_pull = true")
    assert pytester.runpytest().ret == pytest.ExitCode.NO_TESTS_COLLECTED, "a default for runs that name an image"


def test_an_image_is_pulled_only_when_that_was_asked_for(run: Run, docker: Engine, registry: str) -> None:
    image = f"{registry}/known/image:1"
    result = run(f"--sandbox-image={image}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"the engine has no image {image}" in result.stderr.str()
    assert Registry.asked == []
    with pytest.raises(ImageNotFound):
        docker.inspect_image(image)
    try:
        result = run(f"--sandbox-image={image}", "--sandbox-pull")
        assert any("/blobs/" in path for path in Registry.asked)
        assert docker.inspect_image(image).tags
        assert f"pulling {image}: 2 of 2 layers" in result.stderr.str()
        # It has no Node, and the error says so, in the engine's words.
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f'(image {image}; it needs Node 22.14 or newer as "node", and a user "node")' in result.stderr.str()
    finally:
        docker.remove_image(image)
