"""The multiplexed stream of the engines' API."""

from __future__ import annotations

import random

import pytest

from pytest_sandbox.engines.frames import FrameDecoder, FrameError


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4) + payload


def decode(pieces: list[bytes]) -> tuple[dict[str, bytes], FrameDecoder]:
    decoder = FrameDecoder()
    streams = {"stdout": b"", "stderr": b""}
    for piece in pieces:
        for name, data in decoder.feed(piece):
            assert data, "an empty piece would look like an end"
            streams[name] += data
    return streams, decoder


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_through_the_stream_gives_the_same_bytes(seed: int) -> None:
    chance = random.Random(seed)
    frames = [(chance.choice((0, 1, 2)), chance.randbytes(chance.choice((0, 1, 7, 8, 9, 300)))) for _ in range(50)]
    data = b"".join(frame(*each) for each in frames)
    pieces, rest = [], data
    while rest:
        size = chance.choice((1, 2, 7, 8, 9, 64, 1000))
        pieces.append(rest[:size])
        rest = rest[size:]
    streams, decoder = decode(pieces)
    assert streams["stdout"] == b"".join(payload for stream, payload in frames if stream != 2)
    assert streams["stderr"] == b"".join(payload for stream, payload in frames if stream == 2)
    assert decoder.is_between_frames


def test_a_payload_is_passed_on_before_all_of_it_is_there() -> None:
    decoder = FrameDecoder()
    head = bytes([1, 0, 0, 0]) + (4_000_000_000).to_bytes(4)
    assert list(decoder.feed(head + b"abcd")) == [("stdout", b"abcd")]
    assert not decoder.is_between_frames


@pytest.mark.parametrize("head", [b"\x03\0\0\0\0\0\0\1", b"\1\1\0\0\0\0\0\1", b"HTTP/1.1"])
def test_an_impossible_header_is_an_error_that_shows_it(head: bytes) -> None:
    with pytest.raises(FrameError, match=head.hex(" ")):
        list(FrameDecoder().feed(head + b"x"))


def test_half_a_header_at_the_end_is_not_clean() -> None:
    _, decoder = decode([frame(1, b"x"), b"\1\0\0"])
    assert not decoder.is_between_frames
