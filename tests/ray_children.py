"""The processes of a cluster that this process started."""

import psutil


def ray_processes(title: str) -> list[int]:
    """Give those whose title begins so. Other clusters may run on the machine: another test's, or the reader's."""
    return [one.pid for one in psutil.Process().children(recursive=True) if _title(one).startswith(title)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""
