"""Where a server is, and what it says about itself before any session."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from morl.errors import ConfigError

NAMES = ("action", "observation")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@frozen
class Address:
    """One server.

    Attributes:
        http: its base, `http://host:port` or `https://..`.
        local: it runs on this machine, so that no proxy of the environment lies between.
    """

    http: str
    local: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """From a URL with `http`, `https`, `ws` or `wss`.

        Raises:
            ConfigError: anything else.
        """
        parts = urlsplit(url)
        secure = {"http": False, "ws": False, "https": True, "wss": True}.get(parts.scheme)
        if secure is None or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"urls: expected the base of a server such as http://localhost:8000; got {url!r}")
        base = f"{'https' if secure else 'http'}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(base, parts.hostname in _LOOPBACK)

    @property
    def socket(self) -> str:
        """Where sessions are opened."""
        return f"ws{self.http.removeprefix('http')}/ws"

    def schema(self, timeout: float) -> Mapping[str, Any]:
        """JSON schemas by name: `action`, `observation`, as `GET /schema` gives them.

        Raises:
            ConfigError: no server there, or one that speaks another protocol.
        """
        opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if self.local else []))
        where = f"{self.http}/schema"
        try:
            with opener.open(where, timeout=timeout) as response:
                schemas = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise ConfigError(f"{where} answers with status {error.code}: this is no server of openenv 0.10") from error
        except OSError as error:
            raise ConfigError(f"no server answers at {where} ({error}): start it first, or mend `urls`") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where} does not answer in JSON: this is no server of openenv 0.10") from error
        given = [schemas.get(name) for name in NAMES] if isinstance(schemas, dict) else [None]
        if not all(isinstance(schema, dict) for schema in given):
            raise ConfigError(f"{where} has no schemas of {' and '.join(NAMES)}: this is no server of openenv 0.10")
        return dict(schemas)
