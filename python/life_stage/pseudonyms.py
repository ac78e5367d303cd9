"""Pseudonyms of user ids: HMAC-SHA256 under a key that only the environment holds (LIFE_STAGE_ID_KEY).

A dbt plugin hands the key to the database's sessions, so that staging computes pseudonyms in SQL and the key stands in
no file, log or compiled text. `make pseudonyms` writes which id has which, for who holds the key.
"""

import hashlib
import hmac
import os
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

KEY = "LIFE_STAGE_ID_KEY"
BLOCK = 64  # bytes of SHA-256's block
LENGTH = 32  # hex digits: 128 bits, which RFC 2104 section 5 allows; a collision among 10^9 users has odds of 10^-21
SHORTEST = 16  # bytes of a key


class Plugin(BasePlugin):
    """Gives every session the key; without one ids pass through, or, where it must be there, the run stops."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read the key. Raises LS-PRI-001 when it is too short, LS-PRI-002 when it is missing and `required`."""
        try:
            self.key = key_of(os.environ)
        except ValueError as error:
            raise DbtRuntimeError(f"{error}; nothing was changed") from None
        if plugin_config.get("required") and not self.key:
            raise DbtRuntimeError(f"LS-PRI-002 this target needs a key for user ids: set {KEY}; nothing was changed")

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Variables belong to a session, and every statement of dbt's has one of its own."""
        if self.key:
            inner, outer = padded(self.key)
            cursor.execute(f"set variable id_key_inner = from_hex('{inner.hex()}')")
            cursor.execute(f"set variable id_key_outer = from_hex('{outer.hex()}')")


def key_of(environment: os._Environ[str] | dict[str, str]) -> bytes:
    """The key's bytes, empty without one. Raises ValueError LS-PRI-001 when it is too short to keep ids secret."""
    key = environment.get(KEY, "").encode()
    if 0 < len(key) < SHORTEST:
        raise ValueError(f"LS-PRI-001 {KEY} has {len(key)} bytes: give at least {SHORTEST}, random ones")
    return key


def padded(key: bytes) -> tuple[bytes, bytes]:
    """The key mixed with the inner and the outer pad of RFC 2104, a block each."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def pseudonym(key: bytes, user_id: str) -> str:
    """What staging makes of a user id, after it was trimmed and read as the data contract says."""
    return hmac.new(key, user_id.encode(), "sha256").hexdigest()[:LENGTH]
