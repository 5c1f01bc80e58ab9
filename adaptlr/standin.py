"""Stand in front of one object's method for a while: where a framework has no hook, no event after an error, or no loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class StandIn:
    """Calls ``around(method, *args, **kwargs)`` in place of ``owner.name``, until :meth:`remove`.

    A copy or a pickle of the owner carries its plain method instead.

    >>> class Door:
    ...     def knock(self): return "come in"
    >>> door = Door()
    >>> loud = StandIn(door, "knock", lambda knock: knock().upper())
    >>> door.knock()
    'COME IN'
    >>> loud.remove()
    >>> door.knock(), vars(door)
    ('come in', {})
    """

    def __init__(self, owner: object, name: str, around: Callable[..., Any]) -> None:
        self._owner, self._name, self._around = owner, name, around
        self._had_own = name in vars(owner)  # somebody stood there before
        self._method = getattr(owner, name)
        self._active = True
        setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._around(self._method, *args, **kwargs) if self._active else self._method(*args, **kwargs)

    def remove(self) -> None:
        """Give the place back. If another has taken it since, that one stays, and calls through to the plain method."""
        self._active = False
        if vars(self._owner).get(self._name) is not self:
            return
        if self._had_own:
            setattr(self._owner, self._name, self._method)
        else:
            delattr(self._owner, self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._owner, self._name)  # of the copy, whose own attributes are not there yet: the class's method
