"""The command `dermald-model`; it knows only which subcommands there are."""

import argparse
from collections.abc import Sequence

from dermald_model import demo, pictures

# Each module declares itself with add_command() and is cheap to import: what is heavy, it imports
# when it runs.
_COMMANDS = (pictures, demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit code."""
    parser = argparse.ArgumentParser(
        "dermald-model", description="Makes model bundles for dermald."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_command(commands)
    chosen = parser.parse_args(arguments)
    code: int = chosen.run(chosen)
    return code
