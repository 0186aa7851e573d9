"""The environment is the documented one: what is listed works, and what is not listed is not there, on every executor."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor
from pytest_sandbox.catalog import BUILTINS
from pytest_sandbox.snippets.differences import ABSENT, DIFFERENCES, GLOBALS, render

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

LISTED = [name for names in GLOBALS.values() for name in names]
# Declared differences that take globals away, see differences.py.
MISSING = {"no-proxy": {"Proxy"}, "no-weak-references": {"WeakRef", "FinalizationRegistry"}}
DOCUMENT = Path(__file__).parents[2] / "docs" / "environment.md"


def test_the_document_is_not_stale() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), (
        "run: python -m pytest_sandbox.snippets.differences > docs/environment.md"
    )


def test_nothing_is_listed_twice() -> None:
    assert len(LISTED) == len(set(LISTED))
    assert not set(LISTED) & set(ABSENT)
    assert len({(row.executor, row.id) for row in DIFFERENCES}) == len(DIFFERENCES)
    assert {row.executor for row in DIFFERENCES} <= {spec.name for spec in BUILTINS}


def test_no_test_names_a_difference_that_is_not_declared() -> None:
    # That every declared one shows, on a snippet of its own, is the matter of tests/differential.
    used = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "difference":
                used |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    assert used
    assert used <= {row.id for row in DIFFERENCES}


def test_the_globals_are_exactly_the_listed_ones(run: Run, executor: SnippetExecutor) -> None:
    own = {row.id for row in DIFFERENCES if row.executor == executor.name}
    missing = {name for difference, names in MISSING.items() if difference in own for name in names}
    # On vm2, what is taken away is still a key, with the value undefined.
    found = run(
        "return Reflect.ownKeys(globalThis).map(String).filter(name => name === 'undefined' || globalThis[name] !== undefined)"
    )
    assert sorted(found) == sorted(set(LISTED) - missing)


def test_nothing_is_inherited_by_the_global_object_but_what_every_object_inherits(run: Run) -> None:
    code = """
    const found = [];
    for (let o = Object.getPrototypeOf(globalThis); o !== null; o = Object.getPrototypeOf(o)) {
      if (o !== Object.prototype) found.push(...Reflect.ownKeys(o).map(String));
    }
    for (const name in globalThis) found.push(`enumerable ${name}`);
    return found.filter(name => name !== 'constructor' && name !== 'Symbol(Symbol.toStringTag)');
    """
    assert run(code) == []


def test_the_notable_absent_globals_are_absent(run: Run) -> None:
    names = ", ".join(f"[{name!r}, typeof {name}, {name!r} in globalThis]" for name in ABSENT)
    assert [name for name, kind, is_in in run(f"return [{names}]") if kind != "undefined" or is_in] == []


@pytest.mark.parametrize("name", ["process", "require", "Deno", "fetch", "WebAssembly"])
def test_using_an_absent_global_is_a_reference_error(fail: Fail, name: str) -> None:
    error = fail(f"return {name}.anything")
    assert (error.name, error.message) == ("ReferenceError", f"{name} is not defined")


@pytest.mark.difference("no-proxy", "no-weak-references")
def test_every_listed_global_is_there(run: Run) -> None:
    names = [name for name in LISTED if name != "undefined"]
    kinds = run(f"return [{', '.join(f'typeof {name}' for name in names)}]")
    assert [name for name, kind in zip(names, kinds, strict=True) if kind == "undefined"] == []


WORKS: dict[str, tuple[str, Any]] = {
    "URL parts": (
        "const u = new URL('https://me:pw@exämple.org:8080/a/../b c?x=1&y=ü#frag'); return [u.href, u.origin, u.host, u.hostname, u.port, u.pathname, u.search, u.hash, u.username, u.password, u.protocol]",
        [
            "https://me:pw@xn--exmple-cua.org:8080/b%20c?x=1&y=%C3%BC#frag",
            "https://xn--exmple-cua.org:8080",
            "xn--exmple-cua.org:8080",
            "xn--exmple-cua.org",
            "8080",
            "/b%20c",
            "?x=1&y=%C3%BC",
            "#frag",
            "me",
            "pw",
            "https:",
        ],
    ),
    "URL with a base": (
        "return [new URL('../c?d', 'http://a/b/x/y').href, new URL('//h/p', 'https://a').href, new URL('', 'http://a/b?c#d').href]",
        ["http://a/b/c?d", "https://h/p", "http://a/b?c"],
    ),
    "URL setters": (
        "const u = new URL('http://a/'); u.pathname = 'x y'; u.search = 'q=1'; u.hash = 'h'; u.port = '81'; u.protocol = 'https'; u.hostname = 'b'; return String(u)",
        "https://b:81/x%20y?q=1#h",
    ),
    "URL default ports and dots": (
        "return [new URL('http://a:80/./b/./').href, new URL('HTTP://A.B/%7e').href]",
        ["http://a/b/", "http://a.b/%7e"],
    ),
    "URL addresses": (
        "return [new URL('http://0x7f.1/').host, new URL('http://[::1]:80/').host, new URL('http://256/').host]",
        ["127.0.0.1", "[::1]", "0.0.1.0"],
    ),
    "URL of other schemes": (
        "return [new URL('data:text/plain,hi').pathname, new URL('mailto:a@b').href, new URL('file:///C:/x').pathname, new URL('blob:http://a/b').origin]",
        ["text/plain,hi", "mailto:a@b", "/C:/x", "http://a"],
    ),
    "URL.canParse and URL.parse": (
        "return [URL.canParse('http://a'), URL.canParse('nope'), URL.parse('nope'), URL.parse('http://a').href]",
        [True, False, None, "http://a/"],
    ),
    "URL errors": ("try { new URL('nope') } catch (e) { return [e.name, e instanceof TypeError] }", ["TypeError", True]),
    "URL as JSON": ("return JSON.stringify({ u: new URL('http://a') })", '{"u":"http://a/"}'),
    "URL subclass": (
        "class U extends URL { constructor(x) { super(x); this.mine = 1 } get two() { return 2 } } const u = new U('http://a'); return [u.href, u.mine, u.two]",
        ["http://a/", 1, 2],
    ),
    "URL and its parameters": (
        "const u = new URL('http://a/?x=1'); u.searchParams.append('y', 'a b'); return [u.href, u.searchParams instanceof URLSearchParams]",
        ["http://a/?x=1&y=a+b", True],
    ),
    "URLSearchParams": (
        "const p = new URLSearchParams('?a=1&a=2&b=%20+c'); p.append('d', '&'); p.delete('a', '1'); p.set('e', 1); p.sort(); return [p.toString(), p.getAll('a'), p.get('b'), p.has('z'), p.size, [...p.keys()], Object.fromEntries(p)]",
        ["a=2&b=++c&d=%26&e=1", ["2"], "  c", False, 4, ["a", "b", "d", "e"], {"a": "2", "b": "  c", "d": "&", "e": "1"}],
    ),
    "URLSearchParams from objects and pairs": (
        "return [new URLSearchParams({ a: 1, b: 'ü' }).toString(), new URLSearchParams([['x', 'y'], ['x', 'z']]).toString(), new URLSearchParams(new Map([['m', 1]])).get('m')]",
        ["a=1&b=%C3%BC", "x=y&x=z", "1"],
    ),
    "TextEncoder": (
        "return [[...new TextEncoder().encode('ü😀')], new TextEncoder().encoding, new TextEncoder().encodeInto('äb', new Uint8Array(2))]",
        [[195, 188, 240, 159, 152, 128], "utf-8", {"read": 1, "written": 2}],
    ),
    "TextEncoder replaces lone surrogates": ("return [...new TextEncoder().encode('\\ud800')]", [239, 191, 189]),
    "TextDecoder": (
        "return [new TextDecoder().decode(new Uint8Array([195, 188])), new TextDecoder().decode(new Uint8Array([255])), new TextDecoder('utf-8').encoding, new TextDecoder().decode()]",
        ["ü", "\ufffd", "utf-8", ""],
    ),
    "TextDecoder in a stream": (
        "const d = new TextDecoder(); return d.decode(new Uint8Array([240, 159]), { stream: true }) + d.decode(new Uint8Array([152, 128]))",
        "😀",
    ),
    "TextDecoder that is fatal": (
        "try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])) } catch (e) { return e instanceof TypeError }",
        True,
    ),
    "TextDecoder and byte order marks": (
        "const b = new Uint8Array([239, 187, 191, 97]); return [new TextDecoder().decode(b), new TextDecoder('utf-8', { ignoreBOM: true }).decode(b)]",
        ["a", "\ufeffa"],
    ),
    "TextDecoder of an unknown encoding": ("try { new TextDecoder('klingon') } catch (e) { return e instanceof RangeError }", True),
    "btoa and atob": ("return [btoa('hi\\xff'), atob('aGn/'), atob(' a G k= '), btoa('')]", ["aGn/", "hiÿ", "hi", ""]),
    "btoa of what is no byte": ("try { btoa('€') } catch (e) { return e instanceof Error && e.name }", "InvalidCharacterError"),
    "atob of what is no base64": (
        "const out = []; for (const t of ['*', 'a', '=']) try { atob(t); out.push('no error') } catch (e) { out.push(e.name) } return out",
        ["InvalidCharacterError"] * 3,
    ),
    "every byte in base64": ("const all = String.fromCharCode(...Array(256).keys()); return atob(btoa(all)) === all", True),
    "structuredClone": (
        "const a = { d: new Date(5), m: new Map([[{ k: 1 }, new Set([1])]]), r: /x/gi, n: [1n, NaN, -0, , undefined], u: new Uint8Array([1, 2]), b: Object(true) }; a.self = a;"
        "const b = structuredClone(a); return [b !== a, b.self === b, b.d.getTime(), [...b.m.keys()][0].k, b.r.flags, b.n[0], Object.is(b.n[2], -0), 3 in b.n, b.u[1], b.b.valueOf(), b.d instanceof Date]",
        [True, True, 5, 1, "gi", 1, True, False, 2, True, True],
    ),
    "structuredClone of errors": (
        "const e = structuredClone(new RangeError('x')); return [e instanceof RangeError, e.name, e.message]",
        [True, "RangeError", "x"],
    ),
    "structuredClone keeps shared parts": (
        "const s = [1]; const [a, b] = structuredClone([s, s]); return [a === b, a !== s]",
        [True, True],
    ),
    "structuredClone drops prototypes and accessors": (
        "class A { x = 1; get y() { return 2 } } const c = structuredClone(new A()); return [c.x, c.y === undefined, c instanceof A]",
        [1, True, False],
    ),
    "structuredClone of what cannot be cloned": (
        "const out = []; for (const v of [() => 1, Symbol(), { f() {} }, new WeakMap(), Promise.resolve()]) try { structuredClone(v); out.push('no error') } catch (e) { out.push(e.name) } return out",
        ["DataCloneError"] * 5,
    ),
    "queueMicrotask": ("return new Promise(done => queueMicrotask(() => done(1)))", 1),
    "parseFloat and the like": (
        "return [parseFloat('1.5x'), parseInt('ff', 16), isNaN('x'), isFinite('5'), Number.parseFloat === parseFloat]",
        [1.5, 255, True, True, True],
    ),
    "Float16Array": ("return [new Float16Array([1.5])[0], Math.f16round(1.337)]", [1.5, 1.3369140625]),
    "SuppressedError": (
        "const e = new SuppressedError(1, 2, 'm'); return [e.error, e.suppressed, e.message, e instanceof Error]",
        [1, 2, "m", True],
    ),
    "AsyncDisposableStack": (
        "const log = []; const s = new AsyncDisposableStack(); s.defer(async () => log.push(1)); await s.disposeAsync(); return [log, s.disposed]",
        [[1], True],
    ),
}


@pytest.mark.parametrize("case", WORKS)
def test_a_listed_global_works(run: Run, case: str) -> None:
    code, expected = WORKS[case]
    assert repr(run(code)) == repr(expected)


def test_polyfilled_globals_look_like_builtins(run: Run) -> None:
    code = """
    const names = ['URL', 'URLSearchParams', 'TextEncoder', 'TextDecoder', 'structuredClone', 'atob', 'btoa'];
    return names.map(name => [typeof globalThis[name], globalThis[name].name, Object.isFrozen(globalThis[name]), globalThis[name] === globalThis[name]]);
    """
    names = ["URL", "URLSearchParams", "TextEncoder", "TextDecoder", "structuredClone", "atob", "btoa"]
    assert run(code) == [["function", name, True, True] for name in names]


def test_long_inputs_of_polyfills_take_no_time_worth_mentioning(executor: SnippetExecutor) -> None:
    code = """
    const text = 'ab€😀'.repeat(50000);
    const ok = [new TextDecoder().decode(new TextEncoder().encode(text)) === text, atob(btoa('x'.repeat(200000))).length === 200000];
    ok.push(structuredClone(Array.from({ length: 20000 }, (_, i) => ({ i }))).length === 20000);
    ok.push(new URL('http://a/' + 'x/'.repeat(5000)).pathname.length === 10001, new URLSearchParams('a=1&'.repeat(5000)).size === 5000);
    return ok;
    """
    result = executor.execute(code, timeout=20).check()
    assert result.value == [True] * 5


def test_the_clock_is_right(run: Run) -> None:
    import time

    before = time.time() * 1000
    assert before - 5 <= run("return Date.now()") <= time.time() * 1000 + 5
