"""The command line in a process that is killed in the middle of its work, always at the same place."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

_PROGRAM = """
import os, signal, sys
from pathlib import Path

place, count = sys.argv.pop(1), int(sys.argv.pop(1))

def watch(event, arguments):
    global count
    if event == "os.rename" and Path(os.fsdecode(arguments[1])).match(place):
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
from workbench.__main__ import COMMANDS
from workbench.cli import main
main("workbench", COMMANDS)
"""


def run_until_killed(words: list[str], place: str, count: int) -> None:
    """`python -m workbench WORDS` here, up to the moment when one file more than `count` is to take its name at this
    place, a pattern of paths: it is written by then, under a hidden name. Another process could kill too late."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _PROGRAM, place, str(count), *words], env=environment, timeout=600)
    assert done.returncode == -signal.SIGKILL
