"""Dotted, typed overrides of frozen dataclasses, and errors that name the flag."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from workbench.config import check_choice, check_range, check_ranges, from_dict, override, setting, settings_of, to_dict
from workbench.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    size: int | None = setting(None, "a size")
    factor: float = setting(0.5, "a factor")

    def __post_init__(self):
        check_range("inner.factor", self.factor, 0, 1)


@dataclass(frozen=True)
class Outer:
    name: str = setting("x", "a name")
    buckets: dict[str, dict[int, tuple[float, int]]] = setting({}, "buckets")
    inner: Inner = Inner()
    on: bool = setting(False, "a switch")


def test_overrides_are_dotted_typed_and_leave_the_original_alone():
    config = override(Outer(), {"inner.size": "64", "inner.factor": 1, "on": "True", "buckets": {"a": {"8": [1, 2]}}})
    assert config == Outer(inner=Inner(64, 1.0), on=True, buckets={"a": {8: (1.0, 2)}})
    assert Outer() == Outer(inner=Inner(None, 0.5))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"inner.sise": 1}, r"setting inner\.sise; did you mean inner\.size"),
        ({"inner.size": "many"}, r"`inner\.size`"),
        ({"inner.factor": 2}, r"`inner\.factor`: 2.* between 0 and 1"),
        ({"inner.factor": float("nan")}, r"`inner\.factor`"),
        ({"on": "perhaps"}, "`on`"),
        ({"inner": 3}, r"unknown setting inner; did you mean inner\.size"),
    ],
)
def test_wrong_overrides_name_the_setting(overrides, message):
    with pytest.raises(ConfigError, match=message):
        override(Outer(), overrides)


def test_plain_values_go_to_json_and_back():
    config = Outer(buckets={"256px": {32: (1.0, 2)}}, inner=Inner(3))
    assert from_dict(Outer, to_dict(config)) == config
    with pytest.raises(ConfigError, match=r"inner\.color"):
        from_dict(Outer, {"inner": {"color": 1}})


def test_settings_are_listed_with_their_help():
    leaves = settings_of(Outer())
    assert list(leaves) == ["name", "buckets", "inner.size", "inner.factor", "on"]
    assert leaves["inner.size"].help == "a size"


def test_choices_suggest_the_nearest():
    with pytest.raises(ConfigError, match="did you mean hinge"):
        check_choice("loss", "hing", ["hinge", "vanilla"])


def test_ranges_of_several_fields_name_the_field_and_its_group_and_leave_none_alone():
    some = SimpleNamespace(low=1, high=5, unset=None)
    check_ranges(some, "group", low=0, high=(0, 5), unset=1)
    with pytest.raises(ConfigError, match=r"`group\.high`: 5 is out of range, it must be between 0 and 4"):
        check_ranges(some, "group", low=0, high=(0, 4))
    with pytest.raises(ConfigError, match="`low`: 1 is out of range, it must be at least 2"):
        check_ranges(some, low=2)
