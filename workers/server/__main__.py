"""``python -m workers.server``."""

import sys

from workers.server.cli import main

sys.exit(main())
