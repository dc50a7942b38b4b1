"""`python -m morl` is `morl`."""

import sys

from morl.cli import main

sys.exit(main())
