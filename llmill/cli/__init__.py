"""The ``llmill`` command.

``main`` turns errors a user can cause into one line, ``error: ...``, and exit status 2; ``--debug`` (anywhere on the
command line) shows the traceback instead. Nothing here imports torch: commands import what they need when they run.
"""

from __future__ import annotations

import os
import sys

from millbase.errors import EXIT_INTERRUPTED, Interrupted, Submitted, UserError

EXIT_USER_ERROR = 2


def main() -> None:
    """Run the command line and exit."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv = [word for word in sys.argv if word != "--debug"]
        os.environ["LLMILL_LOG"] = os.environ.get("LLMILL_LOG", "DEBUG")
    from llmill.cli.app import app

    try:
        app(prog_name="llmill")
    except Submitted as note:
        print(note)
    except Interrupted as note:
        print(note, file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
