"""A run that was asked to stop, and did so in good order."""


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """Ctrl-C or SIGTERM after the work so far was saved; the message says how far it got.

    Not a KeyboardInterrupt, since command-line libraries swallow those together with their message.
    """
