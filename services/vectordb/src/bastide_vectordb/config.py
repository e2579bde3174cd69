"""The service's configuration: Qdrant's YAML, and secrets from the environment or systemd."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bastide_vectordb import strict
from bastide_vectordb.errors import ApiError, StartupError
from bastide_vectordb.json_types import Json

_ENV_KEYS = {
    "api_key": "QDRANT__SERVICE__API_KEY",
    "read_only_api_key": "QDRANT__SERVICE__READ_ONLY_API_KEY",
}
_LEVELS = ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "OFF")


@dataclass(frozen=True)
class Keys:
    """API keys; ``repr`` never shows them.

    Args:
        full: May do everything; None: nobody is asked for a key (loopback only).
        read_only: May read, but not fetch snapshots.
    """

    full: bytes | None = field(default=None, repr=False)
    read_only: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Config:
    """What the service needs to start.

    Args:
        host: Address to listen on.
        http_port: TCP port to listen on.
        storage_path: Folder of the collections.
        snapshots_path: Folder of the snapshots.
        keys: API keys.
        max_request_bytes: Largest request body, snapshots' uploads apart.
        max_collections: Most collections; each is a process of its own.
        fence_path: File whose existence refuses writes; None: never.
        strict_mode: Strict mode of collections whose makers say nothing of it.
        log_level: Python's name of the log level.
    """

    host: str
    http_port: int
    storage_path: Path
    snapshots_path: Path
    keys: Keys
    max_request_bytes: int = 32 << 20
    max_collections: int = 64
    fence_path: Path | None = None
    strict_mode: dict[str, Any] = field(default_factory=dict)
    log_level: str = "INFO"


def _integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: Json) -> bool:
    return isinstance(value, str) and bool(value.strip())


# Each setting that we honour: is the value right, and how to say what is expected.
_SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "log_level": (lambda v: isinstance(v, str) and v.upper() in _LEVELS, ", ".join(_LEVELS)),
    "service.host": (_text, "an address"),
    "service.http_port": (_integer(1, 65535), "a port, 1 to 65535"),
    "service.max_request_size_mb": (_integer(1, 4096), "1 to 4096"),
    "service.api_key": (_text, "a key that is not empty"),
    "service.read_only_api_key": (_text, "a key that is not empty"),
    "storage.storage_path": (_text, "an absolute path"),
    "storage.snapshots_path": (_text, "an absolute path"),
    "storage.fence_path": (
        lambda v: isinstance(v, str) and v.startswith("/"),
        "an absolute path",
    ),
    "storage.max_collections": (_integer(1, 4096), "1 to 4096"),
}
# Qdrant's settings that may stand in the file as long as they ask for what we do anyway.
_FIXED: dict[str, tuple[Any, ...]] = {
    "telemetry_disabled": (True,),
    "service.grpc_port": (None,),
    "service.enable_cors": (False,),
    "service.enable_static_content": (False,),
    "service.enable_tls": (False,),
    "service.jwt_rbac": (False, None),
    "service.enable_snapshot_url_recovery": (False,),
    "cluster.enabled": (False,),
}


def _flat(data: Json, prefix: str, problems: list[str]) -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    out: dict[str, Any] = {}
    for name, value in data.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            out.update(_flat(value, f"{path}.", problems))
        else:
            out[path] = value
    return out


def _problem(path: str, value: Json) -> str | None:
    if path in _SETTINGS:
        check, expected = _SETTINGS[path]
        secret = path.endswith("api_key")
        return (
            None
            if check(value)
            else (f"{path}: expected {expected}" + ("" if secret else f", got {value!r}"))
        )
    if path in _FIXED:
        if value in _FIXED[path]:
            return None
        return f"{path}: the engine edge has only {_FIXED[path][0]!r}, got {value!r}"
    known = ", ".join(sorted((*_SETTINGS, *_FIXED)))
    return f"{path}: unknown setting; known are {known}"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StartupError(f"{path}: not YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise StartupError(f"{path}: expected settings, got {type(data).__name__}")
    return data


def _key(name: str, settings: Mapping[str, Any], environ: Mapping[str, str]) -> bytes | None:
    """A key from systemd's credentials, the environment or the file, in this order.

    Raises:
        StartupError: the key is given and empty. An empty key would mean "no key asked".
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / name if folder else None
    if credential is not None and credential.exists():
        where = str(credential)
        try:
            value = credential.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"{where}: cannot be read: {error}") from error
    elif _ENV_KEYS[name] in environ:
        value, where = environ[_ENV_KEYS[name]].strip(), _ENV_KEYS[name]
    elif f"service.{name}" in settings:
        value, where = settings[f"service.{name}"].strip(), f"service.{name}"
    else:
        return None
    if not value:
        raise StartupError(f"{where}: the key is empty; expected a key, or no such setting at all")
    return value.encode()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _strict_mode(data: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The default strict mode, taken out of the settings."""
    storage = data.get("storage")
    collection = storage.get("collection") if isinstance(storage, dict) else None
    if not isinstance(collection, dict):
        return {}
    try:
        return strict.checked(collection.pop("strict_mode", None), "storage.collection.strict_mode")
    except ApiError as error:
        problems.append(error.message)
        return {}


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in ``path`` with secrets from ``environ``.

    Raises:
        StartupError: the file is not readable, has an unknown or wrong setting (all are
            named), a key is empty, or the service would listen to others without a key.
    """
    problems: list[str] = []
    data = _read(path)
    limits = _strict_mode(data, problems)
    settings = _flat(data, "", problems)
    problems += [p for name, value in settings.items() if (p := _problem(name, value))]
    for name in ("storage.storage_path", "storage.snapshots_path"):
        value = settings.get(name)
        if not isinstance(value, str) or not value.startswith("/"):
            problems.append(f"{name}: expected an absolute path, got {value!r}")
    if problems:
        raise StartupError(f"{path}:\n  " + "\n  ".join(dict.fromkeys(problems)))
    keys = Keys(*(_key(name, settings, environ) for name in ("api_key", "read_only_api_key")))
    host = str(settings.get("service.host", "127.0.0.1"))
    if keys.full is None and (keys.read_only is not None or not _is_loopback(host)):
        raise StartupError(
            f"{path}: no API key, and service.host is {host}: set {_ENV_KEYS['api_key']}, the "
            "credential api_key, or listen on 127.0.0.1"
        )
    fence = settings.get("storage.fence_path")
    level = str(settings.get("log_level", "INFO")).upper()
    return Config(
        host=host,
        http_port=settings.get("service.http_port", 6333),
        storage_path=Path(settings["storage.storage_path"]),
        snapshots_path=Path(settings["storage.snapshots_path"]),
        keys=keys,
        max_request_bytes=settings.get("service.max_request_size_mb", 32) << 20,
        max_collections=settings.get("storage.max_collections", 64),
        fence_path=Path(fence) if fence else None,
        strict_mode=limits,
        log_level={"WARN": "WARNING", "OFF": "CRITICAL"}.get(level, level),
    )
