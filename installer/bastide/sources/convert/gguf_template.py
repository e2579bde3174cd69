"""Puts another chat template into a GGUF file; every other byte stays what it was.

The header is not written anew: only the template's text, its length and the padding before the
weights change, so the result does not depend on a library's version, and a patch of it is small.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

import gguf

from bastide.errors import BundleError

RECIPE = "gguf-template/1"
KEY = "tokenizer.chat_template"
COPY_BYTES = 4 << 20


def convert(source: Path, output: Path, template: str) -> None:
    """Write the GGUF file at ``source`` with the chat template ``template`` to ``output``.

    Raises:
        BundleError: The file is no GGUF file, or has no chat template to replace.
    """
    at = _places(source)
    with source.open("rb") as old, output.open("xb") as new:
        new.write(old.read(at.length))
        content = template.encode()
        new.write(struct.pack("<Q", len(content)) + content)
        old.seek(at.text)
        new.write(old.read(at.header - at.text))
        new.write(bytes(-new.tell() % at.alignment))
        old.seek(at.data)
        shutil.copyfileobj(old, new, COPY_BYTES)


@dataclass(frozen=True)
class _Places:
    """Where in the old file something begins or ends.

    Args:
        length: Where the length of the template's text stands; the text follows it.
        text: End of that text.
        header: End of the header, without padding.
        data: Where the weights begin.
        alignment: What their place is a multiple of.
    """

    length: int
    text: int
    header: int
    data: int
    alignment: int


def _places(source: Path) -> _Places:
    try:
        reader = gguf.GGUFReader(source)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise _refused(source, f"it is not a readable GGUF file: {error}") from error
    field = reader.fields.get(KEY)
    if field is None or field.types != [gguf.GGUFValueType.STRING]:
        raise _refused(source, f"it has no text under {KEY}")
    # A field's parts: length and text of its key, its type, length and text of its value.
    length = field.offset + sum(int(part.nbytes) for part in field.parts[:-2])
    text = length + sum(int(part.nbytes) for part in field.parts[-2:])
    last = max(reader.tensors, key=lambda tensor: int(tensor.field.offset)).field
    header = last.offset + sum(int(part.nbytes) for part in last.parts)
    return _Places(length, text, header, reader.data_offset, reader.alignment)


def _refused(source: Path, why: str) -> BundleError:
    return BundleError(
        f"the chat template of {source.name} cannot be replaced: {why}",
        code="BAS-3031",
        hint="let the model card name a source that has the GGUF file itself",
    )
