"""Frozen settings, and one knob at a time from the command line.

A config sits beside the code that reads it, refuses nonsense when it is made, and never changes.
`--set optim.lr_per_256=1e-4` makes a new one; a typo is answered with the nearest name.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from usfmae.base.errors import SettingError


class Config(BaseModel):
    """Base of all settings: frozen, unknown names refused, defaults checked too."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )


ConfigT = TypeVar("ConfigT", bound=Config)

QUOTED = re.compile("'([^']*)'")
"""How pydantic lists the words of a Literal: `'none' or 'sector'`."""

UNION_TAG = re.compile("<.*>")
"""What pydantic puts into the place of a mistake to say which kind of config stands there; no setting."""


def with_settings(config: ConfigT, settings: Sequence[str]) -> ConfigT:
    """A copy of `config` with each `a.b=value` of `settings` applied, in order.

    Values are read as YAML scalars, so `1e-4`, `true`, `null` and `[0.4, 1.0]` mean what they look like.

    Raises:
        SettingError: no `=`, an unknown name (the nearest one is named), or a value that does not fit.
    """
    values = config.model_dump()
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise SettingError(f"--set {setting}: has no '='", hint="write --set name=value")
        node: Any = values
        *parents, last = name.strip().split(".")
        for depth, part in enumerate((*parents, last)):
            if not isinstance(node, dict) or part not in node:
                raise _unknown(name, ".".join(name.split(".")[:depth]), part, node, config)
            if depth < len(parents):
                node = node[part]
        if isinstance(node[last], dict):
            raise SettingError(
                f"--set {setting}: {name} is a group of settings", hint=f"set one of: {_listed(node[last])}"
            )
        node[last] = _scalar(text)
    return make_config(type(config), values)


def make_config(kind: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Make a config from plain values, with every mistake named in one message.

    Raises:
        SettingError: a value is missing, unknown or does not fit; where a word is none of the few that may
            stand there, the hint names the nearest of them.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines, hints = [], []
        for problem in error.errors():
            named = (str(part) for part in problem["loc"] if not UNION_TAG.fullmatch(str(part)))
            place = ".".join(named) or kind.__name__
            shown = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r})"
            lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}{shown}")
            words = QUOTED.findall(problem["ctx"]["expected"]) if problem["type"] == "literal_error" else []
            if words:
                hints.append((place, nearest(str(problem["input"]), words)))
        alone = len(hints) == 1
        hint = "; ".join(words if alone else f"{place}: {words}" for place, words in hints)
        raise SettingError("; ".join(lines), hint=hint) from error


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a mistyped name: the nearest known one, or the list of all."""
    close = _closest(name, known)
    return f"did you mean {close}?" if close else f"known: {', '.join(sorted(known))}"


def _closest(name: str, known: Sequence[str]) -> str | None:
    """The known name that begins like this one, else the most similar."""
    begins = [other for other in known if other.startswith(name)]
    close = begins or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return close[0] if close else None


def _scalar(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _unknown(name: str, parent: str, part: str, node: Any, config: Config) -> SettingError:
    if not isinstance(node, dict):
        return SettingError(f"--set {name}: {parent} is one value, not a group")
    everywhere = list(_leaves(config.model_dump()))
    same_leaf = [full for full in everywhere if full.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    if same_leaf:
        return SettingError(f"--set {name}: no such setting", hint=f"did you mean {same_leaf[0]}?")
    prefix = f"{parent}." if parent else ""
    close = _closest(part, list(node))
    if close:
        rest = name.split(".")[len(parent.split(".")) + 1 if parent else 1 :]
        return SettingError(
            f"--set {name}: no such setting", hint=f"did you mean {'.'.join([prefix + close, *rest])}?"
        )
    return SettingError(f"--set {name}: no such setting", hint=nearest(name, everywhere))


def _leaves(node: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in node.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


def _listed(node: dict[str, Any]) -> str:
    return ", ".join(node)
