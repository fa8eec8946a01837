"""The entry point `python -m gateway.cli`: the same as `loupe`, and as safe to run in any folder."""

import os
import sys

# `python -m` lets files of the working directory shadow libraries; allow this only if the package itself is there.
if not sys.flags.safe_path and __file__ != f"{sys.path[0]}{os.sep}gateway{os.sep}cli{os.sep}__main__.py":
    del sys.path[0]

from gateway.cli import main

sys.exit(main())
