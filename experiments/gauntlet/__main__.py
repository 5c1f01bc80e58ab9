"""``python -m experiments.gauntlet``."""

import sys

from experiments.gauntlet.cli import main

if __name__ == "__main__":
    sys.exit(main())
