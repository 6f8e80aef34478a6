"""The command `dermald-model`; it knows only which subcommands there are."""

import argparse
import sys
from collections.abc import Sequence

from dermald_model import convert, demo, inspect_bundle, pictures, quantise, reference, verify
from dermald_model.refusal import Refusal

# Each module declares itself with add_command() and is cheap to import: what is heavy, it imports
# when it runs.
_COMMANDS = (convert, quantise, verify, inspect_bundle, pictures, reference, demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit code: 0 done, 1 refused, 2 wrong arguments."""
    parser = argparse.ArgumentParser(
        "dermald-model", description="Makes model bundles for dermald."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_command(commands)
    chosen = parser.parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
    except Refusal as refusal:
        print(f"dermald-model: {refusal}", file=sys.stderr)
        return 1
    return code
