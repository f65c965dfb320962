"""The system calls of the compiled relay, by their names in the C library.

Owns numbers and declarations; Linux only. Addresses are int64: they are passed in a register as a
pointer is.
"""

from __future__ import annotations

import platform
import select
import socket
from typing import Any, Final

from numba import types

from proxy.kernels.compilation import INT64

_external: Any = types.ExternalFunction
_INT: Final = types.int32

c_epoll_wait: Any = _external("epoll_wait", _INT(_INT, INT64, _INT, _INT))
c_epoll_ctl: Any = _external("epoll_ctl", _INT(_INT, _INT, _INT, INT64))
c_recv: Any = _external("recv", INT64(_INT, INT64, INT64, _INT))
c_send: Any = _external("send", INT64(_INT, INT64, INT64, _INT))
c_read: Any = _external("read", INT64(_INT, INT64, INT64))
c_write: Any = _external("write", INT64(_INT, INT64, INT64))
c_clock_gettime: Any = _external("clock_gettime", _INT(_INT, INT64))
c_usleep: Any = _external("usleep", _INT(types.uint32))

IS_SUPPORTED: Final = hasattr(select, "epoll")

# struct epoll_event is packed on x86-64 only (bits/epoll.h): 12 bytes there, 16 elsewhere.
EVENT_WORDS: Final = 3 if platform.machine() in ("x86_64", "AMD64") else 4
DATA_WORD: Final = EVENT_WORDS - 2

# Of linux/time.h: the clock of Python's time.monotonic().
CLOCK_MONOTONIC: Final = 1
EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLLIN: Final = 1
MSG_DONTWAIT: Final = int(getattr(socket, "MSG_DONTWAIT", 0))
MSG_NOSIGNAL: Final = int(getattr(socket, "MSG_NOSIGNAL", 0))
