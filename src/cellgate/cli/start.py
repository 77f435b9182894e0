"""Where the `cellgate` command begins: so little is imported here that Ctrl-C finds somebody who answers it."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_STOPPED = "stopped by Ctrl-C"


def main() -> None:
    """Load the command and run it; Ctrl-C meanwhile is a line and the exit code of an interruption."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupted)
        from cellgate.cli import app

        app.main()
    except KeyboardInterrupt:
        print(_STOPPED, file=sys.stderr)
        sys.exit(130)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """As Python's own, but for PyTorch's start: raised into its C++, an exception ends in an abort."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if getattr(spec, "_initializing", False):  # nothing has been begun that would have to be ended
        os.write(2, f"{_STOPPED}\n".encode())
        os._exit(130)
    signal.default_int_handler(number, frame)


if __name__ == "__main__":
    main()
