"""The command line: `python -m workbench COMMAND`."""

from workbench.cli import main
from workbench.commands import (
    bench,
    check,
    decode,
    encode,
    evaluate,
    export,
    fetch,
    index,
    models,
    pack,
    probe,
    reconstruct,
    stats,
)

COMMANDS = {
    "reconstruct": reconstruct.COMMAND,
    "models": models.COMMAND,
    "check": check.COMMAND,
    "bench": bench.COMMAND,
    "evaluate": evaluate.COMMAND,
    "probe": probe.COMMAND,
    "fetch": fetch.COMMAND,
    "stats": stats.COMMAND,
    "encode": encode.COMMAND,
    "decode": decode.COMMAND,
    "index": index.COMMAND,
    "pack": pack.COMMAND,
    "export": export.COMMAND,
}

if __name__ == "__main__":
    main("python -m workbench", COMMANDS)
