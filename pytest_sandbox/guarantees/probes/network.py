"""Attacks on `network`: every API that the runtimes have, against listeners of ours on this machine. Never a public address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pytest_sandbox.guarantees.attacks import attack, everywhere
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import got, knock
from pytest_sandbox.guarantees.stage import Attempt, Scene, SceneMaker

__all__ = ["PROBES"]

_CONNECT: Final = """
const { connect } = await need("net");
return await new Promise((resolve, reject) => {
  const socket = connect(P.port ? { host: P.host, port: P.port } : { path: P.path });
  socket.on("connect", () => { socket.write("hello"); socket.end(); resolve("connected"); });
  socket.on("error", reject);
});
"""
_ABSTRACT: Final = _CONNECT.replace("{ path: P.path }", r"{ path: `\0${P.path}` }")


def _probe(
    name: str, title: str, code: str, scene: SceneMaker, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = ""
) -> CodeProbe:
    return attack(f"network.{name}", title, code, scene, runtimes=runtimes, vantages=everywhere(runtimes), mechanism=mechanism)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listening() -> SceneMaker:
    """A port of this machine: the attack got through when it told that it listens there, and this machine can see that."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        with canaries.beacon() as beacon:
            # What listens connects to us from its own port through the host's loopback device: so the host sees where it is.
            yield Scene({**beacon.params, "own": _free_port()}, lambda _attempt: canaries.look(beacon))

    return make


def _resolves(transport: str) -> SceneMaker:
    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        with canaries.beacon("udp") as beacon:
            params = {**beacon.params, "name": f"{canaries.fresh(transport)}.test"}

            def look(_attempt: Attempt) -> tuple[bool, str]:
                return canaries.look(beacon)

            yield Scene(params, look)

    return make


PROBES: tuple[Probe, ...] = (
    _probe("tcp-loopback", "connect by TCP to the loopback address", _CONNECT, knock()),
    _probe("tcp-loopback6", "connect by TCP to the loopback address of IPv6", _CONNECT, knock("tcp", "loopback6")),
    _probe("tcp-host", "connect by TCP to the host's own address", _CONNECT, knock("tcp", "host")),
    _probe("tcp-bridge", "connect by TCP to the address of a bridge to containers", _CONNECT, knock("tcp", "bridge")),
    _probe("unix-socket", "connect to a unix socket", _CONNECT, knock("unix")),
    _probe("abstract-socket", "connect to an abstract unix socket", _ABSTRACT, knock("abstract"), runtimes=("node",)),
    _probe(
        "udp",
        "send a datagram by UDP",
        """
        const socket = (await need("dgram")).createSocket("udp4");
        return await new Promise((resolve, reject) => {
          socket.on("error", reject);
          socket.send("hello", P.port, P.host, (error) => { socket.close(); if (error) reject(error); else resolve("sent"); });
        });
        """,
        knock("udp"),
    ),
    _probe(
        "udp-bridge",
        "send a datagram by UDP to the address of a bridge to containers",
        """
        const socket = (await need("dgram")).createSocket("udp4");
        return await new Promise((resolve, reject) => {
          socket.on("error", reject);
          socket.send("hello", P.port, P.host, (error) => { socket.close(); if (error) reject(error); else resolve("sent"); });
        });
        """,
        knock("udp", "bridge"),
        mechanism="udp",
    ),
    _probe(
        "dns-resolver",
        "ask a name server of its own choice",
        """
        const { Resolver } = (await need("dns")).promises;
        const resolver = new Resolver({ timeout: 200, tries: 1 });
        resolver.setServers([`${P.host}:${P.port}`]);
        return await resolver.resolve4(P.name);
        """,
        _resolves("resolver"),
    ),
    _probe(
        "http-module",
        "request over HTTP by the module http",
        """
        const http = await need("http");
        return await new Promise((resolve, reject) => {
          http.get({ host: P.host, port: P.port, path: "/" }, (answer) => { answer.resume(); resolve(answer.statusCode); }).on("error", reject);
        });
        """,
        knock(),
    ),
    _probe("fetch", "request over HTTP by fetch", "return (await fetch(`http://${P.host}:${P.port}/`)).status;", knock()),
    _probe(
        "fetch-found",
        "request over HTTP by a fetch that is conjured up from the runtime's own realm",
        "return (await conjure('fetch')(`http://${P.host}:${P.port}/`)).status;",
        knock(),
        mechanism="fetch",
    ),
    _probe(
        "websocket",
        "open a WebSocket",
        """
        const socket = new (first(() => WebSocket, () => conjure("WebSocket")))(`ws://${P.host}:${P.port}/`);
        return await new Promise((resolve, reject) => { socket.onopen = () => resolve("open"); socket.onerror = () => reject(new Error("closed")); });
        """,
        knock(),
    ),
    _probe(
        "http2",
        "connect by HTTP/2",
        """
        const session = (await need("http2")).connect(`http://${P.host}:${P.port}`);
        return await new Promise((resolve, reject) => {
          session.on("connect", () => { session.destroy(); resolve("connected"); });
          session.on("error", reject);
        });
        """,
        knock(),
    ),
    _probe(
        "tls",
        "begin a TLS handshake",
        """
        const socket = (await need("tls")).connect({ host: P.host, port: P.port, rejectUnauthorized: false });
        return await new Promise((resolve, reject) => { socket.on("secureConnect", resolve); socket.on("error", reject); socket.on("close", resolve); });
        """,
        knock(),
    ),
    _probe(
        "https-module",
        "request over HTTPS by the module https",
        """
        const https = await need("https");
        return await new Promise((resolve, reject) => {
          https.get({ host: P.host, port: P.port, rejectUnauthorized: false }, resolve).on("error", reject);
        });
        """,
        knock(),
        mechanism="tls",
    ),
    _probe(
        "internal-binding",
        "connect by the runtime's own binding, past its modules",
        """
        const { TCP, TCPConnectWrap, constants } = needProcess().binding("tcp_wrap");
        const handle = new TCP(constants.SOCKET);
        const request = new TCPConnectWrap();
        const connected = new Promise((resolve) => { request.oncomplete = (status) => resolve(status); });
        const status = handle.connect(request, P.host, P.port);
        if (status !== 0) throw new Error(`connect gave ${status}`);
        const done = await connected;
        handle.close();
        if (done !== 0) throw new Error(`connect ended with ${done}`);
        return "connected";
        """,
        knock(),
        runtimes=("node",),
    ),
    _probe(
        "worker",
        "connect from a worker",
        """
        const { Worker } = await need("worker_threads");
        const text = `require("node:net").connect(${P.port}, "${P.host}").on("connect", function () { this.end("hello") }).on("error", () => {})`;
        const worker = new Worker(text, { eval: true });
        return await new Promise((resolve, reject) => { worker.on("exit", resolve); worker.on("error", reject); });
        """,
        knock(),
        runtimes=("node",),
    ),
    _probe(
        "eventsource",
        "open an EventSource",
        """
        const source = new (first(() => EventSource, () => conjure("EventSource")))(`http://${P.host}:${P.port}/`);
        await new Promise((resolve) => { source.onerror = resolve; source.onopen = resolve; });
        source.close();
        return "opened";
        """,
        knock(),
        runtimes=("deno",),
    ),
    _probe(
        "listen",
        "listen on a port, and connect from there over the host's loopback device",
        """
        const net = await need("net");
        const server = net.createServer();
        await new Promise((resolve, reject) => { server.on("error", reject); server.listen(P.own, "127.0.0.1", resolve); });
        const bound = server.address().port;
        await new Promise((resolve) => server.close(resolve));
        return await new Promise((resolve, reject) => {
          const socket = net.connect({ host: P.host, port: P.port, localPort: bound });
          socket.on("connect", () => { socket.end("hello"); resolve(bound); });
          socket.on("error", reject);
        });
        """,
        _listening(),
    ),
    _probe(
        "interfaces",
        "see the host's network interfaces",
        """
        const names = Object.entries((await need("os")).networkInterfaces()).filter(([, all]) => all.some((one) => !one.internal)).map(([name]) => name);
        return names.length > 0 && { token: P.token, got: names.join() };
        """,
        got("the names of the host's network interfaces"),
    ),
    _probe(
        "deno-connect",
        "connect by Deno.connect",
        "(await needDeno().connect({ hostname: P.host, port: P.port })).close(); return 'connected';",
        knock(),
        runtimes=("deno",),
    ),
    _probe(
        "deno-unix",
        "connect to a unix socket by Deno.connect",
        "(await needDeno().connect({ transport: 'unix', path: P.path })).close(); return 'connected';",
        knock("unix"),
        runtimes=("deno",),
        mechanism="unix-socket",
    ),
    _probe(
        "deno-datagram",
        "send a datagram by Deno.listenDatagram",
        """
        const socket = needDeno().listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
        await socket.send(new Uint8Array([1]), { transport: "udp", hostname: P.host, port: P.port });
        socket.close();
        return "sent";
        """,
        knock("udp"),
        runtimes=("deno",),
        mechanism="udp",
    ),
    _probe(
        "deno-tls",
        "begin a TLS handshake by Deno.connectTls",
        "(await needDeno().connectTls({ hostname: P.host, port: P.port })).close(); return 'connected';",
        knock(),
        runtimes=("deno",),
        mechanism="tls",
    ),
    _probe(
        "deno-resolve",
        "ask a name server by Deno.resolveDns",
        "return await needDeno().resolveDns(P.name, 'A', { nameServer: { ipAddr: P.host, port: P.port } });",
        _resolves("deno"),
        runtimes=("deno",),
        mechanism="dns-resolver",
    ),
)
