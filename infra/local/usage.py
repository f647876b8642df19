"""What a process and its children use: CPU time and memory, as the kernel accounts for them."""

import psutil

from infra.system import Usage


def usage_of(pid: int) -> Usage:
    """A process and everything below it; PostgreSQL's work is done by children.

    Memory is PSS: a page that processes share counts in shares.
    """
    cpu_seconds, pss_bytes = 0.0, 0
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        try:
            times = process.cpu_times()
            memory = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        # What ended children used is in their parent's account, so that nothing is lost when one ends.
        cpu_seconds += times.user + times.system
        if process.pid == pid:
            cpu_seconds += times.children_user + times.children_system
        # Only Linux knows PSS.
        pss_bytes += getattr(memory, "pss", memory.rss)
    return Usage(cpu_seconds, pss_bytes)
