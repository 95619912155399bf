"""``python -m mfdnn.cli`` is ``mfdnn``."""

import sys

from . import main

sys.exit(main())
