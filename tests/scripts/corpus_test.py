"""Tests of the parts of scripts/corpus on tiny inputs made here."""

import io
import json
import pathlib
import struct
import sys
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from corpus_sources import cleaning, documents, formats, languages  # noqa: E402
from corpus_sources import readers, sources, split  # noqa: E402


def make_mo(pairs, order="<"):
    """The bytes of a .mo file."""
    ids = [key.encode() for key, _ in pairs]
    texts = [value.encode() for _, value in pairs]
    offset = 28 + 16 * len(pairs)
    table, data = [], b""
    for item in ids + texts:
        table.append(struct.pack(order + "2I", len(item), offset + len(data)))
        data += item + b"\0"
    header = struct.pack(
        order + "7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 28 + 16 * len(pairs)
    )
    return header + b"".join(table) + data


class LanguagesTest(unittest.TestCase):
    def test_locales(self):
        for locale, language in [
            ("de", "de"), ("de_DE", "de"), ("pt_BR", "pt"), ("pt-PT", "pt"), ("zh-CN", "zh"),
            ("zh_Hans", "zh"), ("C", "en"), ("iw", "he"), ("uk_UA.UTF-8", "uk"), ("ar-MA", "ar"),
        ]:
            self.assertEqual(languages.language_of_locale(locale), language, locale)
        for locale in ("zh_TW", "de_CH", "sr@latin", "en_GB", "es_MX", "nb", "de_AT"):
            self.assertIsNone(languages.language_of_locale(locale), locale)

    def test_package_endings(self):
        self.assertEqual(languages.language_of_ending("pt-br"), "pt")
        self.assertEqual(languages.language_of_ending("es-es"), "es")
        self.assertIsNone(languages.language_of_ending("zh-tw"))

    def test_there_are_29(self):
        self.assertEqual(len(set(languages.LANGUAGES)), 29)


class CleaningTest(unittest.TestCase):
    def test_html(self):
        text = """<html><head><title>x</title></head><body><script>var a = "no";</script>
            <p>One &amp; <b>two</b>
            three</p><pre>code();</pre><!-- hidden --><li>\u200ffour&nbsp;five</li></body></html>"""
        self.assertEqual(cleaning.markup_paragraphs(text), ["One & two three", "four five"])

    def test_mallard(self):
        text = """<?xml version="1.0"?><page xmlns="http://projectmallard.org/1.0/">
            <info><desc>Short</desc></info><title>Add a user</title>
            <p>Press <gui>Unlock</gui> in the corner.</p><code>rm x</code></page>"""
        self.assertEqual(
            cleaning.markup_paragraphs(text), ["Add a user", "Press Unlock in the corner."]
        )

    def test_strings(self):
        self.assertEqual(cleaning.clean_string("_Save &lt;all&gt;\n  files"), "Save <all> files")
        self.assertEqual(cleaning.clean_string("&Open <b>it</b>"), "Open it")
        self.assertEqual(cleaning.clean_string("E_xit"), "Exit")
        self.assertEqual(cleaning.clean_string("a_b and c_d"), "a_b and c_d")
        self.assertEqual(cleaning.clean_string("開く(_O)"), "開く")

    def test_manual_page(self):
        text = '.\\" comment\n.TH LS 1\n.SH NAME\nls \\- list\n.PP\n'
        text += "The \\fBBold\\fR word\n.B here\n.sp\nEnd\n"
        self.assertEqual(cleaning.man_paragraphs(text), ["ls - list", "The Bold word here", "End"])

    def test_ideographs_are_joined(self):
        self.assertEqual(cleaning.join_lines("ja", "実際 に必要 な Linux 版"), "実際に必要な Linux 版")
        self.assertEqual(cleaning.join_lines("ko", "한국어 문장"), "한국어 문장")

    def test_acceptable(self):
        accept = cleaning.acceptable
        self.assertTrue(accept("de", "Dies ist ein ganz gewöhnlicher Satz."))
        self.assertFalse(accept("de", "Zu kurz."))
        self.assertFalse(accept("de", "Donaudampfschifffahrtsgesellschaft usw."))  # few words
        self.assertFalse(accept("de", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 ab"))  # few letters
        self.assertFalse(accept("de", "Click the button and then open this file"))  # English
        self.assertTrue(accept("en", "Click the button and then open this file"))
        self.assertTrue(accept("ru", "Это самое обыкновенное русское предложение."))
        self.assertFalse(accept("ru", "Dies ist ein ganz gewöhnlicher Satz."))
        self.assertTrue(accept("th", "ลืมรหัสผ่านหรือ"))
        self.assertTrue(accept("hi", "यह एक साधारण हिंदी वाक्य है जो ठीक है"))
        self.assertFalse(accept("en", "word and then " * 1000))  # longer than any prose


class FormatsTest(unittest.TestCase):
    def test_mo(self):
        pairs = [
            ("", "Content-Type: text/plain"),
            ("menu\x04Open", "Öffnen"),
            ("one file\0%d files", "eine Datei\0%d Dateien"),
        ]
        expected = [("Open", "Öffnen"), ("one file", "%d Dateien")]
        for order in "<>":
            self.assertEqual(formats.parse_mo(make_mo(pairs, order)), expected)

    def test_damaged_mo(self):
        whole = make_mo([("key", "value")])
        for data in (b"", b"text", whole[:20], whole[:-8]):
            self.assertEqual(formats.parse_mo(data), [])

    def test_ftl(self):
        text = """# comment
-brand = Fox
title = Welcome to { -brand-short-name }
about =
    .label = A label
    .title = A long
        title
count =
    { $n ->
        [one] One tab
       *[other] { $n } tabs
    }
"""
        self.assertEqual(
            formats.parse_ftl(text),
            [("-brand", "Fox"), ("title", "Welcome to Firefox"), ("about.label", "A label"),
             ("about.title", "A long title"), ("count", "One tab"), ("count", "X tabs")],
        )

    def test_properties(self):
        text = "# c\nkey = \\u00e4b\nlong=one \\\n   two\nnothing\n"
        self.assertEqual(formats.parse_properties(text), [("key", "äb"), ("long", "one two")])

    def test_messages(self):
        text = json.dumps({"@metadata": {}, "a": "See [[Page|the ''page'']] {{SITENAME}}."})
        self.assertEqual(formats.parse_messages_json(text), {"a": "See the page ."})
        self.assertEqual(formats.parse_messages_json("{broken"), {})

    def test_descriptions(self):
        text = (
            "Package: a\nDescription-md5: 0123\nDescription-de: Titel\n Erste Zeile\n zweite.\n"
            " .\n Zweiter Absatz.\n\nPackage: b\nDescription-md5: 4567\n\n"
        )
        parsed = [(md5, [cleaning.fold(p) for p in body]) for md5, body in
                  formats.parse_descriptions(text)]
        self.assertEqual(
            parsed, [("0123", ["Titel", "Erste Zeile zweite.", "Zweiter Absatz."])]
        )


class SplitTest(unittest.TestCase):
    def test_string_group_ignores_mnemonics_case_and_package(self):
        units = readers.Units("a", "a"), readers.Units("b", "b")
        text = "Dies ist ein ganz gewöhnlicher Satz."
        units[0].add_string("de", "de", "_Save the whole document", text)
        units[1].add_string("de", "de_DE", "&save the Whole document", text)
        groups = [unit.by_language()["de"][0]["group"] for unit in units]
        self.assertEqual(groups[0], groups[1])

    def test_share(self):
        pages = sum(split.is_held_out(split.page_group("book", f"{n}.html")) for n in range(8000))
        strings = sum(split.is_held_out(split.string_group(f"text {n}")) for n in range(8000))
        for count in (pages, strings):
            self.assertAlmostEqual(count, 8000 / split.HELD_OUT_ONE_IN, delta=50)

    def test_stable(self):
        # The split of published corpora hangs on these numbers: they never change.
        self.assertEqual(split.stable_hash("choir"), split.stable_hash("choir"))
        self.assertEqual(split.stable_hash(""), 0xE3B0C44298FC1C14)


class DocumentsTest(unittest.TestCase):
    @staticmethod
    def units(count, text="Sentence {n} of the page {p} in the little book."):
        return [
            {"group": f"book/{p}.html", "name": f"{p}.html@en",
             "paragraphs": [text.format(n=n, p=p) for n in range(12)]}
            for p in range(count)
        ]

    def test_pack(self):
        parts = documents.pack(["x" * 700] * 7)
        self.assertEqual([len(part) for part in parts], [3, 3, 1])
        parts = documents.pack(["x" * 1600, "y" * 200])
        self.assertEqual([len(part) for part in parts], [2])  # a short rest joins
        parts = documents.pack(["x" * 1400, "y" * 3000])
        self.assertEqual([len(part) for part in parts], [1, 1])  # never over the maximum
        self.assertEqual(documents.pack(["x" * 100]), [])
        self.assertEqual(documents.pack([]), [])

    def test_no_group_and_no_text_in_both_splits(self):
        units = self.units(200)
        # The same paragraph in a held-out and in training pages: only the held-out one stays.
        for unit in units:
            unit["paragraphs"].append("This very sentence is found on all of the pages.")
        made = documents.make_documents("en", [("book", "GPL", units, False)], frozenset())
        groups = {name: {d["group"] for d in made[name]} for name in made}
        texts = {name: {p for d in made[name] for p in d["text"].split("\n")} for name in made}
        self.assertTrue(groups["heldout"] and groups["train"])
        self.assertFalse(groups["heldout"] & groups["train"])
        self.assertFalse(texts["heldout"] & texts["train"])
        self.assertIn("This very sentence is found on all of the pages.", texts["heldout"])
        ids = [d["id"] for name in made for d in made[name]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_translations_share_the_split(self):
        english = documents.make_documents("en", [("b", "x", self.units(200), False)], frozenset())
        german_units = self.units(200, "Satz {n} der Seite {p} in dem kleinen Buch.")
        german = documents.make_documents("de", [("b", "x", german_units, False)], frozenset())
        for name in english:
            self.assertEqual(
                {d["group"] for d in english[name]}, {d["group"] for d in german[name]}
            )

    def test_untranslated_is_dropped(self):
        units = self.units(50)
        english = frozenset(p for unit in units[:49] for p in unit["paragraphs"])
        made = documents.make_documents("de", [("b", "x", units, False)], english)
        groups = {d["group"] for name in made for d in made[name]}
        self.assertEqual(groups, {"book/49.html"})

    def test_cap_is_deterministic_and_nested(self):
        def train(cap):
            packages = [("b", "x", self.units(200), False)]
            return documents.make_documents("en", packages, frozenset(), cap)["train"]

        everything, part, less = train(None), train(40_000), train(20_000)
        size = sum(len(d["text"].encode()) for d in part)
        self.assertTrue(36_000 < size <= 40_000, size)
        self.assertEqual(part, train(40_000))
        self.assertEqual(less, part[: len(less)])
        self.assertEqual(part, everything[: len(part)])

    def test_filler_comes_last(self):
        filler = self.units(200, "Filling sentence {n} of description {p} is here.")
        packages = [("b", "x", self.units(60), False), ("d", "y", filler, True)]
        made = documents.make_documents("en", packages, frozenset(), 60_000)["train"]
        alone = documents.make_documents("en", packages[:1], frozenset())["train"]
        self.assertEqual(sum(d["source"] == "b" for d in made), len(alone))
        self.assertTrue(any(d["source"] == "d" for d in made))


class ReadersTest(unittest.TestCase):
    GERMAN = "Dies ist ein ganz gewöhnlicher Satz."

    def test_office_help_pages_share_their_group(self):
        units = readers.Units("libreoffice-help", "libreoffice-help-de")
        reader = readers.READERS["office_help"](units, "libreoffice-help-de")
        base = "/usr/share/libreoffice/help"
        self.assertTrue(reader.wants(f"{base}/de/text/a/b.html"))
        self.assertFalse(reader.wants(f"{base}/zh-TW/text/a/b.html"))
        self.assertFalse(reader.wants(f"{base}/de/noscript.html"))
        reader.read(f"{base}/de/text/a/b.html", f"<p>{self.GERMAN}</p>".encode())
        reader.read(f"{base}/en-US/text/a/b.html", b"<p>This is a rather ordinary sentence.</p>")
        found = units.by_language()
        self.assertEqual(found["de"][0]["group"], "libreoffice-help/text/a/b.html")
        self.assertEqual(found["en"][0]["group"], found["de"][0]["group"])

    def test_language_pack(self):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("localization/de/a.ftl", f"greeting = {self.GERMAN}\n")
        units = readers.Units("mozilla", "firefox-esr-l10n-de")
        reader = readers.READERS["language_packs"](units, "firefox-esr-l10n-de")
        reader.read("/x.xpi", data.getvalue())
        (unit,) = units.by_language()["de"]
        self.assertEqual(unit["paragraphs"], [self.GERMAN])
        self.assertEqual(unit["group"], split.string_group("message greeting"))

    def test_wiki_messages_need_an_english_one(self):
        units = readers.Units("mediawiki", "mediawiki")
        reader = readers.READERS["wiki_messages"](units, "mediawiki")
        english = {"a": "This is a rather ordinary sentence."}
        reader.read("/w/i18n/en.json", json.dumps(english).encode())
        german = {"a": self.GERMAN, "b": "x" + self.GERMAN}
        reader.read("/w/i18n/de.json", json.dumps(german).encode())
        reader.finish()
        self.assertEqual(units.by_language()["de"][0]["paragraphs"], [self.GERMAN])

    def test_every_reader_of_the_table_exists(self):
        for source in sources.SOURCES:
            for name in source.readers:
                self.assertIn(name, readers.READERS)


if __name__ == "__main__":
    unittest.main()
