"""What is measured from outside counts everything that a process makes the machine spend on it."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from pytest_sandbox.processes.usage import Meter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of page tables")

# Memory that is only read is one page for all of it, and yet each two MiB of addresses need a page table of their own.
READER = """
import mmap, sys
memory = mmap.mmap(-1, 16 << 30, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
print("mapped", flush=True)
sys.stdin.readline()
for at in range(0, len(memory), 2 << 20):
    memory[at]
print("read", flush=True)
sys.stdin.readline()
"""


def test_page_tables_are_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        meter, process = Meter(reader.pid), psutil.Process(reader.pid)
        assert reader.stdout.readline() == "mapped\n"
        before, resident_before = meter.sample(), process.memory_info().rss
        print(file=reader.stdin, flush=True)
        assert reader.stdout.readline() == "read\n"
        after, resident_after = meter.sample(), process.memory_info().rss
        reader.stdin.close()
    assert before is not None and after is not None
    tables = 16 * 512 * 4096  # a page for each two MiB
    assert after.memory - before.memory > tables * 0.9
    assert resident_after - resident_before < tables / 4, "resident memory alone would have told"
