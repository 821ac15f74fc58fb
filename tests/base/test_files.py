import errno
import json
import os
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from usfmae.base.errors import FolderError, ImageError
from usfmae.base.files import (
    alone_in,
    claim_folder,
    claimed_folder,
    file_sha256,
    new_file,
    new_folder,
    read_json,
    remove_folder,
    remove_partials,
    write_by,
    write_json,
    write_text,
)


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"µ": [1, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"µ": [1, None]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="cut"), new_file(tmp_path / "a.txt") as file:
        file.write(b"half of the ne")
        raise RuntimeError("cut")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError, match="cut"), new_folder(tmp_path / "step") as folder:
        (folder / "one").write_text("1")
        raise RuntimeError("cut")
    assert list(tmp_path.iterdir()) == []
    for content in ("1", "2"):
        with new_folder(tmp_path / "step") as folder:
            (folder / "one").write_text(content)
    assert (tmp_path / "step" / "one").read_text() == "2"


def test_a_library_that_wants_a_path_gets_one_with_the_same_suffix(tmp_path):
    write_by(tmp_path / "x.npy", lambda path: path.write_text(path.suffix))
    assert (tmp_path / "x.npy").read_text() == ".npy"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_a_clear_error(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match=r"a\.txt: cannot be written \(No space left on device\)") as caught:
        write_text(tmp_path / "a.txt", "x")
    assert "--resume" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EDQUOT, "--resume"), (errno.EFBIG, "ulimit"), (99999, "")]
)
def test_what_cannot_be_written_gets_the_hint_that_helps(tmp_path, number, hint):
    def save(path):
        path.write_bytes(b"half")
        raise OSError(number, "no")

    with pytest.raises(FolderError, match=r"a\.bin: cannot be written \(\w+") as caught:
        write_by(tmp_path / "a.bin", save)
    assert hint in caught.value.hint
    assert bool(hint) == bool(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_from_the_words_of_a_library(tmp_path):
    class RustError(Exception):
        """What safetensors raises."""

    full = pytest.raises(FolderError, match=r"step: cannot be written \(No space left on device\)")
    with full as caught, new_folder(tmp_path / "step") as folder:
        (folder / "half").write_text("x")
        raise RustError("I/O error: No space left on device (os error 28)")
    assert "--resume" in caught.value.hint

    def save(path):
        path.write_text("half")
        raise RustError("I/O error: No space left on device (os error 28)")

    with pytest.raises(FolderError, match=r"x\.safetensors: cannot be written \(No space left on device\)"):
        write_by(tmp_path / "x.safetensors", save)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImageError, match="os error 5"), new_file(tmp_path / "a"):
        raise ImageError("b.png: cannot be read (os error 5)")  # not the disk that is written to
    with pytest.raises(ValueError, match="no disk"), new_file(tmp_path / "a"):
        raise ValueError("no disk")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderError, match="cannot be written"), new_folder(tmp_path / "file" / "step"):
        pass


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_missing_and_broken_json_are_clear_errors(tmp_path):
    with pytest.raises(FolderError, match="no such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FolderError, match="cannot be read as JSON"):
        read_json(tmp_path / "a.json")


def test_an_existing_folder_is_an_error_unless_asked(tmp_path):
    out = tmp_path / "run"
    claim_folder(out, marker="run.json")
    claim_folder(out, marker="run.json")  # empty is as good as new
    write_json(out / "run.json", {})
    with pytest.raises(FolderError, match="exists already") as caught:
        claim_folder(out, marker="run.json")
    assert "--resume" in caught.value.hint
    claim_folder(out, marker="run.json", resume=True)
    assert (out / "run.json").exists()
    claim_folder(out, marker="run.json", overwrite=True)
    assert list(out.iterdir()) == []


def test_the_hint_names_resume_only_where_there_is_one(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    for resumable in (True, False):
        with pytest.raises(FolderError, match="exists already") as caught:
            claim_folder(tmp_path, marker="run.json", resumable=resumable)
        assert "--overwrite" in caught.value.hint
        assert ("--resume" in caught.value.hint) == resumable


def test_a_folder_of_somebody_else_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match=r"holds no run\.json, so it was not made by this command"):
        claim_folder(tmp_path, marker="run.json", overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_of_somebody_else_is_never_gone_on_with(tmp_path):
    mine = tmp_path / "mine"
    (mine / ".partial-thing").mkdir(parents=True)
    claim_folder(mine, marker="run.json", resume=True)  # what a kill right at the start leaves
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match=r"holds no run\.json to go on with, but thesis\.tex") as caught:
        claim_folder(mine, marker="run.json", resume=True)
    assert caught.value.hint == "choose another --out, or delete it yourself"
    assert (mine / ".partial-thing").exists()


def test_a_kill_while_a_folder_is_emptied_leaves_one_that_can_be_emptied_again(tmp_path, monkeypatch):
    for name in ("a.txt", "run.json", "z.txt"):
        (tmp_path / name).write_text("old")
    rename, left = Path.rename, []

    def cut(path, target):
        if len(left) == 2:
            raise KeyboardInterrupt
        left.append(path.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        claim_folder(tmp_path, marker="run.json", overwrite=True)
    assert left == ["a.txt", "z.txt"]  # what tells the folder as ours goes last
    monkeypatch.undo()
    claim_folder(tmp_path, marker="run.json", overwrite=True)
    assert not (tmp_path / "run.json").exists()
    claim_folder(tmp_path, marker="run.json", resume=True)


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(FolderError, match="exclude each other"):
        claim_folder(tmp_path, marker="run.json", resume=True, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is a file, not a folder"):
        claim_folder(tmp_path / "file", marker="run.json")


def test_litter_of_killed_writers_is_removed(tmp_path):
    (tmp_path / "parts" / ".partial-abc").mkdir(parents=True)
    (tmp_path / ".partial-x.json").write_text("")
    (tmp_path / "good.json").write_text(json.dumps(1))
    assert remove_partials(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["good.json", "parts"]


def test_the_hash_of_an_empty_file_is_the_published_one(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert (
        file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_one_process_at_a_time_is_in_a_folder(tmp_path):
    with alone_in(tmp_path, doing="run"):
        with (
            pytest.raises(FolderError, match="another run is writing there"),
            alone_in(tmp_path, doing="run"),
        ):
            pass
        start = time.monotonic()
        with pytest.raises(FolderError), alone_in(tmp_path, doing="run", wait_s=0.3):
            pass
        assert time.monotonic() - start > 0.3
    with alone_in(tmp_path, doing="run"):
        pass


def test_a_folder_in_which_another_works_is_not_deleted(tmp_path):
    out = tmp_path / "run"
    claim = {"marker": "run.json", "doing": "run"}
    with claimed_folder(out, **claim):
        write_json(out / "run.json", {})
        with pytest.raises(FolderError, match="another run"), claimed_folder(out, overwrite=True, **claim):
            pass
        assert (out / "run.json").exists()
    with claimed_folder(out, overwrite=True, **claim):
        assert list(out.iterdir()) == []


def test_of_two_that_overwrite_at_once_only_one_gets_in(tmp_path):
    out, answers, other_has_answered = tmp_path / "run", [], Event()
    out.mkdir()
    write_json(out / "run.json", {"old": True})

    def enter() -> None:
        try:
            with claimed_folder(out, marker="run.json", doing="run", overwrite=True, wait_s=0.5):
                write_json(out / "run.json", {"new": True})
                other_has_answered.wait(5)
                answers.append(read_json(out / "run.json"))
        except FolderError as error:
            answers.append(error.message)
            other_has_answered.set()

    both = [Thread(target=enter) for _ in range(2)]
    with alone_in(out, doing="run"):  # so that both wait at the same time
        for one in both:
            one.start()
        time.sleep(0.2)
    for one in both:
        one.join()
    assert answers == [f"{out}: another run is writing there", {"new": True}]


def test_a_lock_on_a_folder_that_was_replaced_meanwhile_is_taken_on_the_new_one(tmp_path):
    out, entered = tmp_path / "run", Event()
    out.mkdir()

    def enter() -> None:
        with alone_in(out, doing="run", wait_s=5):
            with pytest.raises(FolderError, match="another run"), alone_in(out, doing="run"):
                pass  # the lock is on what now has the name
            entered.set()

    waits = Thread(target=enter)
    with alone_in(out, doing="run"):
        waits.start()
        time.sleep(0.2)
        out.rename(tmp_path / "gone")
        out.mkdir()
    waits.join()
    assert entered.is_set()


def test_a_folder_is_deleted_under_another_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("usfmae.base.files.shutil.rmtree", seen.append)
    (tmp_path / "step").mkdir()
    remove_folder(tmp_path / "step")
    assert not (tmp_path / "step").exists()
    assert seen[0].name.startswith(".partial-")
