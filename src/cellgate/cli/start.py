"""Where the `cellgate` command begins: so little is imported here that Ctrl-C finds somebody who answers it."""

import sys


def main() -> None:
    """Load the command and run it; Ctrl-C meanwhile is a line and the exit code of an interruption."""
    try:
        from cellgate.cli import app

        app.main()
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
