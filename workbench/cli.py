"""Strict command lines over python-fire: every flag is checked before any work starts.

python-fire alone runs the function before it notices a typo, takes a bare flag for True and loses `--help` where the
function accepts any name. Here the flags are the dotted settings of a frozen dataclass (see `workbench.config`).
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, get_args

from workbench.config import Setting, did_you_mean, override, settings_of
from workbench.errors import ConfigError, WorkbenchError, worded


@dataclass(frozen=True)
class Command:
    """A command: `run(config, *words)`, where words are the positional arguments.

    Attributes:
        summary: one line for the overview.
        config: the configuration with its defaults; its settings are the flags.
        words: name of the positional arguments in the help, "" for none.
        aliases: short flags for dotted ones, such as {"model": "model.name"}.
        base: picks another starting configuration from the flags given (a preset), before they are applied.
    """

    summary: str
    config: Any
    run: Callable[..., None]
    words: str = ""
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    base: Callable[[Mapping[str, Any]], Any] | None = None


def main(program: str, commands: Mapping[str, Command] | Command, argv: Sequence[str] | None = None) -> None:
    """Run a command line.

    Exits with 2 on an error that the user can mend, 130 when interrupted, 143 on SIGTERM, and silently with 141 when
    nobody reads the output any more (`| head`): 128 + the signal, as a shell reports it.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        _dispatch(program, commands, argv)
        sys.stdout.flush()  # here, where a closed pipe is caught
    except BrokenPipeError:
        _discard_output()
        sys.exit(141)
    except WorkbenchError as error:
        if not error.told_elsewhere:
            print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that files half-written are removed on the way out."""
    sys.exit(128 + number)


def _discard_output() -> None:
    """What is still buffered goes nowhere: Python would complain of the closed pipe once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def parse(command: Command, argv: Sequence[str]) -> tuple[Any, list[str]]:
    """The configuration and the positional words that a command line gives.

    Raises:
        ConfigError: a flag is unknown, bare or given twice, or its value has the wrong type or range.
    """
    flags, words = _split(command, argv)
    if words and not command.words:
        raise ConfigError(f"unexpected argument {words[0]!r}; settings are written --name value")
    values = _parse_values(flags, settings_of(command.config))
    return override(command.base(values) if command.base else command.config, values), words


def help_text(program: str, command: Command) -> str:
    """What `--help` shows: every flag with its type, default and meaning."""
    words = f" {command.words} ..." if command.words else ""
    shown = {long: short for short, long in command.aliases.items()}
    lines = [command.summary, "", f"usage: {program}{words} [--flag value ...]", "", "flags:"]
    for setting in settings_of(command.config).values():
        name = shown.get(setting.name, setting.name)
        lines.append(f"  --{name} {_type_name(setting.type)} (default {setting.default!r})")
        lines.append(f"      {setting.help}")
    return "\n".join(lines)


def flag_words(message: object, command: Command) -> str:
    """A message, or an error's, with the flags of this command in place of settings."""
    known = settings_of(command.config)
    short = {long: alias for alias, long in command.aliases.items()}

    def call(name: str) -> str | None:
        found = name if name in known else next((long for long in known if long.endswith(f".{name}")), None)
        return found and f"--{short.get(found, found)}"

    return worded(message, call)


def _dispatch(program: str, commands: Mapping[str, Command] | Command, argv: list[str]) -> None:
    if isinstance(commands, Command):
        _run(program, commands, argv)
        return
    if not argv or argv[0] in ("--help", "-h", "help"):
        width = max(map(len, commands))
        rows = [f"  {name:{width}}  {command.summary}" for name, command in commands.items()]
        print("\n".join([f"usage: {program} COMMAND ...", "", *rows, "", f"{program} COMMAND --help tells more."]))
        if not argv:
            sys.exit(2)
        return
    if argv[0] not in commands:
        raise ConfigError(f"unknown command {argv[0]!r}{did_you_mean(argv[0], commands)}; see {program} --help")
    _run(f"{program} {argv[0]}", commands[argv[0]], argv[1:])


def _run(program: str, command: Command, argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(help_text(program, command))
        return
    try:
        config, words = parse(command, argv)
        command.run(config, *words)
    except WorkbenchError as error:
        error.args = (flag_words(error, command),)
        raise


def _split(command: Command, argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Flags as {dotted name: text} and the remaining words."""
    known = settings_of(command.config)
    flags: dict[str, str] = {}
    words: list[str] = []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if not token.startswith("-") or token == "-":
            words.append(token)
            continue
        if not token.startswith("--"):
            raise ConfigError(f"unknown flag {token}; flags begin with --")
        typed, equals, value = token[2:].partition("=")
        name = typed.replace("-", "_")
        name = command.aliases.get(name, name)
        if name not in known:
            raise ConfigError(f"unknown flag {token.partition('=')[0]}{_suggestion(typed, known, command.aliases)}")
        if name in flags:
            raise ConfigError(f"--{typed} is given twice")
        if equals and not value:
            raise ConfigError(f"--{typed}= needs a value, as in --{typed} {_example(known[name])}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"--{typed} needs a value, as in --{typed} {_example(known[name])}")
            value = rest.pop(0)
        flags[name] = value
    return flags, words


def _parse_values(flags: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, Any]:
    """Texts to Python values by python-fire's rules; text settings stay as typed ("007", "1e5")."""
    values: dict[str, Any] = {}
    for name, text in flags.items():
        if text == "None" and type(None) in get_args(known[name].type):
            values[name] = None
        elif _is_text(known[name].type):
            values[name] = text
        else:
            from fire.parser import DefaultParseValue  # asyncio comes with it, which takes as long as all else

            values[name] = DefaultParseValue(text)
    return values


def _is_text(kind: Any) -> bool:
    return kind is str or (str in get_args(kind) and set(get_args(kind)) <= {str, type(None)})


def _suggestion(typed: str, known: Mapping[str, Setting], aliases: Mapping[str, str]) -> str:
    """Did you mean, also where only the prefix of a dotted name was left out."""
    ends = [name for name in known if name.split(".")[-1] == typed.replace("-", "_").split(".")[-1]]
    near = f"; did you mean {ends[0]}?" if ends else did_you_mean(typed.replace("-", "_"), [*known, *aliases])
    return near.replace("mean ", "mean --") or "; see --help"


def _example(setting: Setting) -> str:
    return "True" if setting.type is bool else "VALUE" if setting.default in (None, "") else str(setting.default)


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
