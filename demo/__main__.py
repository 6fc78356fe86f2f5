"""``python -m demo``: start, ask and stop the local stack."""

import sys

from demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
