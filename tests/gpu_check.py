"""Everything that wants a GPU, in one go and within 20 minutes: python tests/gpu_check.py --out gpu_check.json

Runs the tests marked `gpu`, dry runs of training and the benchmarks, each in a process of its own with a time limit,
and keeps what they said in one JSON file, whole after every part. With --device cpu the same at sizes for a CPU.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
WHOLE_S = 20 * 60
LINES_KEPT = 60
"""Of what a part printed, its last lines."""


def parts(device: str, folder: Path, vision: str) -> dict[str, tuple[int, list[str]]]:
    """Seconds at most, and the command, of every part by its name; what is needed most comes first."""
    gpu = device.startswith("cuda")
    bench = ["-m", "workbench", "bench", "--device", device, "--out"]
    shape = ["--frames", "32", "--height", "256", "--width", "256"] if gpu else ["--frames", "4"]
    small = [] if gpu else ["--model", "tiny"]
    chosen = ["-m", "gpu"] if gpu else ["-m", "slow", "tests/test_devices.py"]
    dry = ["train.py", "--dry_run", "True", "--device", device, "--vae_loss_config.perceptual_loss_weight", "0"]
    dry += ["--dataset.data_path", "workbench/examples/examples.csv"] + ([] if gpu else ["--preset", "debug"])
    return {
        "tests": (540, ["-m", "pytest", "-q", *chosen, f"--junitxml={folder}/tests.xml"]),
        "dry run, stage ae": (120, [*dry, "--stage", "ae"]),
        "dry run, stage disc": (120, [*dry, "--stage", "disc", "--model.from_pretrained", "random"]),
        "dry run, alignment": (
            120,
            [*dry, "--latent_loss_config.alignment", "0.5", "--alignment_config.network", vision],
        ),
        "bench": (150, [*bench, f"{folder}/bench.json", *shape, *small]),
        "bench, variants": (150, [*bench, f"{folder}/variants.json", *shape, *small, "--variants", "eager,compile"]),
        "bench, modes": (120, [*bench, f"{folder}/modes.json", *shape, *small, "--modes", "tiles,stages"]),
        "bench, metrics": (60, [*bench, f"{folder}/metrics.json", *shape, "--metrics", "True"]),
    }


def main() -> int:
    """Run all parts; the exit status is the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--device", default="cuda")
    flags = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(flags.device), "parts": {}}
    deadline = time.monotonic() + WHOLE_S
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as networks:
        vision = write_vision(Path(networks) / "model.safetensors", flags.device)
        for name, (limit_s, command) in parts(flags.device, Path(folder), vision).items():
            found = run(command, min(limit_s, deadline - time.monotonic()))
            found |= results(Path(folder))
            record["parts"][name] = found
            flags.out.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{name}: {found['outcome']} in {found['seconds']:.0f} s", flush=True)
    return sum(part["outcome"] != "done" for part in record["parts"].values())


def write_vision(path: Path, device: str) -> str:
    """A file of a DINOv2 with random weights, base on a GPU and small on a CPU: for what it costs, not what it says."""
    from safetensors.torch import save_file

    from workbench.vision.load import vision_layers

    save_file(vision_layers("dinov2_vitb14" if device.startswith("cuda") else "dinov2_vits14")().state_dict(), path)
    return str(path)


def machine(device: str) -> dict[str, Any]:
    """What figures depend on."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else None
    return {"gpu": gpu, "cpu": platform.processor(), "cores": os.cpu_count(), "torch": torch.__version__}


def run(command: list[str], limit_s: float) -> dict[str, Any]:
    """A Python command from the repository's root: how it ended, its time and its last lines."""
    if limit_s <= 0:
        return {"outcome": "no time left", "seconds": 0.0, "command": command, "lines": []}
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
        outcome = "done" if process.returncode == 0 else f"exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        outcome = f"not done in {limit_s:.0f} s"
    lines = said.splitlines()[-LINES_KEPT:]
    return {"outcome": outcome, "seconds": time.monotonic() - begin, "command": command, "lines": lines}


def results(folder: Path) -> dict[str, Any]:
    """What a part left in the folder, which is empty afterwards: tests by outcome, or a benchmark's own record."""
    found: dict[str, Any] = {}
    for path in folder.iterdir():
        if path.suffix == ".xml":
            found["tests"] = [tested(case) for case in ElementTree.parse(path).iter("testcase")]
        else:
            found["record"] = json.loads(path.read_text())
        path.unlink()
    return found


def tested(case: ElementTree.Element) -> dict[str, Any]:
    """One test: its name, seconds, outcome, and why where it did not pass."""
    problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    outcome = "passed" if problem is None else problem.tag
    why = {} if problem is None else {"why": (problem.get("message") or "")[:500]}
    return {"name": case.get("name"), "seconds": float(case.get("time", 0)), "outcome": outcome, **why}


if __name__ == "__main__":
    sys.exit(main())
