"""Streams: whole or in pieces, before or after, capped or lossless, and never a deadlock."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_sandbox.commands import CommandExecutor
from pytest_sandbox.commands.records import Excerpt
from pytest_sandbox.errors import CommandNotStarted, InvalidArgument, ProcessStateError

MakeNative = Callable[..., CommandExecutor]

MIB = 1 << 20


def both(size: int, extra: str = "") -> str:
    """A command that writes as much to both streams at once."""
    return f"sh -c 'head -c {size} /dev/zero & head -c {size} /dev/zero >&2 & {extra} wait'"


@pytest.mark.parametrize("before", [True, False])
def test_streams_may_be_taken_before_or_after_the_start(make_native: MakeNative, before: bool) -> None:
    with make_native().exec("sh -c 'echo out; echo err >&2'") as process:
        if before:
            out, err = process.stdout_stream(), process.stderr_stream()
        process.start()
        if not before:
            out, err = process.stdout_stream(), process.stderr_stream()
        assert out.read() == b"out\n"
        assert err.read_text() == "err\n"
        assert process.wait(30) == 0
        assert out.read() == err.read() == out.read(5) == b""


def test_nothing_is_lost_when_wait_comes_first(make_native: MakeNative) -> None:
    with make_native().exec(both(5_000_000)) as process:
        process.start()
        assert process.wait(60) == 0
        assert len(process.stdout_stream().read()) == len(process.stderr_stream().read()) == 5_000_000


def test_what_was_printed_can_be_read_while_the_process_runs(make_native: MakeNative) -> None:
    with make_native().exec("cat") as process:
        out = process.stdout_stream()
        process.start()
        for text in (b"one", b"two"):
            process.write_stdin(text)
            got = b""
            while len(got) < 3:
                got += out.read(100)
            assert got == text
        assert process.poll() is None
        process.write_stdin("")
        assert out.read() == b""
        assert process.wait(30) == 0


def test_reading_in_pieces_gives_every_byte_in_order(make_native: MakeNative, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 17)
    (tmp_path / "data").write_bytes(data)
    for size in (1, 7, 1000, 65536, 10 * MIB):
        with make_native().exec("head -c 60000 data" if size < 1000 else "cat data") as process:
            out = process.stdout_stream()
            process.start()
            pieces = []
            while piece := out.read(size):
                assert len(piece) <= size
                pieces.append(piece)
            assert b"".join(pieces) == (data[:60000] if size < 1000 else data)


def test_iterating_gives_pieces_and_lines_gives_lines(make_native: MakeNative) -> None:
    line = r"printf 'a\nb\r\n\nlast'"
    with make_native().exec(line) as process:
        out = process.stdout_stream()
        process.start()
        assert b"".join(out) == b"a\nb\r\n\nlast"
    with make_native().exec(line) as process:
        out = process.stdout_stream()
        process.start()
        assert list(out.lines()) == [b"a\n", b"b\r\n", b"\n", b"last"]


def test_a_line_without_an_end_comes_in_pieces(make_native: MakeNative) -> None:
    with make_native().exec("head -c 5000000 /dev/zero") as process:
        out = process.stdout_stream()
        process.start()
        pieces = list(out.lines())
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= 2 * MIB


@pytest.mark.parametrize("size", [-2, 1.5, "1", None, True])
def test_a_size_that_makes_no_sense_is_an_error(make_native: MakeNative, size: Any) -> None:
    with make_native().exec("true") as process:
        process.start()
        with pytest.raises(InvalidArgument, match="size"):
            process.stdout_stream().read(size)


def test_reading_nothing_returns_at_once(make_native: MakeNative) -> None:
    with make_native().exec("cat") as process:
        process.start()
        assert process.stdout_stream().read(0) == b""


def test_a_closed_stream_is_an_error_and_the_process_runs_on(make_native: MakeNative, tmp_path: Path) -> None:
    with make_native().exec("sh -c 'head -c 20000000 /dev/zero; touch done'") as process:
        out = process.stdout_stream()
        process.start()
        assert out.read(1) == b"\0"
        out.close()
        out.close()
        with pytest.raises(ProcessStateError, match=r"Cannot read stdout: .* this stream is closed"):
            out.read(1)
        assert process.wait(30) == 0
        assert out.total == 20_000_000
        assert not out.truncated
    assert (tmp_path / "done").exists()


def test_a_reader_that_waits_is_woken_when_the_process_is_closed(make_native: MakeNative) -> None:
    process = make_native().exec("sleep 1000")
    out = process.stdout_stream()
    process.start()
    errors: list[BaseException] = []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        try:
            while out.read(10):
                pass
        except ProcessStateError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    reading.wait(10)
    process.close(force=True)
    thread.join(10)
    assert not thread.is_alive()


# -- caps ----------------------------------------------------------------------------------------------------------


def test_output_is_capped_with_byte_counts_and_the_process_runs_to_its_end(make_native: MakeNative, tmp_path: Path) -> None:
    result = make_native().run(both(12_000_000, "touch here;")).check()
    assert len(result.stdout_bytes) == len(result.stderr_bytes) == 10_000_000
    assert (result.stdout_size, result.stderr_size) == (12_000_000, 12_000_000)
    assert result.truncated
    assert (tmp_path / "here").exists()


def test_what_fits_exactly_is_not_truncated(make_native: MakeNative) -> None:
    fits = make_native(output_limit=1000).run("head -c 1000 /dev/zero")
    assert (len(fits.stdout_bytes), fits.truncated) == (1000, False)
    over = make_native(output_limit=1000).run("head -c 1001 /dev/zero")
    assert (len(over.stdout_bytes), over.stdout_size, over.truncated) == (1000, 1001, True)
    none = make_native(output_limit=0).run("echo x")
    assert (none.stdout, none.stdout_size, none.truncated) == ("", 2, True)


def test_the_first_bytes_are_the_ones_that_are_kept(make_native: MakeNative) -> None:
    assert make_native(output_limit=10).run("seq 1000").stdout == "1\n2\n3\n4\n5\n"


def test_wait_and_read_of_everything_keep_the_limit_too(make_native: MakeNative) -> None:
    for wait_first in (True, False):
        with make_native(output_limit=100_000).exec("head -c 30000000 /dev/zero") as process:
            out = process.stdout_stream()
            process.start()
            if wait_first:
                process.wait(60)
            data = out.read()
            assert process.wait(60) == 0
            assert out.total == 30_000_000
            assert out.truncated
            # What was there before anybody waited is not taken away again.
            assert 100_000 <= len(data) < 300_000
            assert out.dropped == 30_000_000 - len(data)


def test_a_process_that_nobody_reads_or_waits_for_runs_on(make_native: MakeNative, tmp_path: Path) -> None:
    with make_native(output_limit=1000).exec("sh -c 'head -c 20000000 /dev/zero; touch done; sleep 1000'") as process:
        process.start()
        end = time.monotonic() + 30
        while not (tmp_path / "done").exists():
            assert time.monotonic() < end, "the process is stuck in its output"
            time.sleep(0.01)
        assert process.stdout_stream().read(5000) == b"\0" * 1000


def test_a_slow_reader_of_a_stream_taken_before_the_start_loses_nothing(make_native: MakeNative) -> None:
    size = 30_000_000
    with make_native(output_limit=1000).exec(f"sh -c 'seq 10000000 | head -c {size}'") as process:
        out = process.stdout_stream()
        process.start()
        time.sleep(0.3)  # not a synchronisation: a reader that is late
        digest = hashlib.sha256()
        total = 0
        while piece := out.read(200_000):
            digest.update(piece)
            total += len(piece)
        assert process.wait(30) == 0
    assert (total, out.dropped) == (size, 0)
    wanted = hashlib.sha256("".join(f"{n}\n" for n in range(1, 4_000_000)).encode()[:size]).hexdigest()
    assert digest.hexdigest() == wanted


def test_waiting_in_one_thread_loses_nothing_of_what_another_reads(make_native: MakeNative) -> None:
    size = 60_000_000
    with make_native(output_limit=1000).exec(f"head -c {size} /dev/zero") as process:
        out = process.stdout_stream()
        got = []
        begun = threading.Event()

        def read() -> None:
            while piece := out.read(100_000):
                got.append(len(piece))
                begun.set()
                if len(got) % 50 == 0:
                    time.sleep(0.005)  # slower than the process writes

        process.start()
        thread = threading.Thread(target=read)
        thread.start()
        begun.wait(30)
        assert process.wait(60) == 0
        thread.join(60)
    assert sum(got) == size


# -- no deadlock ---------------------------------------------------------------------------------------------------


def test_100_mb_on_both_streams_while_input_is_written(make_native: MakeNative) -> None:
    line = both(100_000_000, "wc -c;")
    result = make_native().run(line, stdin=b"x" * 100_000_000).check()
    assert result.stdout_size == 100_000_000 + len("100000000\n")
    assert result.stderr_size == 100_000_000


def test_100_mb_with_one_thread_that_writes_and_then_reads(make_native: MakeNative) -> None:
    with make_native().exec("sh -c 'tee /dev/stderr'") as process:
        out, err = process.stdout_stream(), process.stderr_stream()
        process.start()
        process.write_stdin(b"x" * 100_000_000)
        process.write_stdin("")
        assert process.wait(60) == 0
        assert (out.total, err.total) == (100_000_000, 100_000_000)
        assert len(out.read()) >= 10_000_000
        assert len(err.read()) >= 10_000_000


def test_100_mb_read_to_the_end_one_stream_after_the_other(make_native: MakeNative) -> None:
    with make_native().exec(both(100_000_000)) as process:
        out = process.stdout_stream()
        process.start()
        assert sum(map(len, out)) == 100_000_000
        assert process.stderr_stream().total == 100_000_000
        assert process.wait(60) == 0


def test_100_mb_with_one_thread_that_took_both_streams_and_reads_one_in_pieces(make_native: MakeNative) -> None:
    with make_native().exec(both(100_000_000)) as process:
        out, err = process.stdout_stream(), process.stderr_stream()
        process.start()
        assert sum(map(len, out)) == 100_000_000
        assert len(err.read()) >= 10_000_000
        assert process.wait(60) == 0


def test_100_mb_on_both_streams_with_a_reader_each_lose_nothing(make_native: MakeNative) -> None:
    with make_native().exec(both(100_000_000)) as process:
        streams = [process.stdout_stream(), process.stderr_stream()]
        totals = [0, 0]

        def read(index: int) -> None:
            for piece in streams[index]:
                totals[index] += len(piece)

        threads = [threading.Thread(target=read, args=(index,)) for index in (0, 1)]
        process.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert process.wait(60) == 0
    assert totals == [100_000_000, 100_000_000]


def test_memory_stays_flat_while_1_gb_is_streamed(make_native: MakeNative) -> None:
    me = psutil.Process()
    with make_native().exec("head -c 1000000000 /dev/zero") as process:
        out = process.stdout_stream()
        process.start()
        total, most = 0, 0
        start = me.memory_info().rss
        while piece := out.read(MIB):
            total += len(piece)
            most = max(most, me.memory_info().rss)
        assert process.wait(30) == 0
    assert total == 1_000_000_000
    assert most - start < 40 * MIB


# -- standard input ------------------------------------------------------------------------------------------------


def test_an_empty_write_signals_the_end_of_input(make_native: MakeNative) -> None:
    for empty in ("", b"", bytearray(), memoryview(b"")):
        with make_native().exec("wc -c") as process:
            out = process.stdout_stream()
            process.start()
            process.write_stdin("grüß")
            process.write_stdin(bytearray(b"\0"))
            process.write_stdin(empty)
            process.write_stdin(empty)
            assert out.read_text().strip() == "7"
            if process.poll() is None:
                with pytest.raises(ProcessStateError, match=r"has (had the end of its input|exited)"):
                    process.write_stdin("more")


@pytest.mark.parametrize("data", [None, 7, ["x"], object()])
def test_input_of_the_wrong_type_is_an_error(make_native: MakeNative, data: Any) -> None:
    with make_native().exec("cat") as process:
        process.start()
        with pytest.raises(InvalidArgument, match="data"):
            process.write_stdin(data)


def test_input_that_the_program_refuses_is_a_typed_error(make_native: MakeNative) -> None:
    with make_native().exec("sh -c 'exec <&-; echo closed; sleep 1000'") as process:
        out = process.stdout_stream()
        process.start()
        assert out.read(100) == b"closed\n"
        with pytest.raises(ProcessStateError, match="does not read its input any more"):
            process.write_stdin("x")


def test_a_writer_that_waits_is_woken_when_the_process_ends(make_native: MakeNative) -> None:
    with make_native().exec("sleep 0.3") as process:
        process.start()
        with pytest.raises(ProcessStateError, match=r"has exited|does not read"):
            process.write_stdin(b"x" * 10_000_000)


def test_a_writer_that_waits_is_woken_when_the_process_is_closed(make_native: MakeNative) -> None:
    process = make_native().exec("sh -c 'echo ready; sleep 1000'")
    out = process.stdout_stream()
    process.start()
    assert out.read(100) == b"ready\n"
    caught: list[BaseException] = []
    writing = threading.Event()

    def write() -> None:
        writing.set()
        try:
            process.write_stdin(b"x" * 10_000_000)
        except ProcessStateError as error:
            caught.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait(10)
    process.close(force=True)
    thread.join(10)
    assert not thread.is_alive()
    assert len(caught) == 1


def test_a_reader_that_begins_late_loses_nothing_although_somebody_waits(make_native: MakeNative) -> None:
    size = 30_000_000
    with make_native(output_limit=1000).exec(f"head -c {size} /dev/zero") as process:
        out = process.stdout_stream()
        totals: list[int] = []
        waits = threading.Event()

        def read() -> None:
            waits.wait(10)
            time.sleep(0.3)  # not a synchronisation: a thread that the system lets begin late
            totals.append(sum(map(len, out)))

        thread = threading.Thread(target=read)
        process.start()
        thread.start()
        waits.set()
        assert process.wait(60) == 0
        thread.join(60)
    assert totals == [size]


def test_counts_are_complete_when_wait_returns(make_native: MakeNative) -> None:
    for size in (100, 70_000, 900_000, 3_000_000):
        with make_native(output_limit=1000).exec(both(size)) as process:
            out, err = process.stdout_stream(), process.stderr_stream()
            process.start()
            assert process.wait(60) == 0
            assert (out.total, err.total) == (size, size)


def test_several_threads_write_whole_pieces(make_native: MakeNative) -> None:
    with make_native().exec("sh -c 'sort | uniq -c'") as process:
        out = process.stdout_stream()
        process.start()
        piece = 200_000

        def write(letter: str) -> None:
            process.write_stdin(letter * piece + "\n")

        threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        process.write_stdin("")
        lines = out.read_text().splitlines()
    assert [line.split() for line in lines] == [["1", letter * piece] for letter in "abcd"]


# -- excerpts ------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=9000), max_size=12))
def test_an_excerpt_keeps_head_and_tail_and_counts_the_rest(chunks: list[bytes]) -> None:
    excerpt = Excerpt()
    for chunk in chunks:
        excerpt.add(chunk)
    whole = b"".join(chunks)
    assert excerpt.total == len(whole)
    assert whole.startswith(excerpt.head)
    assert whole.endswith(excerpt.tail)
    assert len(excerpt.head) == min(len(whole), 8192)
    assert len(excerpt.tail) == min(len(whole) - len(excerpt.head), 8192)
    assert excerpt.omitted == len(whole) - len(excerpt.head) - len(excerpt.tail)


@pytest.mark.parametrize("left", range(1, 12))
def test_a_start_that_runs_out_of_descriptors_half_way_leaves_nothing(make_native: MakeNative, tmp_path: Path, left: int) -> None:
    shell = make_native()
    shell.run("true")
    process = shell.exec(f"sh -c 'sleep 1000; : {tmp_path}'")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    fillers = [os.dup(0) for _ in range(300)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1, hard))
    for fd in fillers[-left:]:
        os.close(fd)
    try:
        with contextlib.suppress(CommandNotStarted):
            process.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers[:-left]:
            os.close(fd)
    process.close(force=True)
    # The folder's descriptor is gone with the process.
    assert len(os.listdir("/proc/self/fd")) == used - 1
    assert shell.run("echo again").check().stdout == "again\n"


def test_the_open_file_limit_is_a_typed_error_and_nothing_leaks(make_native: MakeNative) -> None:
    shell = make_native()
    shell.run("true")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = shell.exec("true")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(CommandNotStarted, match="Too many open files"):
            process.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert shell.run("echo again").check().stdout == "again\n"
