"""`python -m quant`: see quant/cli.py."""

import sys

from quant.cli import main

if __name__ == "__main__":
    sys.exit(main())
