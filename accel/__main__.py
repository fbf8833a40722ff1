"""`python -m accel`: see accel/cli.py."""

import sys

from accel.cli import main

if __name__ == "__main__":
    sys.exit(main())
