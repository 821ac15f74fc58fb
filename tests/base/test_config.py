from typing import Literal

import pytest
from pydantic import Field, ValidationError

from usfmae.base.config import Config, make_config, nearest, with_settings
from usfmae.base.errors import SettingError


class Inner(Config):
    lr_per_256: float = Field(default=1e-3, gt=0)
    scale: tuple[float, float] = (0.4, 1.0)
    kind: Literal["adamw", "lars"] = "adamw"


class Outer(Config):
    optim: Inner = Inner()
    epochs: int = 5
    name: str = "a"
    limit: float | None = 1.0
    fast: bool = False


def test_one_knob_is_set_and_the_rest_stays():
    config = with_settings(Outer(), ["optim.lr_per_256=1e-4", "epochs=7"])
    assert config == Outer(optim=Inner(lr_per_256=1e-4), epochs=7)


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("limit=null", "limit", None),
        ("fast=true", "fast", True),
        ("name=b=c", "name", "b=c"),
        ("limit=2", "limit", 2.0),
    ],
)
def test_values_mean_what_they_look_like(setting, name, value):
    assert getattr(with_settings(Outer(), [setting]), name) == value


def test_a_list_fits_a_pair():
    assert with_settings(Outer(), ["optim.scale=[0.2, 0.9]"]).optim.scale == (0.2, 0.9)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("optim.lr_pr_256=1", "did you mean optim.lr_per_256?"),
        ("lr_per_256=1", "did you mean optim.lr_per_256?"),
        ("optin.lr_per_256=1", "did you mean optim.lr_per_256?"),
        ("epoch=3", "did you mean epochs?"),
        ("optim.lr=3", "did you mean optim.lr_per_256?"),
        ("zzz=3", "known: epochs, fast, limit, name, optim.kind, optim.lr_per_256, optim.scale"),
    ],
)
def test_a_typo_names_the_nearest_setting(setting, hint):
    with pytest.raises(SettingError, match="no such setting") as caught:
        with_settings(Outer(), [setting])
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "has no '='"),
        ("optim=3", "optim is a group of settings"),
        ("epochs.x=3", "epochs is one value, not a group"),
        ("epochs=many", r"epochs: Input should be a valid integer.*\(got 'many'\)"),
        ("optim.lr_per_256=-1", r"optim.lr_per_256: Input should be greater than 0 \(got -1\)"),
        ("limit=.inf", "limit: Input should be a finite number"),
    ],
)
def test_nonsense_is_refused_with_its_place_and_value(setting, message):
    with pytest.raises(SettingError, match=message):
        with_settings(Outer(), [setting])


def test_every_mistake_is_named_in_one_message():
    with pytest.raises(SettingError, match=r"epochs: .*; fast: "):
        make_config(Outer, {"epochs": "x", "fast": "maybe"})


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"optim": {"kind": "larz"}}, "did you mean lars?"),
        ({"optim": {"kind": "sgd"}}, "known: adamw, lars"),
        ({"optim": {"kind": False}}, "known: adamw, lars"),
        ({"optim": {"kind": "larz"}, "epochs": "x"}, "did you mean lars?"),
        ({"optim": {"kind": "larz"}, "fit": "pas"}, "optim.kind: did you mean lars?; fit: did you mean pad?"),
        ({"epochs": "x"}, ""),
    ],
)
def test_a_word_that_is_none_of_a_few_names_the_nearest(values, hint):
    class Wide(Outer):
        fit: Literal["pad", "stretch"] | None = "pad"

    with pytest.raises(SettingError, match="Input should be") as caught:
        make_config(Wide, values)
    assert caught.value.hint == hint


def test_a_config_never_changes():
    with pytest.raises(ValidationError, match="frozen"):
        Outer().epochs = 6
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Outer(epoch=6)


def test_the_nearest_name_or_all_of_them():
    assert nearest("bus-bar", ["bus-bra", "busi"]) == "did you mean bus-bra?"
    assert nearest("xyz", ["b", "a"]) == "known: a, b"
