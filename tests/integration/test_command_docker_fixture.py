"""The fixture docker_executor on a real engine: strict where its entry says nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from tests.real_engines import any_engine, busybox_program

FACTS = "sh -c 'id -u; ls /sys/class/net; grep -E \"^(CapEff|NoNewPrivs)\" /proc/self/status; touch /x; touch /tmp/x && echo tmp'"


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The tag of an image with a shell; gone after the tests."""
    binary = busybox_program()
    engine = any_engine()
    files = {f"/bin/{name}": ImageFile(binary, 0o755) for name in ("busybox", "id", "sh", "true")}
    files["/tmp"] = ImageFile(None, 0o1777)
    recipe = ImageRecipe(files=files, architecture=os.uname().machine, config={"Env": ["PATH=/bin"]})
    tag = f"localhost/pytest-sandbox-test/fixture:{secrets.token_hex(6)}"
    engine.load(recipe.archive(tag, {"pytest-sandbox.test": "fixture"}))
    yield tag
    engine.remove_image(tag)


def test_what_the_entry_leaves_unset_is_strict(pytester: pytest.Pytester, image: str) -> None:
    pytester.makefile(".yaml", entries=f"- {{name: box, kind: exec.docker, image: '{image}', auto_remove: true}}\n")
    pytester.makepyfile(
        f"""
        FACTS = {FACTS!r}

        def test_strict(docker_executor):
            result = docker_executor.run(FACTS)
            assert result.stdout.split() == ["65534", "lo", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "tmp"]
            assert "Read-only file system" in result.stderr
            entry = docker_executor.entry
            assert (entry.pids_limit, entry.memory_limit) == (64, 256 << 20)

        def test_as_written(entries):
            # The positive control: the same entry, with the reference's defaults.
            result = entries.get("box").run(FACTS)
            words = result.stdout.split()
            assert words[0] == "0"
            assert len(words[1 : words.index("CapEff:")]) > 1
            assert words[words.index("CapEff:") + 1] != "0000000000000000"
            assert "Read-only" not in result.stderr
        """
    )
    pytester.runpytest("--sandbox-entries=entries.yaml").assert_outcomes(passed=2)


def test_what_the_entry_sets_stays(pytester: pytest.Pytester, image: str) -> None:
    pytester.makeconftest(
        f"""
        import pytest
        from pytest_sandbox import DockerEntry

        @pytest.fixture
        def docker_entry():
            return DockerEntry(name="mine", image={image!r}, user="0", cap_drop=("NET_RAW",), auto_remove=True)
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.command_whitelist("id -u")
        def test(docker_executor):
            assert docker_executor.id == "mine"
            assert docker_executor.run("id -u").check().stdout == "0\\n"
            assert docker_executor.entry.cap_drop == ("NET_RAW",)
            assert docker_executor.entry.network_mode == "none"
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_containers_of_a_failing_test_are_removed_and_its_commands_are_shown(pytester: pytest.Pytester, image: str) -> None:
    pytester.makefile(".yaml", entries=f"- {{name: box, kind: exec.docker, image: '{image}'}}\n")
    pytester.makepyfile(
        """
        from pathlib import Path

        def test(docker_executor):
            process = docker_executor.exec("sh -c 'echo before; exec sleep 1000'")
            process.start()
            Path("container").write_text(process.container)
            docker_executor.run("sh -c 'echo out; exit 3'").check()
        """
    )
    result = pytester.runpytest("--sandbox-entries=entries.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*sandbox command 1 (box)*", "outcome: still running", "*sandbox command 2 (box)*", "outcome: exit code 3 after *", "out"]
    )
    engine = any_engine()
    left = [state.id for state in engine.find("pytest-sandbox.entry=box")]
    assert (pytester.path / "container").read_text() not in left


def test_without_an_entry_the_fixture_says_what_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(docker_executor): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Cannot use fixture docker_executor: there is no entry of kind exec.docker; name a file*"])


def test_without_an_engine_the_test_is_skipped_unless_it_is_required(pytester: pytest.Pytester) -> None:
    entry = "- {name: box, kind: exec.docker, image: x, host: 'unix:///no/such.sock'}\n"
    pytester.makefile(".yaml", entries=entry)
    pytester.makepyfile("def test(docker_executor): pass")
    result = pytester.runpytest("--sandbox-entries=entries.yaml", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*none answers*there is no such socket*"])
    result = pytester.runpytest("--sandbox-entries=entries.yaml", "--sandbox-require=exec.docker")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*none answers*there is no such socket*"])
