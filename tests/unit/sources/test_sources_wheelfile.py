from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path

from bastide.sources.wheelfile import WheelName, write_wheel

NAME = WheelName("some_thing", "1.0", "py3-none-linux_x86_64")
FILES = {"some/b.py": b"b = 1\n", "some/lib/x.so": b"\x7fELF", "some/a.py": b""}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1.whl", tmp_path / "2.whl"
    write_wheel(first, NAME, FILES, metadata=b"Name: some-thing\n")
    write_wheel(second, NAME, dict(reversed(FILES.items())), metadata=b"Name: some-thing\n")
    assert first.read_bytes() == second.read_bytes()


def test_record_lists_every_file(tmp_path: Path) -> None:
    path = tmp_path / NAME.filename
    write_wheel(path, NAME, FILES, metadata=b"Name: some-thing\n")
    with zipfile.ZipFile(path) as wheel:
        record = wheel.read("some_thing-1.0.dist-info/RECORD").decode()
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(record))}
        assert set(rows) == set(wheel.namelist())
        for name, (digest, size) in rows.items():
            if name.endswith("RECORD"):
                assert (digest, size) == ("", "")
                continue
            content = wheel.read(name)
            encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            assert digest == f"sha256={encoded.decode()}"
            assert int(size) == len(content)
        assert wheel.getinfo("some/lib/x.so").external_attr >> 16 == 0o100755
