"""Finding a named run."""

import importlib
import pkgutil
from pathlib import Path

from usfmae.base.config import nearest
from usfmae.base.errors import SettingError
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run_folder import RUN_FILE, load_run_config


def recipe_names() -> list[str]:
    """All recipes, in alphabetical order."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in found if name != "registry")


def get_recipe(name: str) -> PretrainConfig:
    """The settings of a recipe, or of an earlier run given by its folder.

    A word that is a recipe's name means that, whatever folders there are; `./tiny_cpu` means the folder.

    Raises:
        SettingError: no such recipe; the nearest is named.
        FolderError: the folder's run.json is not the record of a run.
    """
    if name not in recipe_names():
        if (Path(name) / RUN_FILE).exists():
            return load_run_config(Path(name))
        raise SettingError(f"{name}: no such recipe", hint=nearest(name, recipe_names()))
    config = importlib.import_module(f"usfmae.recipes.{name}").recipe()
    assert isinstance(config, PretrainConfig)
    return config


def recipe_notes(name: str) -> str:
    """What a recipe is for, its command, cost and expected result."""
    return importlib.import_module(f"usfmae.recipes.{name}").__doc__ or ""
