"""Lets `python -m dermald_model` do what `dermald-model` does."""

import sys

from dermald_model.cli import main

sys.exit(main())
