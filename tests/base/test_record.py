import json

from usfmae.base.config import Config
from usfmae.base.record import current_commit, made_by


class Settings(Config):
    epochs: int = 3


def test_a_record_says_what_made_what_and_is_plain_json():
    record = json.loads(json.dumps(made_by("pretrain", settings=Settings(), inputs={"corpus": "abc"})))
    assert record["stage"] == "pretrain"
    assert record["settings"] == {"epochs": 3}
    assert record["inputs"] == {"corpus": "abc"}
    assert record["libraries"]["numpy"]
    assert record["at"].endswith("+00:00")


def test_the_commit_is_twelve_hex_digits_or_unknown():
    commit = current_commit()
    assert commit is None or int(commit.removesuffix("+changes"), 16) >= 0


def test_a_process_asks_git_once(monkeypatch):
    first = current_commit()
    monkeypatch.setenv("PATH", "/nowhere")  # asked again, there would be no git
    assert current_commit() == first
