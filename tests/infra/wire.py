"""Encodes and decodes protocol buffers by field number, as far as Terraform's plugin protocol needs it.

https://protobuf.dev/programming-guides/encoding/
"""

from typing import Any

Message = dict[int, Any]
"""{field number: value}. A value to encode is a bool, int, str, bytes, Message or a list of these. A decoded value is a
list of bytes or of int."""


def encoded(message: Message) -> bytes:
    """Leaves out false, 0 and empty texts, as proto3 does, but no empty messages."""
    parts = []
    for number, value in sorted(message.items()):
        for item in value if isinstance(value, list) else [value]:
            parts.append(_field(number, item))
    return b"".join(parts)


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, dict):
        content = encoded(value)
    elif isinstance(value, int):
        return _varint(number << 3) + _varint(int(value)) if value else b""
    else:
        content = value.encode() if isinstance(value, str) else value
        if not content:
            return b""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def decoded(content: bytes) -> Message:
    """Returns {field number: [values]}. Raises ValueError for the wire types of floats and of groups."""
    message: Message = {}
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        value: Any
        if key & 7 == 0:
            value, at = _read_varint(content, at)
        elif key & 7 == 2:
            length, at = _read_varint(content, at)
            value, at = content[at : at + length], at + length
        else:
            raise ValueError(f"wire type {key & 7}")
        message.setdefault(key >> 3, []).append(value)
    return message


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
