"""torchvision can be imported beside any build of torch once the shim has been."""

import subprocess
import sys

PROGRAM = """
import importlib
import torch
import workbench.models.torchvision_shim as shim
import torchvision
import lpips
importlib.reload(shim)
print(tuple(torchvision.models.squeezenet1_0().features(torch.zeros(1, 3, 64, 64)).shape))
"""


def test_torchvision_imports_after_the_shim_and_the_shim_again_after_torchvision():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600)
    assert result.stdout.strip() == "(1, 512, 3, 3)", result.stderr
