"""Settings as frozen dataclasses: dotted, typed overrides and readable errors.

A configuration is a plain frozen dataclass whose fields are documented by `setting(default, "help")`.
Its `__post_init__` checks ranges and raises ConfigError with the setting's name.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_type_hints

from workbench.errors import ConfigError


def setting(default: Any, help: str) -> Any:
    """A documented dataclass field; a list or dict default is copied for every instance."""
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class Setting:
    """One leaf of a configuration: its dotted name, type, default and help text."""

    name: str
    type: Any
    default: Any
    help: str


def settings_of(config: Any, prefix: str = "") -> dict[str, Setting]:
    """All leaves of a configuration instance by dotted name, in order; nested dataclasses are walked."""
    leaves: dict[str, Setting] = {}
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            leaves.update(settings_of(value, name + "."))
        else:
            leaves[name] = Setting(name, hints[field.name], value, field.metadata.get("help", ""))
    return leaves


def check_choice(subject: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ConfigError, with the nearest, unless `value` is one of `choices`; `subject` begins with a setting."""
    choices = list(choices)
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise ConfigError(f"{_marked(subject)}: {value!r} is not one of {', '.join(map(str, choices))}{hint}")


def check_range(subject: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise ConfigError unless low <= value <= high (NaN and infinity are outside); `subject` begins with a setting."""
    if not low <= value <= high or math.isinf(value):
        bounds = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise ConfigError(f"{_marked(subject)}: {value} is out of range, it must be {bounds}")


def check_ranges(config: Any, group: str = "", **bounds: float | tuple[float, float]) -> None:
    """`check_range` of fields of a configuration, each with its lowest, or lowest and highest, value; None is fine.

    Args:
        group: the setting that holds the configuration, if one does.
    """
    for name, bound in bounds.items():
        low, high = bound if isinstance(bound, tuple) else (bound, math.inf)
        value = getattr(config, name)
        if value is not None:
            check_range(f"{group}.{name}" if group else name, value, low, high)


def _marked(subject: str) -> str:
    """Its first word, a setting, in the backticks by which front ends know settings (see `workbench.errors`)."""
    name, *rest = subject.split(" ", 1)
    return " ".join([f"`{name}`", *rest])


def did_you_mean(word: str, known: Iterable[Any]) -> str:
    """'; did you mean X?' for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested plain values that JSON can hold; `from_dict` reads it back."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(config)).dump_python(config, mode="json")


def from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    """Build a configuration from nested plain values.

    Raises:
        ConfigError: a name is unknown, or a value does not have its field's type or range.
    """
    from pydantic import TypeAdapter, ValidationError  # a help text and a slip of the hand need none of it

    _check_names(cls, values, "")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        flag = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
        raise ConfigError(f"`{flag}`: {first['msg']} (got {first['input']!r})") from None


def override(config: Any, overrides: Mapping[str, Any]) -> Any:
    """A copy of `config` with dotted settings replaced, as in {"model.spatial_tile_size": 128}.

    Raises:
        ConfigError: a name is unknown (the nearest known one is named), or a value has the wrong type or range.
    """
    if not overrides:
        return config
    known = settings_of(config)
    nested = _as_nested(config)
    for name, value in overrides.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name}{did_you_mean(name, known)}")
        if isinstance(value, bool) and not _takes_bool(known[name].type):
            raise ConfigError(f"`{name}`: {value} is not a value of it; it takes {known[name].type}")
        *parents, leaf = name.split(".")
        target = nested
        for parent in parents:
            target = target[parent]
        target[leaf] = value
    return from_dict(type(config), nested)


def to_json(config: Any) -> str:
    """A configuration as indented JSON text."""
    return json.dumps(to_dict(config), indent=2)


def _takes_bool(kind: Any) -> bool:
    return kind in (bool, Any) or bool in get_args(kind)


def _as_nested(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: _as_nested(value) if dataclasses.is_dataclass(value) else value for name, value in values.items()}


def _check_names(cls: type, values: Mapping[str, Any], prefix: str) -> None:
    hints = get_type_hints(cls)
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"unknown setting {prefix}{name}{did_you_mean(name, hints)}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            _check_names(hints[name], value, f"{prefix}{name}.")
