"""A container's description is checked before any engine hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_sandbox.engines.arguments import create_arguments
from pytest_sandbox.engines.spec import ContainerSpec, Mount, Ulimit
from pytest_sandbox.errors import InvalidArgument


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"image": ""}, "image"),
        ({"image": "--privileged"}, "image"),
        ({"image": "two words"}, "image"),
        ({"command": ("a\0b",)}, "command"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A\0": "x"}}, "env"),
        ({"env": {"A": "x\0y"}}, "env A"),
        ({"work_dir": "relative"}, "path in the container"),
        ({"tmpfs": {"relative": ""}}, "path in the container"),
        ({"network": "--privileged"}, "network"),
        ({"network": ""}, "network"),
        ({"memory": 1000}, "memory"),
        ({"memory": 2**30, "memory_swap": 2**29}, "memory_swap"),
        ({"memory_swap": 2**29}, "memory_swap"),
        ({"cpus": 0}, "cpus"),
        ({"cpus": -1}, "cpus"),
        ({"cpu_quota": 0}, "cpu_quota"),
        ({"cpus": 1.0, "cpu_quota": 100_000}, "cpu_quota"),
        ({"pids_limit": 0}, "pids_limit"),
        ({"shm_size": 0}, "shm_size"),
    ],
    ids=lambda value: "" if isinstance(value, str) else repr(value)[:40].replace("\\x00", "NUL"),
)
def test_nonsense_is_refused_and_the_argument_named(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ContainerSpec(**{"image": "image", **settings})
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    "settings",
    [{"source": "relative"}, {"source": "/a", "target": "b"}, {"source": "", "kind": "volume"}, {"source": "/a\0"}],
    ids=str,
)
def test_a_mount_needs_absolute_paths(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="mount"):
        Mount(**{"target": "/data", **settings})


def test_a_soft_limit_is_not_above_the_hard_one() -> None:
    with pytest.raises(InvalidArgument, match="up to the hard limit of 5"):
        Ulimit(name="nofile", soft=6, hard=5)
    with pytest.raises(InvalidArgument):
        Ulimit(name="nofile=1:1 --privileged", soft=1, hard=1)


def test_no_value_becomes_an_option_of_the_client() -> None:
    spec = ContainerSpec(
        image="image",
        command=("--privileged", "-v", "/:/host"),
        user="--privileged",
        work_dir="/x --privileged",
        env={"--privileged": "x", "-v": "y"},
        labels={"--privileged": "z"},
        hostname="--privileged",
    )
    arguments, _ = create_arguments(spec, "name", {}, {}, "docker")
    options, _, rest = ",".join(arguments).partition(",--,")
    assert rest == "image,--privileged,-v,/:/host"
    for option in options.split(","):
        assert (
            option in ("create", "--env")
            or not option.startswith("--privileged")
            or arguments[arguments.index(option) - 1] == "--env"
        )


def test_values_of_variables_are_not_in_the_arguments_that_everybody_can_read() -> None:
    spec = ContainerSpec(image="image", env={"TOKEN": "secret-value"})
    arguments, environment = create_arguments(spec, "name", {}, {"PATH": "/bin"}, "docker")
    assert not any("secret-value" in argument for argument in arguments)
    assert environment == {"PATH": "/bin", "TOKEN": "secret-value"}


def test_variables_that_steer_the_client_are_not_put_into_its_environment() -> None:
    spec = ContainerSpec(
        image="image", env={"DOCKER_HOST": "tcp://evil", "LD_PRELOAD": "/evil.so", "PATH": "/evil", "HTTP_PROXY": "evil"}
    )
    arguments, environment = create_arguments(spec, "name", {}, {"PATH": "/bin"}, "docker")
    assert environment == {"PATH": "/bin"}
    assert arguments.count("--env") == 4
