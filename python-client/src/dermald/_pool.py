"""Connections that are kept for the next request: bounded, shared by threads, never by processes.

A connection belongs to the process that opened it. After a fork the child closes its copies, of
those in use too: a copy that stayed open would hide from the daemon that the parent has left.
"""

from __future__ import annotations

import os
import threading
import weakref

from ._connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._deadline import Deadline

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class _Shelf:
    """The connections of one process."""

    __slots__ = ("changed", "idle", "lent", "lock", "pid", "waiting")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        # Threads that wait for `changed`: without any, nobody is notified.
        self.waiting = 0
        self.idle: list[Connection] = []
        self.lent: set[Connection] = set()

    def close(self) -> None:
        for connection in (*self.idle, *self.lent):
            connection.close()
        self.idle.clear()
        self.lent.clear()


class Pool:
    """At most `size` connections at once; who finds all of them lent waits for one."""

    def __init__(self, path: str, daemon_uids: frozenset[int], size: int) -> None:
        self._path = path
        self._daemon_uids = daemon_uids
        self._size = size
        self._closed = False
        self._shelf = _Shelf()
        _pools.add(self)

    def take(self, deadline: Deadline) -> Connection:
        """A connection that nobody else uses: the last one that came back, else a new one.

        The last one first, so that those that are not needed stay idle and the daemon may close
        them. Raises what `Connection.open` raises, and `DeadlineExceeded` while all are lent.
        """
        if self._closed:
            raise RuntimeError("this client is closed")
        shelf = self._own_shelf()
        with shelf.lock:
            while len(shelf.lent) >= self._size:
                _wait(shelf, deadline)
            kept = _pop_usable(shelf)
            connection = kept or Connection(self._path)
            shelf.lent.add(connection)
        if kept is None:
            self._open(connection, deadline)
        return connection

    def give(self, connection: Connection) -> None:
        """Takes a connection back; a closed one makes room for another."""
        shelf = self._own_shelf()
        with shelf.lock:
            if connection not in shelf.lent:
                # Lent before a fork, or before `close`.
                connection.close()
                return
            shelf.lent.remove(connection)
            if not connection.closed and not self._closed:
                shelf.idle.append(connection)
            else:
                connection.close()
            if shelf.waiting:
                shelf.changed.notify()

    def close(self) -> None:
        """Closes what is idle, and what is lent as soon as it comes back."""
        self._closed = True
        shelf = self._own_shelf()
        with shelf.lock:
            for connection in shelf.idle:
                connection.close()
            shelf.idle.clear()

    def forget_inherited(self) -> None:
        """In a forked child: leaves the parent's connections and its lock, which a thread that
        does not exist here may hold."""
        inherited, self._shelf = self._shelf, _Shelf()
        inherited.close()

    def _open(self, connection: Connection, deadline: Deadline) -> None:
        # Without the lock: another thread may take an idle connection meanwhile.
        try:
            connection.open(self._daemon_uids, deadline)
        except BaseException:
            self.give(connection)
            raise

    def _own_shelf(self) -> _Shelf:
        # The fork hook has done this already, except where native code forks without Python.
        if self._shelf.pid != os.getpid():
            self.forget_inherited()
        return self._shelf


def _wait(shelf: _Shelf, deadline: Deadline) -> None:
    shelf.waiting += 1
    try:
        if not shelf.changed.wait(deadline.remaining()):
            raise deadline.exceeded()
    finally:
        shelf.waiting -= 1


def _pop_usable(shelf: _Shelf) -> Connection | None:
    while shelf.idle:
        connection = shelf.idle.pop()
        if connection.usable():
            return connection
        connection.close()
    return None


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.forget_inherited()


os.register_at_fork(after_in_child=_after_fork_in_child)
