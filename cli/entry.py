"""Where the `stillhouse` command begins: Ctrl-C while it starts is one word and exit code 130.

While packages are imported, the exception that Ctrl-C otherwise is comes out of any line of theirs,
as a long traceback; where one of them catches it, or Python itself calls the line, it is lost. So
the process ends at once until a command says that it holds what must be closed (`at_work`). Nothing
heavy is imported here.
"""

import os
import signal

_INTERRUPTED = 130


def main() -> object:
    """The entry point of the console script."""
    # Below `nohup … &` Ctrl-C is ignored, and stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from cli.main import main as command

    return command()


def at_work() -> None:
    """From here on Ctrl-C is an exception again, so that what was opened is closed."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
    try:
        os.write(2, b"Interrupted.\n")
    finally:
        os._exit(_INTERRUPTED)
