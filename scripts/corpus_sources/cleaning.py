"""From marked-up text to clean paragraphs, and the test a paragraph must pass."""

import html
import re

from .languages import DENSE, script_letters

MAX_PARAGRAPH_BYTES = 6000  # longer ones are tables or generated lists

_SPACE = re.compile(r"\s+")
_BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\u00ad]")
_TAG = re.compile(r"<[^>]*>")
_DROPPED = re.compile(
    r"<(script|style|code|screen|pre|programlisting|svg:style|metadata|info|head)\b.*?</\1>"
    r"|<!--.*?-->|<\?.*?\?>|<!DOCTYPE.*?>",
    re.DOTALL | re.IGNORECASE,
)
_BLOCK = re.compile(
    r"</?(?:p|para|simpara|div|li|listitem|td|th|tr|h[1-6]|br|dt|dd|title|table|ul|ol|section|"
    r"note|steps|item|desc|body|pre|text)\b[^>]*>",
    re.IGNORECASE,
)
_NOT_A_LETTER = re.compile(
    "[\\s\\d!-/:-@\\[-`{-~\u00a0-\u00bf\u00d7\u00f7\u2000-\u206f\u2190-\u2bff\u3000-\u3004"
    "\u3008-\u3020\u30fb\uff00-\uff20]"
)
_IDEOGRAPH = "[\u3000-\u9fff\uff00-\uffef]"
_BETWEEN_IDEOGRAPHS = re.compile(f"(?<={_IDEOGRAPH}) (?={_IDEOGRAPH})")
_ASCII_LETTER = re.compile("[A-Za-z]")
_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH_WORDS = frozenset(
    "the and with this that these you your from which when for will not have".split()
)
_MNEMONIC_IN_BRACKETS = re.compile(r"\s?\([_&~]\w\)")
_MNEMONIC = re.compile(r"&(?=\w)(?!#?\w+;)|(?<!\w)_(?=\w)")


def fold(text):
    """Removes directional marks and folds white space."""
    return " ".join(_BIDI.sub("", text).split())


def join_lines(language, text):
    """Takes out the spaces that line breaks left between Chinese and Japanese characters."""
    return _BETWEEN_IDEOGRAPHS.sub("", text) if language in ("zh", "ja") else text


def markup_paragraphs(text):
    """Paragraphs of HTML, Mallard or DocBook text; code and tags are gone."""
    text = _DROPPED.sub("\n", text)
    text = _SPACE.sub(" ", text)
    text = _BLOCK.sub("\n", text)
    text = html.unescape(_TAG.sub("", text))
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    return [paragraph for paragraph in map(fold, lines) if paragraph]


def plain_paragraphs(text):
    """Paragraphs of plain text, divided by empty lines."""
    return [paragraph for paragraph in map(fold, re.split(r"\n\s*\n", text)) if paragraph]


def rst_paragraphs(text):
    """Prose paragraphs of reStructuredText: no directives, literal blocks or tables."""
    kept = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith((" ", "\t", "..", "+-", "==")) or "|" in block:
            continue
        block = re.sub(r"\n[=\-~^*#]{3,}\s*$", "", block)
        block = re.sub(r":[\w:]+:`([^`]*)`", r"\1", block)
        kept.append(fold(re.sub(r"``?([^`]*)``?_?", r"\1", block)))
    return [paragraph for paragraph in kept if paragraph]


_MAN_BREAK = re.compile(r"[.'](PP|TP|P|LP|IP|HP|SH|SS|RS|RE|nf|fi|br|sp|TH|Sh|Pp|It|Bl|El)\b")
_MAN_FONT_LINE = re.compile(r"^[.'](?:B|I|BR|IR|RB|RI|BI|IB|SM|Nm|Fl|Ar|Xr|Em|Pa)\s+")
_MAN_ESCAPE = re.compile(
    r"\\f(?:\[[^\]]*\]|\(..|.)|\\s[+-]?\d+|\\&|\\/|\\c|\\\(\w\w|\\\[\w+\]|\\\*\(.."
)


def man_paragraphs(text):
    """Paragraphs of a manual page in roff."""
    paragraphs, current = [], []
    for line in text.split("\n") + [".PP"]:
        if _MAN_BREAK.match(line) or not line.strip():
            paragraphs.append(fold(" ".join(current)))
            current = []
            continue
        line = _MAN_FONT_LINE.sub("", line)
        if line.startswith((".", "'")):
            continue
        line = _MAN_ESCAPE.sub("", line).replace("\\-", "-").replace("\\e", "\\")
        current.append(line.replace("\\ ", " ").strip())
    return [paragraph for paragraph in paragraphs if paragraph]


def clean_string(text):
    """One string of a user interface without tags, keyboard mnemonics and escapes."""
    text = _MNEMONIC_IN_BRACKETS.sub("", _TAG.sub(" ", text))
    text = _MNEMONIC.sub("", text).replace("~", "").replace("\\n", " ")
    if text.count("_") == 1:  # a mnemonic inside a word ("E_xit"); identifiers mostly have more
        text = text.replace("_", "")
    return fold(html.unescape(text))


def string_paragraphs(text):
    """Clean paragraphs of a translated string, which may hold several."""
    return [p for p in map(clean_string, re.split(r"\n\s*\n", text)) if p]


def _looks_english(text):
    words = _WORD.findall(text.lower())
    hits = sum(word in _ENGLISH_WORDS for word in words)
    return hits * 7 >= len(words) and hits > 0


def acceptable(language, text):
    """True for a paragraph of running text that can be in this language."""
    if language in DENSE:
        if len(text) < 10:
            return False
    elif len(text) < 25 or text.count(" ") < 3:
        return False
    if len(text) > MAX_PARAGRAPH_BYTES or len(text.encode()) > MAX_PARAGRAPH_BYTES:
        return False
    if 2 * len(_NOT_A_LETTER.findall(text)) > len(text):
        return False
    letters = script_letters(language)
    if letters is None:
        return language == "en" or not _looks_english(text)
    own = len(letters.findall(text))
    weight = 2.5 if language in ("zh", "ja", "ko") else 1
    return own >= 6 and own * weight >= len(_ASCII_LETTER.findall(text))
