"""Parsers of translation files. Each yields (key, text): the key is the same in every language."""

import json
import re
import struct


def parse_mo(data):
    """(English msgid, translation) pairs of a gettext .mo file; [] where it is not one."""
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(data[:4])
    if order is None or len(data) < 20:
        return []
    count, ids, translations = struct.unpack(order + "3I", data[8:20])
    pairs = []
    for index in range(count):
        key = _mo_bytes(data, order, ids + 8 * index)
        value = _mo_bytes(data, order, translations + 8 * index)
        if key is None or value is None:
            return []
        try:
            # "context EOT singular NUL plural"; of the plural forms the last is the most general.
            msgid = key.decode().split("\x04")[-1].split("\0")[0]
            text = value.decode().split("\0")[-1]
        except UnicodeDecodeError:
            continue
        if msgid and text:
            pairs.append((msgid, text))
    return pairs


def _mo_bytes(data, order, position):
    if position + 8 > len(data):
        return None
    length, offset = struct.unpack(order + "2I", data[position : position + 8])
    return data[offset : offset + length] if offset + length <= len(data) else None


_FTL_KEY = re.compile(r"^(-?[A-Za-z][\w-]*)\s*=\s*(.*)$")
_FTL_ATTRIBUTE = re.compile(r"^\s+(\.[A-Za-z][\w-]*)\s*=\s*(.*)$")
_FTL_VARIANT = re.compile(r"^\s*\*?\[[^\]]*\]\s*(.*)$")
_FTL_BRANDS = (
    (re.compile(r"\{\s*-brand[\w-]*\s*\}"), "Firefox"),
    (re.compile(r'\{\s*"([^"]*)"\s*\}'), r"\1"),
    (re.compile(r"\{[^{}]*\}"), "X"),
)


def parse_ftl(text):
    """(key, text) pairs of a Fluent file; every variant of a selection is a text of its own."""
    pairs, key, message, lines = [], "", "", []

    def finish():
        value = " ".join(line for line in lines if line)
        for pattern, replacement in _FTL_BRANDS:
            value = pattern.sub(replacement, value)
        if value:
            pairs.append((key, value))
        lines.clear()

    for line in text.split("\n"):
        start = _FTL_KEY.match(line)
        attribute = _FTL_ATTRIBUTE.match(line)
        variant = _FTL_VARIANT.match(line)
        if start:
            finish()
            key = message = start[1]
            lines.append(_ftl_part(start[2]))
        elif attribute:
            finish()
            key = message + attribute[1]
            lines.append(_ftl_part(attribute[2]))
        elif variant:
            finish()
            lines.append(_ftl_part(variant[1]))
        elif line.startswith((" ", "\t")) and key:
            lines.append(_ftl_part(line))
        elif line.startswith("#"):
            finish()
            key = ""
    finish()
    return [(name, value) for name, value in pairs if name]


def _ftl_part(line):
    """A line of a value; the frame of a selection ("{ $n ->", "}") is no text."""
    line = line.strip()
    return "" if line.endswith("->") or line == "}" else line


def parse_properties(text):
    """(key, text) pairs of a Java properties file."""
    pairs = []
    for line in re.sub(r"\\\n\s*", "", text).split("\n"):
        if line.lstrip().startswith(("#", "!")) or "=" not in line:
            continue
        key, value = line.split("=", 1)
        value = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), value)
        if any("\ud800" <= character <= "\udfff" for character in value):
            continue
        pairs.append((key.strip(), value.replace("\\n", " ").strip()))
    return pairs


def parse_messages_json(text):
    """{key: message} of a MediaWiki language file without its wiki markup."""
    try:
        messages = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(messages, dict):
        return {}
    cleaned = {}
    for key, value in messages.items():
        if isinstance(value, str):
            value = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", value)
            value = re.sub(r"\{\{[A-Za-z]+:[^{}|]*\|(?:[^{}|]*\|)*([^{}|]*)\}\}", r"\1", value)
            value = re.sub(r"\{\{[^{}]*\}\}", "", value)
            cleaned[key] = re.sub(r"'''?", "", value)
    return cleaned


_STANZA_MD5 = re.compile(r"^Description-md5: (\w+)", re.MULTILINE)
_STANZA_TEXT = re.compile(r"^Description-(?!md5)[^:]*: (.*)((?:\n .*)*)", re.MULTILINE)


def parse_descriptions(text):
    """(md5 of the English description, paragraphs) of an apt Translation file."""
    for stanza in text.split("\n\n"):
        md5, body = _STANZA_MD5.search(stanza), _STANZA_TEXT.search(stanza)
        if md5 and body:
            lines = [line[1:] for line in body[2].split("\n")[1:]]
            joined = "\n".join("" if line.strip() == "." else line for line in lines)
            yield md5[1], [body[1]] + re.split(r"\n\s*\n", joined)
