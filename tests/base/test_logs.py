import logging

from usfmae.base.logs import get_logger, progress_bar, set_up_logging


def test_logs_and_bars_leave_stdout_to_data(capsys):
    set_up_logging()
    get_logger("usfmae.test").info("a line")
    with progress_bar("work", total=3, done=1) as bar:
        bar.say("loss 1")
        bar.advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""


def test_debug_lines_are_shown_only_when_asked():
    set_up_logging()
    assert not get_logger("usfmae.test").isEnabledFor(logging.DEBUG)
    set_up_logging(debug=True)
    assert get_logger("usfmae.test").isEnabledFor(logging.DEBUG)
    set_up_logging()
