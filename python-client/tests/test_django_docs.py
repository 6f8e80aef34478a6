"""docs/django.md says what the code does."""

from __future__ import annotations

import ast
import re

import pytest

import settings_table
from dermald.django import checks
from dermald.django.management.commands.dermald import Command

PAGE = settings_table.PAGE.read_text(encoding="utf-8")


def test_settings_are_those_of_the_code() -> None:
    assert settings_table.with_table(PAGE) == PAGE, "run python tools/settings_table.py"


def test_every_check_is_listed() -> None:
    assert checks.__doc__ is not None
    known = re.findall(r"\b[EW]\d{3}\b", checks.__doc__)
    assert re.findall(r"`dermald\.([EW]\d{3})`", PAGE) == sorted(known)


def test_every_command_is_listed() -> None:
    parser = Command().create_parser("manage.py", "dermald")
    actions = next(action for action in parser._actions if action.dest == "action")
    assert actions.choices is not None
    section = PAGE.partition("## Commands")[2].partition("## ")[0]
    assert re.findall(r"^\| `(\w+)", section, re.MULTILINE)[1:] == list(actions.choices)


@pytest.mark.parametrize("body", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_python_is_python(body: str) -> None:
    ast.parse(body)
