"""Attacks on `code-generation`: making code from text, by every way to a maker."""

from __future__ import annotations

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.probes.walk import walk
from pytest_sandbox.guarantees.scenes import product

__all__ = ["PROBES"]


def _generate(name: str, title: str, code: str, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = "") -> CodeProbe:
    return attack(f"code-generation.{name}", title, code, product(), runtimes=runtimes, mechanism=mechanism)


PROBES: tuple[Probe, ...] = (
    _generate("eval", "call eval", "return eval(P.expression);"),
    _generate("indirect-eval", "call eval indirectly", "return (0, eval)(P.expression);", mechanism="eval"),
    _generate("eval-by-reflect", "call eval by Reflect", "return Reflect.apply(globalThis.eval, null, [P.expression]);", mechanism="eval"),
    _generate("function", "call Function", "return Function(P.text)();"),
    _generate("function-by-construct", "construct Function by Reflect", "return Reflect.construct(Function, [P.text])();", mechanism="function"),
    _generate("function-bound", "bind Function", "return Function.bind(null, P.text)()();", mechanism="function"),
    _generate("constructor", "call the constructor of a function", "return (() => {}).constructor(P.text)();"),
    _generate("method-constructor", "call the constructor of a builtin's method", "return [].map.constructor(P.text)();"),
    _generate("accessor-constructor", "call the constructor of an accessor", "return Object.getOwnPropertyDescriptor(Map.prototype, 'size').get.constructor(P.text)();"),
    _generate("bound-constructor", "call the constructor of a bound function", "return (function () {}).bind().constructor(P.text)();"),
    _generate("async-function", "call the constructor of an async function", "return await (async () => {}).constructor(P.text)();"),
    _generate("generator", "call the constructor of a generator function", "return (function* () {}).constructor(P.text)().next().value;"),
    _generate("async-generator", "call the constructor of an async generator function",
        "return (await (async function* () {}).constructor(P.text)().next()).value;"),
    _generate("subclass", "extend Function", "return new (class extends Function {})(P.text)();"),
    _generate("found-subclass", "extend the constructor of a function", "return new (class extends (function () {}).constructor {})(P.text)();"),
    _generate("prototype-of-constructor", "call the prototype of an async function's constructor",
        "return Object.getPrototypeOf((async () => {}).constructor)(P.text)();"),
    _generate("import-data", "import a data: URL", "return (await import(`data:text/javascript,export default ${P.expression}`)).default;"),
    _generate("import-blob", "import a blob: URL",
        "const url = URL.createObjectURL(new Blob([`export default ${P.expression}`], { type: 'text/javascript' })); return (await import(url)).default;", runtimes=("deno",)),
    _generate("webassembly", "compile WebAssembly",
        """
        const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 108, 11]);
        return (await WebAssembly.instantiate(bytes)).instance.exports.f(P.a, P.b);
        """),
    _generate("vm-module", "run a script of the module vm", "return (await need('vm')).runInThisContext(P.expression);"),
    _generate("vm-new-context", "run a script in a new context of the module vm", "return (await need('vm')).runInNewContext(P.expression);", mechanism="vm-module"),
    _generate("worker", "run text in a worker",
        """
        const { Worker } = await need("worker_threads");
        const worker = new Worker(`require("node:worker_threads").parentPort.postMessage(${P.expression})`, { eval: true });
        return await new Promise((resolve, reject) => { worker.on("message", resolve); worker.on("error", reject); });
        """, runtimes=("node",)),
    _generate("module-compile", "have a module compiled",
        "const Module = await need('module'); const made = new Module('made'); made._compile(`module.exports = ${P.expression}`, '/made.js'); return made.exports;", runtimes=("node",)),
    _generate("walk", "walk over everything in reach, and try every function as a maker of code",
        walk("P.text", "found")),
)  # fmt: skip
