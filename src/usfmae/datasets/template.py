"""File names as publishers write them: one template reads a name into its fields, and writes it back.

`{label}/images/{case}.png` with the field `case: {digits: 3}` reads `Benign/images/007.png` as
label "Benign" and case "007". The same template draws the names of a fake, so a layout that reads wrongly
and one that is faked wrongly are one mistake, seen by every test.
"""

import re
from functools import cached_property
from string import Formatter

from pydantic import Field, model_validator

from usfmae.base.config import Config

ANY_NAME = r"[^/]+?"
"""What a field without a rule matches: part of one folder's or file's name."""


class NameField(Config):
    """What may stand in one place of a file name; exactly one of `digits`, `words` and `pattern`."""

    digits: int | None = Field(default=None, ge=0, le=12)
    """A whole number padded with zeros to this many digits; 0 for any number without padding."""

    words: dict[str, str] | None = None
    """The words that may stand there, and what each means (a class, a side, itself)."""

    pattern: str | None = None
    """Regular expression."""

    fake: str = "x{number:03d}"
    """How a fake writes a `pattern`; may use {number}, {patient} and {label}, counted from 1."""

    @model_validator(mode="after")
    def _one_rule(self) -> "NameField":
        if sum(rule is not None for rule in (self.digits, self.words, self.pattern)) != 1:
            raise ValueError("give one of digits, words and pattern")
        if self.pattern is not None and not re.fullmatch(
            self.pattern, self.fake.format(number=7, patient=3, label=2)
        ):
            raise ValueError(f"the fake '{self.fake}' does not look like the pattern '{self.pattern}'")
        return self

    @property
    def expression(self) -> str:
        """The regular expression of this place."""
        if self.words is not None:
            return "|".join(re.escape(word) for word in sorted(self.words, key=len, reverse=True))
        if self.digits is not None:
            return rf"\d{{{self.digits},}}" if self.digits else r"\d+"
        assert self.pattern is not None
        return self.pattern

    def meaning(self, text: str) -> str:
        """What a word stands for; other texts stand for themselves."""
        return text if self.words is None else self.words[text]

    def number(self, number: int) -> str:
        """A number as this field writes it."""
        return f"{number:0{self.digits or 0}d}"


def names_in(text: str) -> tuple[str, ...]:
    """The {fields} of a text in the order of their first appearance."""
    found = [name for _, name, _, _ in Formatter().parse(text) if name]
    return tuple(dict.fromkeys(found))


class Template:
    """A path below the folder of a dataset, with `{fields}`.

    Args:
        text: with forward slashes.
        fields: rules by name; a field without one matches any part of a name.
    """

    def __init__(self, text: str, fields: dict[str, NameField]) -> None:
        self.text = text
        self.rules = fields

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The fields in the order of their first appearance."""
        return names_in(self.text)

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        seen: set[str] = set()
        parts = []
        for literal, name, _, _ in Formatter().parse(self.text):
            parts.append(re.escape(literal))
            if name and name in seen:
                parts.append(f"(?P={name})")
            elif name:
                rule = self.rules.get(name)
                parts.append(f"(?P<{name}>{rule.expression if rule else ANY_NAME})")
                seen.add(name)
        return re.compile("".join(parts))

    def read(self, path: str) -> dict[str, str] | None:
        """The text of each field of a path that fits, else None."""
        match = self._expression.fullmatch(path)
        return match.groupdict() if match else None

    def write(self, values: dict[str, str]) -> str:
        """The path with its fields filled in; further values are ignored."""
        return self.text.format(**values)

    @property
    def top(self) -> str | None:
        """The first folder, where it is a fixed name."""
        first, slash, _ = self.text.partition("/")
        return first if slash and "{" not in first else None
