"""The library's log lines, to a logger of Python's.

The library gets a number for each logger, never a pointer to an object, and gives it back once when nothing
can log through it any more. Both callbacks live as long as the process.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
from typing import Any, Dict, Optional

from . import _abi
from ._abi import LogLevel

_LEVELS = {
    LogLevel.ERROR: logging.ERROR,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
}

_loggers: Dict[int, logging.Logger] = {}
_numbers = itertools.count(1)


def library_level(level: int) -> LogLevel:
    """The level of the library that has every line of this level of logging."""
    if level > logging.CRITICAL:
        return LogLevel.OFF
    if level > logging.WARNING:
        return LogLevel.ERROR
    if level > logging.INFO:
        return LogLevel.WARNING
    return LogLevel.INFO if level > logging.DEBUG else LogLevel.DEBUG


# ctypes reports what a handler raises through sys.unraisablehook; the line is lost, and the call goes on.
def _line(userdata: Optional[int], level: int, message: Optional[bytes]) -> None:
    logger = _loggers.get(userdata or 0)
    if logger is not None:
        text = (message or b"").decode("utf-8", "replace")
        logger.log(_LEVELS.get(LogLevel(level), logging.DEBUG), "%s", text)


def _dropped(userdata: Optional[int]) -> None:
    _loggers.pop(userdata or 0, None)


_on_line = _abi.kvm_hotplug_log_fn(_line)
_on_drop = _abi.kvm_hotplug_free_fn(_dropped)


def settings(logger: Optional[logging.Logger], level: Optional[int]) -> Any:
    """What kvm_runtime_set_log() is called with, behind the record. It drops the logger also if it fails."""
    wanted = LogLevel.OFF
    if logger is not None:
        wanted = library_level(logger.getEffectiveLevel() if level is None else level)
    if logger is None or wanted == LogLevel.OFF:
        return LogLevel.OFF, _abi.kvm_hotplug_log_fn(), None, _abi.kvm_hotplug_free_fn()
    number = next(_numbers)
    _loggers[number] = logger
    return wanted, _on_line, ctypes.c_void_p(number), _on_drop
