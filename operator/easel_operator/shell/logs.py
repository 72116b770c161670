"""One line of key=value pairs for each log record, on stderr. Nothing of a prompt or a secret is ever passed in."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from typing_extensions import override


class KeyValue(logging.Formatter):
    """`time=… level=… logger=… msg="…" error="…"`."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = {"time": moment, "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage()}
        if record.exc_info:
            pairs["error"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())


def _quoted(value: str) -> str:
    plain = value.isascii() and value.isprintable() and not any(sign in value for sign in ' "=')
    return value if plain and value else json.dumps(value, ensure_ascii=False)


def set_up(level: str) -> None:
    """Send everything to stderr in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValue())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
