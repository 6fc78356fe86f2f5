"""Print the folder to add to ``JUPYTER_PATH``."""

import sys

from rpacs.voila_template import jupyter_path

sys.stdout.write(f"{jupyter_path()}\n")
