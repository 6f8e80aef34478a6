"""docs/background.md says what the code does."""

from __future__ import annotations

import ast
import re

import pytest

import settings_table
from dermald.django.background.limits import limits_of
from dermald.django.background.models import StoredPrediction
from dermald.django.conf import DaemonSettings

PAGE = (settings_table.PAGE.parent / "background.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("body", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_python_is_python(body: str) -> None:
    ast.parse(body)


def test_limits_are_those_of_the_code() -> None:
    section = PAGE.partition("## Limits of time")[2]
    told = re.findall(r"^\| [^|]+ \| ([\d.]+) \| (\d+) s \|$", section, re.MULTILINE)
    limits = limits_of(DaemonSettings())
    parts = (limits.call, limits.soft, limits.hard, limits.over, limits.longest_pause)
    assert [float(seconds) for _, seconds in told] == list(parts)
    assert [float(share) * limits.soft for share, _ in told] == list(parts)
    assert f"{limits.longest_held(1):g} s\nwith a multiplier of 1" in section


def test_what_a_row_tells_is_there() -> None:
    (table,) = re.findall(r"\| of a `StoredPrediction` .*?\n\n", PAGE, re.DOTALL)
    names = re.findall(r"`(\w+)(?:\(\))?`", "".join(re.findall(r"^\|([^|]+)\|", table, re.M)))
    assert names[1:] == [
        "state", "sentence", "ahead", "attempts", "result", "answer", "overlay", "code", "as_dict",
    ]  # fmt: skip
    fields = {field.name for field in StoredPrediction._meta.get_fields()}
    assert all(name in fields or hasattr(StoredPrediction, name) for name in names[1:])
