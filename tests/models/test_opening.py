import pickle
import sys
import types

import numpy as np
import pytest
import torch

from usfmae.models.opening import load_tensors


@pytest.fixture
def history_buffer(monkeypatch):
    """A class that pickles under mmengine's name; mmengine itself is not needed, and gone when we open."""
    names = ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer")
    with monkeypatch.context() as patched:
        for name in names:
            patched.setitem(sys.modules, name, types.ModuleType(name))
        module = sys.modules[names[-1]]
        exec("class HistoryBuffer: pass\ndef mean(self): return 1", module.__dict__)
        module.HistoryBuffer.__module__ = module.mean.__module__ = names[-1]
        yield module
    assert names[-1] not in sys.modules


def test_tensors_beside_an_mmengine_record_are_read_and_the_record_is_left(history_buffer, tmp_path):
    buffer = history_buffer.HistoryBuffer()
    buffer._log_history = np.arange(3.0)
    buffer._statistics_methods = {"mean": history_buffer.mean}
    hub = {"log_scalars": {"loss": buffer}, "resumed_keys": {"loss": True}, "lr": np.float64(1e-4)}
    torch.save({"state_dict": {"a": torch.ones(2)}, "message_hub": hub}, tmp_path / "mm.pth")
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        del sys.modules[name]
    content = load_tensors(tmp_path / "mm.pth")
    assert torch.equal(content["state_dict"]["a"], torch.ones(2))
    assert not isinstance(content["message_hub"]["lr"], float)
    assert vars(content["message_hub"]["log_scalars"]["loss"]) == {}


class Harmful:
    def __reduce__(self):
        return (print, ("run by unpickling",))


def test_what_is_no_record_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"state_dict": {"a": torch.ones(2)}, "record": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(tmp_path / "bad.pth")
    assert capsys.readouterr().out == ""


class Disguised:
    """Asks for `getattr`, which a stand-in replaces."""

    def __reduce__(self):
        return (getattr, (print, "__call__"))


def test_a_record_that_asks_for_a_function_gets_nothing(tmp_path, capsys):
    torch.save({"state_dict": {"a": torch.ones(2)}, "record": Disguised()}, tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(tmp_path / "bad.pth")  # print itself is not a record
    assert capsys.readouterr().out == ""


def test_files_from_before_pytorch_1_6_are_still_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_tensors(tmp_path / "old.pth")["a"], torch.ones(2))
