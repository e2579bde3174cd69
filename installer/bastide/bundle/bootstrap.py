#!/usr/bin/env python3
"""Install Bastide from this bundle, without a network: bootstrap.py --root FINGERPRINT [FOLDER].

Before any file of the bundle runs, it is proved to be the publisher's: from the root with the
FINGERPRINT that you were told (by another way than this medium; 64 digits) over later roots,
timestamp, TUF snapshot and the list of bundles to bundle.json, manifest.json and each wheel.
--expect DIGEST demands the bundle with that digest, with or without signatures. Needs Python 3.11.
Nothing here can tell that this script was replaced: compare its SHA-256 with the publisher's.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).resolve().parent
# Signatures: Ed25519 (RFC 8032, 5.1.7) and ECDSA P-256 with SHA-256 (FIPS 186-5, 6.4.2).
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Q = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
H = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5


def times(number: int, point: Any, add: Any, zero: Any) -> Any:
    """Return ``number`` times ``point``, by doubling and adding."""
    result = zero
    for bit in f"{number:b}":
        result = add(result, result)
        result = add(result, point) if bit == "1" else result
    return result


def ed_add(one: Any, two: Any) -> Any:
    """Add points of edwards25519."""
    (x, y), (u, v) = one, two
    k = D * x * u * y * v
    return (x * v + u * y) * pow(1 + k, -1, P) % P, (y * v + x * u) * pow(1 - k, -1, P) % P


def ed_point(data: bytes) -> Any:
    """Decode a point (RFC 8032, 5.1.3); ValueError if it is none."""
    y, sign = int.from_bytes(data, "little") % 2**255, data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    if len(data) != 32 or y >= P or (x * x - square) % P or (x == 0 and sign):
        raise ValueError("a signature or a key is no point of its curve")
    return (x if x % 2 == sign else P - x), y


def ed25519(key: str, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature is right; the key is in hex."""
    public, r, s = bytes.fromhex(key), signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % L
    left = times(s % L, ed_point(b"\x58" + 31 * b"\x66"), ed_add, (0, 1))
    right = ed_add(ed_point(r), times(k, ed_point(public), ed_add, (0, 1)))
    return bool(left == right and s < L and len(signature) == 64)


def p256_add(one: Any, two: Any) -> Any:
    """Add points of P-256; None is the neutral one."""
    if one is None or two is None:
        return one or two
    (x, y), (u, v) = one, two
    if x == u and (y + v) % Q == 0:
        return None
    slope = (3 * x * x - 3) * pow(2 * y, -1, Q) if one == two else (v - y) * pow(u - x, -1, Q)
    w = (slope * slope - x - u) % Q
    return w, (slope * (x - w) - y) % Q


def p256(key: str, message: bytes, signature: bytes) -> bool:
    """Tell whether a DER signature is right; the last 64 bytes of the key's PEM are its point."""
    der = base64.b64decode("".join(key.split("-----")[2].split()), validate=True)
    public = int.from_bytes(der[-64:-32], "big"), int.from_bytes(der[-32:], "big")
    end = 4 + signature[3]
    r, s = int.from_bytes(signature[4:end], "big"), int.from_bytes(signature[end + 2 :], "big")
    digest, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    left = times(digest * inverse % N, (G, H), p256_add, None)
    point = p256_add(left, times(r * inverse % N, public, p256_add, None))
    return point is not None and point[0] % N == r > 0 and s < N and len(der) == 91


SCHEMES = {"ed25519": ed25519, "ecdsa-sha2-nistp256": p256}


def canonical(value: Any) -> str:
    """Return what signatures cover: canonical JSON (OLPC)."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return json.dumps(value)


def checked(path: str, sha256: str) -> bytes:
    """Return the file's content if its digest is the pinned one."""
    content = (BUNDLE / path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise ValueError(f"{path} is damaged: expected SHA-256 {sha256}, found {found}")
    return content


def signed(role: str, roots: list[Any], pin: dict[str, Any]) -> Any:
    """Return what a role's file says if enough keys of each root signed it; None is itself."""
    path = f"metadata/{pin['version']}.{role}.json" if pin else f"metadata/{role}.json"
    document = json.loads(checked(path, pin["hashes"]["sha256"] if "hashes" in pin else ""))
    says, given = document["signed"], {s["keyid"]: s["sig"] for s in document["signatures"]}
    for root in (each or says for each in roots):
        good, wanted = set(), root["roles"][role]
        for keyid in set(wanted["keyids"]) & set(given):
            public, verify = root["keys"][keyid]["keyval"]["public"], root["keys"][keyid]["scheme"]
            if SCHEMES[verify](public, canonical(says).encode(), bytes.fromhex(given[keyid])):
                good.add(public)
        if len(good) < max(1, wanted["threshold"]):
            raise ValueError(f"{path} has too few valid signatures: {len(good)}")
    if says["_type"] != role or says["version"] != pin.get("version", says["version"]):
        raise ValueError(f"{path} is not the {role} metadata that it should be")
    return says


def trusted(fingerprint: str) -> str:
    """Return the digest of bundle.json that the root with this fingerprint vouches for."""
    root, number = None, 1
    while (BUNDLE / f"metadata/{number}.root.json").is_file():
        says = json.loads(checked(f"metadata/{number}.root.json", ""))["signed"]
        if root or hashlib.sha256(canonical(says).encode()).hexdigest() == fingerprint:
            root = signed("root", [root, None], {"version": number})
        number += 1
    if root is None:
        raise ValueError("no root of this bundle has the fingerprint that you gave")
    above = signed("timestamp", [root], {})
    for role in ("snapshot", "targets"):
        above = signed(role, [root], above["meta"][f"{role}.json"])
    digest = hashlib.sha256(checked("bundle.json", "")).hexdigest()
    if digest not in {entry["hashes"]["sha256"] for entry in above["targets"].values()}:
        raise ValueError("the publisher's signed list does not name this bundle")
    return digest


def install(folder: Path, root: str) -> None:
    """Make the virtual environment, of wheels that are all checked."""
    pins = {e["path"]: e["sha256"] for e in json.loads(checked("bundle.json", root))["documents"]}
    checked("bootstrap.py", pins["bootstrap.py"])
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        uv, files = Path(scratch) / "uv", []
        for each in json.loads(checked("manifest.json", pins["manifest.json"]))["artifacts"]:
            if each["kind"] == "wheel" and "control" in each["components"]:
                wheel, digest = Path(scratch) / Path(each["filename"]).name, each["sha256"]
                wheel.write_bytes(checked(f"sha256/{digest[:2]}/{digest}", digest))
                files.append(str(wheel))
                if each["name"] == "uv":
                    with zipfile.ZipFile(wheel) as opened:
                        inside = next(n for n in opened.namelist() if n.endswith("/scripts/uv"))
                        uv.write_bytes(opened.read(inside))
                    uv.chmod(0o700)
        if not uv.exists():
            raise ValueError("the bundle carries no uv for the control node")
        os.environ.update(UV_OFFLINE="1", UV_NO_CONFIG="1", UV_CACHE_DIR=scratch)
        options = ["--python", str(folder / "bin/python"), "--no-index", "--no-deps"]
        subprocess.run([uv, "--quiet", "venv", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "--quiet", "pip", "install", *options, *files], check=True)


def main() -> None:
    """Read the arguments and install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="bastide-venv", type=Path)
    parser.add_argument("--root", metavar="FINGERPRINT", help="of the publisher's root")
    parser.add_argument("--expect", metavar="DIGEST", default="", help="the bundle's digest")
    arguments = parser.parse_args()
    folder, digest = arguments.folder.resolve(), arguments.expect
    if folder.exists() or not (arguments.root or digest):
        sys.exit(f"bootstrap: give --root FINGERPRINT; and {folder} must not be there yet")
    try:
        checked("bundle.json", digest)
        digest = trusted("".join(arguments.root.split()).lower()) if arguments.root else digest
        folder.parent.mkdir(parents=True, exist_ok=True)
        install(folder, digest)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nothing is left half-made
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(f"bootstrap: {str(error) or 'interrupted'}; do not use this bundle")
    print(f"bundle {digest}\nBastide is in {folder}; run {folder}/bin/bastide --help")


if __name__ == "__main__":
    main()
