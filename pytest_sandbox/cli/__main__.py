"""``python -m pytest_sandbox.cli``."""

import sys

from pytest_sandbox.cli import main

sys.exit(main())
