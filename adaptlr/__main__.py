"""``python -m adaptlr``, the same as the command ``adaptlr``."""

import sys

from adaptlr.cli import main

if __name__ == "__main__":
    sys.exit(main())
