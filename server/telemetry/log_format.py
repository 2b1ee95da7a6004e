"""Log records as lines: JSON for machines, text for people. Both tell what the thread is at."""

from __future__ import annotations

import json
import logging
import time

from wan_trt.server.telemetry.context import current

FIELDS = "fields"
"""The name of a record's attribute with more to tell: `log.info(.., extra={FIELDS: {..}})`."""


class AddWork(logging.Filter):
    """Notes in each record what the thread that made it is at work on."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.work = current().told()
        return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {**getattr(record, FIELDS, {}), **getattr(record, "work", {})}


def _time(record: logging.LogRecord) -> str:
    """UTC, to the millisecond."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, then what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=True)


class TextLines(logging.Formatter):
    """`TIME LEVEL LOGGER: MESSAGE name=value ..`, and a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{_time(record)} {record.levelname.lower():7} {record.name}:"]
        parts.append(_one_line(record.getMessage()))
        parts += [f"{name}={_one_line(str(value))}" for name, value in _fields(record).items()]
        if record.exc_info:
            parts.append("\n" + self.formatException(record.exc_info))
        return " ".join(parts)


def _one_line(text: str) -> str:
    """What a client sent cannot forge a line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
