"""What can be done to a medium: each function changes one thing, and says what."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Mutator = Callable[["Attempt"], str]
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**80, 0.5, [], {}, [[]], {"a": {}}),
    *("", "..", "/", "../../outside/canary", "a" * 5000, "\x00", "\u202e", "0" * 64),
)
NAMES = (
    *("autorun.inf", ".hidden", "..evil", "manifest.json~", "sha256/zz/evil", "a\nb", "\u00fc"),
    *("x" * 200, "metadata/9.root.json", "metadata/evil.json", "delta/evil", "con.txt", "b\\s"),
)


@dataclass(frozen=True)
class Attempt:
    """One medium to be changed.

    Args:
        folder: A copy of the medium by hard links.
        replays: Genuine files of an earlier bundle and its volumes.
        outside: A folder with a file that no import may read into the store or write to.
        chance: Where, which, how.
    """

    folder: Path
    replays: Path
    outside: Path
    chance: random.Random

    def files(self) -> list[Path]:
        """Return all files of the medium."""
        return sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink())

    def pick(self) -> Path:
        """Return one file; documents as often as data."""
        return self.chance.choice(self.files())

    def volumes(self) -> list[Path]:
        """Return the volumes' folders; none for a bundle."""
        return sorted(self.folder.glob("volume-*"))

    def documents(self) -> list[Path]:
        """Return the JSON files that are not signatures."""
        return [p for p in self.files() if p.suffix == ".json" and p.parent.name != "metadata"]


def write(path: Path, content: bytes) -> None:
    """Replace a file by a new one: the old one is shared by hard links."""
    path.unlink()
    path.write_bytes(content)


def flip(attempt: Attempt) -> str:
    path = attempt.pick()
    content = bytearray(path.read_bytes())
    if not content:
        return truncate(attempt)
    for _ in range(attempt.chance.choice((1, 1, 1, 2, 9))):
        content[attempt.chance.randrange(len(content))] ^= 1 << attempt.chance.randrange(8)
    write(path, bytes(content))
    return f"bits of {path.name} flipped"


def truncate(attempt: Attempt) -> str:
    path = attempt.pick()
    content = path.read_bytes()
    if content:
        write(path, content[: attempt.chance.randrange(len(content))])
    else:
        path.unlink()
    return f"{path.name} cut short"


def extend(attempt: Attempt) -> str:
    path = attempt.pick()
    content, more = path.read_bytes(), attempt.chance.randbytes(attempt.chance.randrange(1, 99))
    write(path, content + attempt.chance.choice((more, b"\n", b"\x00", content[:50] or b" ")))
    return f"{path.name} made longer"


def swap(attempt: Attempt) -> str:
    one, two = attempt.pick(), attempt.pick()
    if attempt.chance.random() < 0.5 or one == two:
        content = bytearray(one.read_bytes())
        length = attempt.chance.randrange(1, max(len(content) // 2, 2))
        low = attempt.chance.randrange(max(len(content) - 2 * length, 1))
        middle = low + length
        content[low : middle + length] = content[middle : middle + length] + content[low:middle]
        write(one, bytes(content))
        return f"two ranges of {one.name} swapped"
    first, second = one.read_bytes(), two.read_bytes()
    write(one, second)
    write(two, first)
    return f"{one.name} and {two.name} swapped"


def add(attempt: Attempt) -> str:
    places = [p for p in (attempt.folder, *attempt.folder.rglob("*")) if p.is_dir()]
    if attempt.volumes():
        places.remove(attempt.folder)  # what lies beside volumes belongs to none of them
    path = attempt.chance.choice(places) / attempt.chance.choice(NAMES)
    if path.exists():
        path = path.with_name("another")
    path.parent.mkdir(parents=True, exist_ok=True)
    if attempt.chance.random() < 0.2:
        path.mkdir()
    else:
        path.write_bytes(attempt.chance.randbytes(attempt.chance.randrange(50)))
    return f"{path.name!r} added"


def delete(attempt: Attempt) -> str:
    folders = [p for p in attempt.folder.rglob("*") if p.is_dir()]
    if folders and attempt.chance.random() < 0.15:
        path = attempt.chance.choice(folders)
        shutil.rmtree(path)
    else:
        path = attempt.pick()
        path.unlink()
    return f"{path.name} deleted"


def replay(attempt: Attempt) -> str:
    """Put genuine, signed files of an earlier bundle in the place of these."""
    kind = "volumes" if attempt.volumes() else "bundle"
    source = attempt.replays / kind
    names = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    here = {str(path.relative_to(attempt.folder)) for path in attempt.files()}
    common = sorted(names & here)
    count = attempt.chance.choice((1, 1, 2, 4, len(common)))
    chosen = attempt.chance.sample(common, min(count, len(common)))
    if kind == "bundle" and attempt.chance.random() < 0.3:
        chosen = [name for name in common if name.startswith("metadata/")]
    for name in chosen:
        write(attempt.folder / name, (source / name).read_bytes())
    return f"{len(chosen)} files replayed"


def lie(attempt: Attempt) -> str:
    """Change a value in a document, and most times the pins on the way up to it as well."""
    path = attempt.chance.choice(attempt.documents())
    plain = json.loads(path.read_bytes())
    here: Any = plain
    for _ in range(attempt.chance.randrange(5)):
        inner = list(here.values()) if isinstance(here, dict) else here
        deeper = [each for each in inner if isinstance(each, dict | list) and each]
        if not deeper:
            break
        here = attempt.chance.choice(deeper)
    keys = sorted(here) if isinstance(here, dict) else list(range(len(here)))
    key = attempt.chance.choice(keys)
    how = attempt.chance.choice(("set", "set", "near", "drop", "repeat"))
    if how == "drop":
        del here[key]
    elif how == "near" and isinstance(here[key], int):
        here[key] += attempt.chance.choice((-1, 1))
    elif how == "repeat" and isinstance(here, list):
        here.append(here[key])
    else:
        here[key] = attempt.chance.choice(VALUES)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    write(path, text.encode("utf-8", "surrogatepass") + b"\n")
    if attempt.chance.random() < 0.7:
        _pin(path)
    if attempt.chance.random() < 0.5:
        _everywhere(attempt, path, plain)
    return f"{path.name}: {key} is a lie"


def _everywhere(attempt: Attempt, path: Path, plain: Any) -> None:
    """Tell the same lie in all volumes."""
    for volume in attempt.volumes():
        if path.parent == volume:
            continue
        if path.name != "volume.json":
            for name in {path.name, "bundle.json"}:
                write(volume / name, path.with_name(name).read_bytes())
        elif isinstance(plain, dict) and "set" in plain:
            own = json.loads((volume / path.name).read_bytes()) | {"set": plain["set"]}
            text = json.dumps(own, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            write(volume / path.name, text.encode("utf-8", "surrogatepass") + b"\n")


def _pin(path: Path) -> None:
    """Make ``bundle.json`` pin the changed document beside it."""
    root = path.with_name("bundle.json")
    if path == root or not root.exists():
        return
    content = path.read_bytes()
    plain = json.loads(root.read_bytes())
    for entry in plain["documents"]:
        if entry["path"] == path.name:
            entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write(root, json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def trick(attempt: Attempt) -> str:
    """Something of another kind stands where a file should, or names lead elsewhere."""
    path = attempt.pick()
    kind = attempt.chance.choice(("folder", "pipe", "socket", "moved", "named"))
    if kind == "named":
        root = next(each for each in attempt.documents() if each.name == "bundle.json")
        plain = json.loads(root.read_bytes())
        names = ("../../outside/canary", "/etc/passwd", "sha256/../bundle.json", ".", "a/b", "")
        attempt.chance.choice(plain["documents"])["path"] = attempt.chance.choice(names)
        write(root, json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        return "a document's name leads elsewhere"
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
        if attempt.chance.random() < 0.5:
            (path / "inner").write_bytes(content)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path must be short
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(path.name[:90])
        finally:
            os.chdir(here)
    else:
        other = attempt.outside / "moved"
        other.write_bytes(content)
        other.unlink()
        (path.parent / (path.name + ".moved")).write_bytes(content)
    return f"{path.name} is a {kind}"


def symlink(attempt: Attempt) -> str:
    path = attempt.pick()
    if attempt.chance.random() < 0.2 and path.parent != attempt.folder:
        folder, away = path.parent, attempt.outside / "linked"
        shutil.rmtree(away, ignore_errors=True)
        shutil.copytree(folder, away)
        shutil.rmtree(folder)
        folder.symlink_to(away)
        return f"the folder {folder.name} is a link"
    content = path.read_bytes()
    path.unlink()
    same = attempt.outside / "same"
    same.write_bytes(content)
    targets = (same, attempt.outside / "canary", Path("/dev/zero"), Path("missing"), path)
    path.symlink_to(attempt.chance.choice(targets))
    return f"{path.name} is a link"


def collide(attempt: Attempt) -> str:
    path = attempt.pick()
    variants = (path.name.upper(), path.name.title(), path.name + ".", path.name + " ",
                path.name.replace("a", "\uff41", 1), " " + path.name)  # fmt: skip
    other = path.with_name(attempt.chance.choice(variants))
    if other.exists():
        other = path.with_name(path.name + "..")
    if attempt.chance.random() < 0.3:
        path.rename(other)
        return f"{path.name} is called {other.name!r}"
    other.write_bytes(attempt.chance.choice((path.read_bytes(), b"evil")))
    return f"{other.name!r} stands beside {path.name}"


MUTATORS: dict[str, Mutator] = {
    "bit flips": flip,
    "truncations": truncate,
    "longer files": extend,
    "swaps": swap,
    "additions": add,
    "deletions": delete,
    "replays": replay,
    "header lies": lie,
    "path tricks": trick,
    "symbolic links": symlink,
    "case collisions": collide,
}
