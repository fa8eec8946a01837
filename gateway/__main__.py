"""`python -m gateway` is `loupe`."""

import sys

from gateway.cli import main

sys.exit(main())
