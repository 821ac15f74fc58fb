"""`python -m usfmae`, and `torchrun ... -m usfmae`: the command `usfmae`."""

import sys

from usfmae.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
