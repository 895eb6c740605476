"""The languages of the corpus: codes, locale names, package name endings, scripts."""

import re

LANGUAGES = (
    "en zh ja ko ar ru hi he th vi tr el de fr es it pt pl uk cs nl sv fi hu ro id fa bg da"
).split()

# Written without spaces or with very short paragraphs: length is measured in characters only.
DENSE = frozenset({"zh", "ja", "ko", "th"})

# Endings of Debian and Ubuntu package names, where they are not just the code.
_PACKAGE_ENDINGS = {
    "en": ["en", "en-us", "en-gb"],
    "zh": ["zh", "zh-cn", "zh-hans"],
    "pt": ["pt", "pt-br", "pt-pt"],
    "hi": ["hi", "hi-in"],
    "es": ["es", "es-es"],
    "sv": ["sv", "sv-se"],
}

# The country that says nothing new about a language (de_DE is de, de_CH is left out).
_COUNTRY = {
    "en": "us", "zh": "cn", "ja": "jp", "ko": "kr", "ar": "ma", "hi": "in", "he": "il",
    "vi": "vn", "el": "gr", "uk": "ua", "cs": "cz", "sv": "se", "fa": "ir", "da": "dk",
}

_OTHER_LOCALES = {
    "c": "en", "iw": "he", "zh_hans": "zh", "cn": "zh", "pt_br": "pt", "pt_pt": "pt",
}

_SCRIPT_OF = {
    "ar": "arabic", "fa": "arabic", "he": "hebrew", "hi": "devanagari", "ru": "cyrillic",
    "uk": "cyrillic", "bg": "cyrillic", "el": "greek", "th": "thai", "ko": "hangul",
    "ja": "japanese", "zh": "han",
}

_SCRIPT_LETTERS = {
    "arabic": re.compile("[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]"),
    "hebrew": re.compile("[\u0590-\u05ff]"),
    "devanagari": re.compile("[\u0900-\u097f]"),
    "cyrillic": re.compile("[\u0400-\u052f]"),
    "greek": re.compile("[\u0370-\u03ff\u1f00-\u1fff]"),
    "thai": re.compile("[\u0e00-\u0e7f]"),
    "hangul": re.compile("[\uac00-\ud7a3\u1100-\u11ff]"),
    "japanese": re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"),
    "han": re.compile("[\u3400-\u9fff\uf900-\ufaff]"),
}


def script_letters(language):
    """The pattern of one letter of the language's script; None for Latin."""
    return _SCRIPT_LETTERS.get(_SCRIPT_OF.get(language))


def package_endings(language):
    """Endings of per-language package names, e.g. ["pt", "pt-br", "pt-pt"]."""
    return _PACKAGE_ENDINGS.get(language, [language])


def apt_translations(languages):
    """Codes of the package description translations of these languages."""
    codes = []
    for language in languages:
        codes += {"zh": ["zh_CN", "zh"], "pt": ["pt", "pt_BR"]}.get(language, [language])
    return codes


def language_of_locale(locale):
    """The language of a locale name ("pt_BR", "zh-CN", "C"), or None where it is not wanted."""
    name = locale.strip().lower().replace("-", "_")
    name = re.sub(r"\.utf_?8$", "", name)
    if name in _OTHER_LOCALES:
        return _OTHER_LOCALES[name]
    language, _, country = name.partition("_")
    if language in LANGUAGES and country in ("", _COUNTRY.get(language, language)):
        return language
    return None


def language_of_ending(ending):
    """The language of a package name ending ("es-es", "en-gb"), or None."""
    for language in LANGUAGES:
        if ending in package_endings(language):
            return language
    return None
