"""Another chat template in a GGUF file: only the template's bytes change."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from bastide.errors import BundleError
from bastide.schema.gguf_header import read_header
from bastide.sources.convert.gguf_template import KEY, convert

OLD = "{{ messages[0].content }}"


def make(path: Path, template: str | None = OLD) -> Path:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    if template is not None:
        writer.add_chat_template(template)
    writer.add_token_list(["a", "b"])
    for number in range(3):
        writer.add_tensor(f"blk.{number}.x", np.full((3, 5), number + 1, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("length", [*range(1, 40), 4096])
def test_every_length_gives_the_file_that_the_library_would_write(
    length: int, tmp_path: Path
) -> None:
    """Byte for byte: lengths, padding and weights are where a fresh file has them."""
    template = "é" + "x" * (length - 1)
    source, output = make(tmp_path / "old.gguf"), tmp_path / "new.gguf"
    convert(source, output, template)
    assert output.read_bytes() == make(tmp_path / "fresh.gguf", template).read_bytes()
    assert read_header(output).values[KEY] == template


def test_the_same_template_changes_nothing(tmp_path: Path) -> None:
    source, output = make(tmp_path / "old.gguf"), tmp_path / "new.gguf"
    convert(source, output, OLD)
    assert output.read_bytes() == source.read_bytes()


def test_what_cannot_be_edited_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no text under tokenizer\.chat_template") as caught:
        convert(make(tmp_path / "none.gguf", None), tmp_path / "x", OLD)
    assert caught.value.code == "BAS-3031"
    (tmp_path / "no.gguf").write_bytes(b"<html>not found</html>" * 4)
    with pytest.raises(BundleError, match="not a readable GGUF file"):
        convert(tmp_path / "no.gguf", tmp_path / "y", OLD)
