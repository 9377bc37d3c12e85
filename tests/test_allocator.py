"""The allocator takes the settings that it is given."""

import subprocess
import sys

import pytest

CODE = """
import ctypes
from workbench import allocator
real, taken = ctypes.CDLL, []
class Libc:
    def __init__(self, name):
        self.mallopt = lambda *values: taken.append(real(name).mallopt(*values))
ctypes.CDLL = Libc
allocator.{function}()
print(taken)
"""


@pytest.mark.parametrize(("function", "options"), [("give_large_blocks_back", 1), ("keep_large_blocks", 3)])
def test_glibc_accepts_every_option(function: str, options: int) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("glibc only")
    run = [sys.executable, "-c", CODE.format(function=function)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == str([1] * options)
