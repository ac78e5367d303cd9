"""Pseudonyms of user ids: HMAC-SHA256 with a key from the environment variable LIFE_STAGE_ID_KEY.

A dbt plugin passes the key to the database's sessions. Staging computes pseudonyms in SQL, and the key appears in no
file, log or compiled text. `life-stage pseudonyms` writes the mapping of ids to pseudonyms for the key's holder.
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
    """Passes the key to every session; without a key ids stay unchanged, or the run fails if it is `required`."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read the key. Raises LS-PRI-001 if it is too short, LS-PRI-002 if it is missing and `required`."""
        try:
            self.key = key_of(os.environ)
        except ValueError as error:
            raise DbtRuntimeError(f"{error}; nothing was changed") from None
        if plugin_config.get("required") and not self.key:
            raise DbtRuntimeError(f"LS-PRI-002 this target needs a key for user ids: set {KEY}; nothing was changed")

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Set the key's variables: they belong to a session, and each dbt statement has its own."""
        if self.key:
            inner, outer = padded(self.key)
            cursor.execute(f"set variable id_key_inner = from_hex('{inner.hex()}')")
            cursor.execute(f"set variable id_key_outer = from_hex('{outer.hex()}')")


def key_of(environment: os._Environ[str] | dict[str, str]) -> bytes:
    """The key's bytes, empty without a key. Raises ValueError LS-PRI-001 if it is too short."""
    key = environment.get(KEY, "").encode()
    if 0 < len(key) < SHORTEST:
        raise ValueError(f"LS-PRI-001 {KEY} has {len(key)} bytes: give at least {SHORTEST}, random ones")
    return key


def key_mark(key: bytes) -> str:
    """A mark that distinguishes keys: the pseudonym of a fixed text, empty without a key."""
    return pseudonym(key, "life_stage") if key else ""


def padded(key: bytes) -> tuple[bytes, bytes]:
    """The key mixed with the inner and the outer pad of RFC 2104, a block each."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def pseudonym(key: bytes, user_id: str) -> str:
    """Pseudonym of a user id, which staging has trimmed and cast as in the data contract."""
    return hmac.new(key, user_id.encode(), "sha256").hexdigest()[:LENGTH]
