"""Errors that only a service has; they hang in the tree of engine/errors.py.

WanTrtError
|-- InputError
|   |-- NotReadyError          the job or bundle is not in such a state      exit 2
|   |-- ConflictError          an idempotency key was used for another wish  exit 2
|   |-- AuthenticationError    who calls has not shown who they are          exit 2
|   `-- PermissionDeniedError  who calls is known, and may not do it         exit 2
`-- ResourceError
    |-- QuotaError             who calls has taken what they may take        exit 3
    |-- QueueFullError         as many jobs wait as may                        exit 3
    `-- UnavailableError       the server is stopping, or not there          exit 3
"""

from __future__ import annotations

from wan_trt.engine.errors import InputError, ResourceError


class NotReadyError(InputError):
    """The job or bundle is not in the state that the call needs."""


class ConflictError(InputError):
    """The same idempotency key came with a different request."""


class AuthenticationError(InputError):
    """No token came, or none that is known and valid. It never says which of them, or more."""


class PermissionDeniedError(InputError):
    """The caller is known and may not do this. What they may not even know of is a NotFoundError
    instead."""


class QuotaError(ResourceError):
    """The caller has taken what they may take of the server.

    `subject` is the principal or peer, `what` the name of the quota, `limit` and `used` are in its
    unit. `retry_after_s`: when asking again may help; None where that depends on the caller.
    """

    def __init__(
        self,
        given: str,
        *,
        subject: str = "",
        what: str = "",
        limit: float = 0,
        used: float = 0,
        retry_after_s: float | None = None,
        expected: str = "",
        action: str = "",
        field: str | None = None,
    ) -> None:
        self.subject = subject
        self.what = what
        self.limit = limit
        self.used = used
        self.retry_after_s = retry_after_s
        super().__init__(given, expected=expected, action=action, field=field)


class QueueFullError(ResourceError):
    """As many jobs wait and run as the server takes. `retry_after_s`: when one of them may be done;
    None where nobody can tell yet."""

    def __init__(
        self,
        given: str,
        *,
        retry_after_s: float | None = None,
        expected: str = "",
        action: str = "",
        field: str | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(given, expected=expected, action=action, field=field)


class UnavailableError(ResourceError):
    """The server takes no more work, or cannot be reached. `retry_after_s`: when to try again;
    None where nobody told, infinite where waiting is no use."""

    retry_after_s: float | None = None
