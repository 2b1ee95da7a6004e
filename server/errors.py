"""Errors that only a service has; they hang in the tree of engine/errors.py.

WanTrtError
|-- InputError
|   |-- NotReadyError     the job has no result yet, or never will     exit 2
|   `-- ConflictError     an idempotency key was used for another wish exit 2
`-- ResourceError
    `-- UnavailableError  the server is stopping, or not there         exit 3
"""

from __future__ import annotations

from wan_trt.engine.errors import InputError, ResourceError


class NotReadyError(InputError):
    """The job is not in the state that the call needs."""


class ConflictError(InputError):
    """The same idempotency key came with a different request."""


class UnavailableError(ResourceError):
    """The server takes no more work, or cannot be reached."""
