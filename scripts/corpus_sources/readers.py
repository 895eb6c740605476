"""Readers of packages: which files of a package hold text, and how they become units.

A reader has `wants(path)` and `read(path, data)`; `finish()` hands over what needs all files.
Units go to a `Units` collection as (language, group, unit name, paragraphs).
"""

import gzip
import io
import posixpath
import re
import zipfile

from . import cleaning, formats
from .languages import language_of_ending, language_of_locale
from .split import page_group, string_group


class Units:
    """Collects the acceptable paragraphs of one package by language and unit."""

    def __init__(self, source, package):
        self.source = source
        self._family = re.sub("-l10n-.*", "-l10n", package)  # the same for all languages
        self._units = {}

    def add(self, language, group, name, paragraphs):
        """Appends to the unit (language, group, name)."""
        joined = [cleaning.join_lines(language, paragraph) for paragraph in paragraphs]
        kept = [p for p in joined if cleaning.acceptable(language, p)]
        if kept:
            self._units.setdefault((language, group, name), []).extend(kept)

    def add_page(self, language, path, paragraphs, locale=""):
        """A page; `locale` tells two translations to one language apart."""
        group, name = page_group(self.source, path), f"{path}@{locale or language}"
        self.add(language, group, name, paragraphs)

    def add_string(self, language, locale, key, text):
        """A translated string. All catalogues of a package are one unit per group and locale."""
        group = string_group(cleaning.clean_string(key))
        self.add(language, group, f"{self._family}@{locale}", cleaning.string_paragraphs(text))

    def by_language(self):
        """{language: [{"group", "name", "paragraphs"}]}, sorted."""
        result = {}
        for (language, group, name), paragraphs in sorted(self._units.items()):
            unit = {"group": group, "name": name, "paragraphs": paragraphs}
            result.setdefault(language, []).append(unit)
        return result


def _text(path, data):
    if path.endswith(".gz"):
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace")


class PageReader:
    """Pages whose path names the locale: the pattern has the groups `locale` and `page`."""

    def __init__(self, units, package, pattern, paragraphs=cleaning.markup_paragraphs):
        del package
        self._units = units
        self._pattern = re.compile(pattern)
        self._paragraphs = paragraphs

    def wants(self, path):
        match = self._pattern.search(path)
        return bool(match) and language_of_locale(match["locale"] or "en") is not None

    def read(self, path, data):
        match = self._pattern.search(path)
        locale = match["locale"] or "en"
        paragraphs = self._paragraphs(_text(path, data))
        self._units.add_page(language_of_locale(locale), match["page"], paragraphs, locale)

    def finish(self):
        pass


class NamedHtmlReader:
    """HTML pages in a package whose name ends in the language (none: English)."""

    def __init__(self, units, package):
        self._units = units
        ending = package[len(units.source) + 1 :]
        self._locale = ending or "en"
        self._language = language_of_ending(ending) if ending else "en"

    def wants(self, path):
        return self._language is not None and path.endswith((".html", ".html.gz"))

    def read(self, path, data):
        page = posixpath.basename(path).removesuffix(".gz")
        page = page.replace(f".{self._locale}.html", ".html")
        paragraphs = cleaning.markup_paragraphs(_text(path, data))
        self._units.add_page(self._language, page, paragraphs, self._locale)

    def finish(self):
        pass


class CatalogueReader:
    """gettext catalogues. The English text is the union of the msgids of all languages."""

    _LOCALE = re.compile(
        r"/(?:locale|locale-langpack|locales|resource|translations)/([^/]+)"
        r"/LC_MESSAGES/([^/]+)\.mo$"
    )
    _WORDPRESS = re.compile(
        r"wp-content/languages/((?:[\w-]+/)*(?:[\w-]+-)?)([a-z]{2}(?:_[A-Z]{2})?)\.mo$"
    )

    def __init__(self, units, package):
        self._units = units
        self._english = {}

    def _locate(self, path):
        match = self._LOCALE.search(path)
        if match:
            return match[1], match[2]
        match = self._WORDPRESS.search(path)
        return (match[2], match[1] or "core") if match else (None, None)

    def wants(self, path):
        if not path.endswith(".mo"):
            return False
        locale, _ = self._locate(path)
        return locale is not None and language_of_locale(locale) not in (None, "en")

    def read(self, path, data):
        locale, catalogue = self._locate(path)
        language = language_of_locale(locale)
        for msgid, text in formats.parse_mo(data):
            if text != msgid:
                self._units.add_string(language, locale, msgid, text)
                self._english.setdefault(catalogue, {})[msgid] = True

    def finish(self):
        for _, msgids in sorted(self._english.items()):
            for msgid in sorted(msgids):
                self._units.add_string("en", "en", msgid, msgid)


class WikiMessageReader:
    """MediaWiki messages: JSON files by language; a message without an English one is left out."""

    _PATH = re.compile(r"^(.*/i18n/(?:[\w-]+/)*)([\w-]+)\.json$")

    def __init__(self, units, package):
        del package
        self._units = units
        self._folders = {}

    def wants(self, path):
        match = self._PATH.search(path)
        return bool(match) and language_of_locale(match[2]) is not None

    def read(self, path, data):
        match = self._PATH.search(path)
        files = self._folders.setdefault(match[1], {})
        files[match[2]] = formats.parse_messages_json(_text(path, data))

    def finish(self):
        for _, files in sorted(self._folders.items()):
            english = files.get("en", {})
            for locale, messages in sorted(files.items()):
                for key, msgid in english.items():
                    text = messages.get(key)
                    if text and (locale == "en" or text != msgid):
                        language = language_of_locale(locale)
                        self._units.add_string(language, locale, msgid, text)


class LanguagePackReader:
    """Firefox and Thunderbird language packs: zip files with Fluent and properties files."""

    def __init__(self, units, package):
        self._units = units
        self._language = language_of_ending(package.split("-l10n-")[1])
        self._locale = package.split("-l10n-")[1]

    def wants(self, path):
        return path.endswith(".xpi")

    def read(self, path, data):
        del path
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in sorted(archive.namelist()):
                parse = self._parser(name)
                if not parse:
                    continue
                text = archive.read(name).decode("utf-8", "replace")
                for key, value in parse(text):
                    self._units.add_string(self._language, self._locale, "message " + key, value)

    @staticmethod
    def _parser(name):
        if name.endswith(".ftl"):
            return formats.parse_ftl
        return formats.parse_properties if name.endswith(".properties") else None

    def finish(self):
        pass


class DescriptionReader:
    """apt's translated package descriptions, aligned by the md5 of the English description."""

    _PATH = re.compile(r"_(?:main|universe)_i18n_Translation-(\w+)$")

    def __init__(self, units, package):
        del package
        self._units = units

    def wants(self, path):
        match = self._PATH.search(path.replace("%5f", "_"))
        return bool(match) and language_of_locale(match[1]) is not None

    def read(self, path, data):
        locale = self._PATH.search(path.replace("%5f", "_"))[1]
        language = language_of_locale(locale)
        for md5, paragraphs in formats.parse_descriptions(_text(path, data)):
            self._units.add_page(language, md5, map(cleaning.fold, paragraphs), locale)

    def finish(self):
        pass


class TutorialReader:
    """Plain-text tutorials named by language: the pattern has the groups `page` and `locale`."""

    _NAMES = {"cn": "zh", "zh": None, "no": None}  # here zh is the traditional script

    def __init__(self, units, package, pattern):
        del package
        self._units = units
        self._pattern = re.compile(pattern)

    def _language(self, path):
        match = self._pattern.search(path)
        if not match:
            return None
        locale = match["locale"] or "en"
        return self._NAMES.get(locale, language_of_locale(locale))

    def wants(self, path):
        return self._language(path) is not None

    def read(self, path, data):
        language = self._language(path)
        encoding = "iso2022_jp" if language == "ja" and b"\x1b$" in data else "utf-8"
        paragraphs = cleaning.plain_paragraphs(data.decode(encoding, "replace"))
        self._units.add_page(language, self._pattern.search(path)["page"], paragraphs)

    def finish(self):
        pass


def _page_reader(pattern, paragraphs=cleaning.markup_paragraphs):
    return lambda units, package: PageReader(units, package, pattern, paragraphs)


READERS = {
    "handbook": _page_reader(r"/debian-handbook/html/(?P<locale>[^/]+)/(?P<page>[^/]+\.html)$"),
    "help_pages": _page_reader(
        r"/usr/share/help(?:-langpack)?/(?P<locale>[^/]+)/(?P<page>.+\.(?:page|docbook|xml))$"
    ),
    "office_help": _page_reader(
        r"/libreoffice/help/(?P<locale>[^/]+)/(?P<page>text/.+\.html)$"
    ),
    "install_guide": _page_reader(
        r"/installation-guide-amd64/(?P<locale>[^/]+)/(?P<page>[^/]+\.html)$"
    ),
    "man_pages": _page_reader(
        r"/usr/share/man/(?:(?P<locale>[^/]+)/)?(?P<page>man\d/.+\.gz)$", cleaning.man_paragraphs
    ),
    "kernel_docs": _page_reader(
        r"/Documentation/(?:translations/(?P<locale>[^/]+)/)?"
        r"(?P<page>(?!translations/|devicetree/|ABI/).+\.rst(?:\.gz)?)$",
        cleaning.rst_paragraphs,
    ),
    "english_html": _page_reader(r"(?P<locale>)/usr/share/doc/(?P<page>.+\.html)$"),
    "named_html": NamedHtmlReader,
    "catalogues": CatalogueReader,
    "wiki_messages": WikiMessageReader,
    "language_packs": LanguagePackReader,
    "descriptions": DescriptionReader,
    "emacs_tutorial": lambda units, package: TutorialReader(
        units, package, r"/tutorials/(?P<page>TUTORIAL)(?:\.(?P<locale>\w+))?$"
    ),
    "vim_tutor": lambda units, package: TutorialReader(
        units, package, r"/tutor/(?P<page>tutor)(?:\.(?P<locale>\w+))?\.utf-8$"
    ),
}
