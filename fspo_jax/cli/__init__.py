"""The console command `fspo`: parses its arguments before anything heavy is imported, calls the library, prints."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence

from fspo_jax.errors import FspoError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; `sys.argv[1:]` when None.

    Returns:
        Exit status: 0 done; 1 `data validate` found bad rows; 2 wrong input; 130 interrupted (143 by SIGTERM);
        141 the reader of the output went away. `--debug` lets errors through with their traceback.
    """
    from fspo_jax.cli.parser import make_parser

    arguments = make_parser().parse_args(argv)
    logging.basicConfig(handlers=[_Lines()])
    warnings.formatwarning = lambda message, *_, **__: f"fspo: warning: {message}\n"
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))
    # JSON is UTF-8 in every locale, and a path that is not UTF-8 is printed with escapes.
    for stream, errors in ((sys.stdin, "strict"), (sys.stdout, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=errors)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("\nfspo: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `fspo rerank ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except (FspoError, OSError) as error:
        if arguments.debug:
            raise
        message = " ".join(str(error).split("\n"))
        print(f"fspo: error: {message}", file=sys.stderr)
        return 2


class _Lines(logging.Handler):
    """Prints log records on standard error, one line each. Only warnings and errors begin with `fspo:`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record. Looks `sys.stderr` up each time, because progress bars replace it."""
        mark = f"fspo: {record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        print(f"{mark}{record.getMessage()}", file=sys.stderr)
