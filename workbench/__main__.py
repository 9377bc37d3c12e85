"""The command line: `python -m workbench COMMAND`."""

from workbench.cli import main
from workbench.commands import bench, evaluate, index, models, reconstruct

COMMANDS = {
    "reconstruct": reconstruct.COMMAND,
    "models": models.COMMAND,
    "bench": bench.COMMAND,
    "evaluate": evaluate.COMMAND,
    "index": index.COMMAND,
}

if __name__ == "__main__":
    main("python -m workbench", COMMANDS)
