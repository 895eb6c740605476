"""The packages that hold text: name patterns, how each is read, licence.

A pattern is a regular expression over package names; {lang} stands for the name endings of the
wanted languages. Versions and distributions differ in names, so nothing here is required: what
is not available is reported and skipped.
"""

import dataclasses
import re

from .languages import package_endings


@dataclasses.dataclass(frozen=True)
class Source:
    """One family of packages."""

    name: str  # also the prefix of its group keys
    patterns: tuple
    readers: tuple  # names of readers in readers.py
    licence: str
    small: bool = True  # part of the small build


_DESCRIPTIONS = "descriptions"

# The order is the order of precedence when the same paragraph occurs twice: prose first.
SOURCES = (
    Source("debian-handbook", ("debian-handbook",), ("handbook",), "GPL-2+ or CC-BY-SA-3.0"),
    Source("gnome-user-docs", ("gnome-user-docs",), ("help_pages",), "CC-BY-SA-3.0"),
    Source(
        "wesnoth",
        (r"wesnoth-1\.\d+-(did|dm|dw|ei|l)",),
        ("catalogues",),
        "GPL-2+",
    ),
    Source(
        "wesnoth",
        (r"wesnoth-1\.\d+-(httt|low|nr|sof|sota|sotbe|thot|trow|tsg|ttb|utbs|data)",),
        ("catalogues",),
        "GPL-2+",
        small=False,
    ),
    Source("libreoffice-help", ("libreoffice-help-{lang}",), ("office_help",), "MPL-2.0"),
    Source("installation-guide", ("installation-guide-amd64",), ("install_guide",), "GPL-2"),
    Source("debian-reference", ("debian-reference-{lang}",), ("named_html",), "GPL-2+", False),
    Source("debian-faq", ("debian-faq(-{lang})?",), ("named_html",), "GPL-2+", False),
    Source("maint-guide", ("maint-guide(-{lang})?",), ("named_html",), "GPL-2+", False),
    Source("developers-reference", ("developers-reference(-{lang})?",), ("named_html",),
           "GPL-2+", False),
    Source("aptitude-doc", ("aptitude-doc-{lang}",), ("named_html",), "GPL-2+", False),
    Source("debian-edu-doc", ("debian-edu-doc-{lang}",), ("named_html",), "GPL-2+", False),
    Source("emacs-tutorial", ("emacs-common",), ("emacs_tutorial",), "GPL-3+", False),
    Source("vim-tutor", ("vim-runtime",), ("vim_tutor",), "Vim", False),
    Source("manpages", ("manpages-dev", "manpages-{lang}(-dev)?"), ("man_pages",),
           "various free licences (see copyright)", False),
    Source("linux-doc", (r"linux-doc-\d[\d.]*", "linux-doc"), ("kernel_docs",), "GPL-2", False),
    Source("anarchism", ("anarchism",), ("english_html",), "GPL-2 or GFDL-1.1+", False),
    Source(_DESCRIPTIONS, (), (_DESCRIPTIONS,), "as the described packages; do not republish"),
    Source("mediawiki", ("mediawiki",), ("wiki_messages",), "GPL-2+"),
    Source("mozilla", ("(firefox-esr|thunderbird)-l10n-{lang}",), ("language_packs",), "MPL-2.0"),
    Source("libreoffice-l10n", ("libreoffice-l10n-{lang}",), ("catalogues",), "MPL-2.0"),
    Source("wordpress", ("wordpress-l10n",), ("catalogues",), "GPL-2+"),
    Source(
        "applications",
        ("brasero-common", "coreutils", "dpkg", "gedit-common", "gnome-control-center-data",
         "gnome-software-common", "gnucash-common", "gramps", "nautilus-data", "pidgin-data",
         "rhythmbox-data", "vlc-l10n"),
        ("catalogues", "help_pages"),
        "GPL-2+ or GPL-3+ (see copyright)",
    ),
    Source(
        "applications",
        ("evolution-common", "evolution-data-server-common", "libgtk-3-common", "libgtk-4-common",
         "shotwell-common"),
        ("catalogues", "help_pages"),
        "LGPL-2+ or LGPL-2.1+ (see copyright)",
    ),
    Source("applications", ("phpmyadmin",), ("catalogues",), "GPL-2"),
    Source("applications", ("git",), ("catalogues",), "GPL-2", small=False),
    # Ubuntu moves the catalogues of its main packages here.
    Source(
        "applications",
        ("language-pack-(gnome-|kde-)?{lang}-base",),
        ("catalogues", "help_pages"),
        "as the translated programs (see copyright)",
    ),
    Source(
        "applications",
        ("abiword-common", "apt", "aptitude-common", "audacity", "bash", "binutils-common",
         "calibre", "darktable", "deja-dup", "digikam-data", "evince-common", "freeciv-data",
         r"gcc-\d+-locales", "gcompris-qt-data", "gimp-data", "gnumeric-common", "gnupg-l10n",
         "hexchat-common", "homebank-data", "inkscape", "iso-codes", "kdenlive-data",
         "kdevelop-l10n", "kmymoney-common", "krita-l10n", "ktorrent-data", "libc-l10n",
         "liferea-data", "lyx-common", "marble-data", "okular", "openttd-data",
         "plasma-desktop-data", "plasma-workspace-data", "rawtherapee-data", "scribus-data",
         "simple-scan", "skrooge-common", "synaptic", "tar", "tellico-data", "thunar-data",
         "totem-common", "transmission-common", "umbrello", "wget"),
        ("catalogues", "help_pages"),
        "various free licences (see copyright)",
        small=False,
    ),
)

DESCRIPTIONS = next(index for index, s in enumerate(SOURCES) if s.name == _DESCRIPTIONS)


def selected_packages(names, languages, full):
    """[(package, index into SOURCES)] in the order of the table, and what was not found."""
    chosen, missing = [], []
    names = sorted(names)
    for index, source in enumerate(SOURCES):
        if not (full or source.small):
            continue
        for pattern in source.patterns:
            found, without = _matches(pattern, names, languages)
            chosen += [(name, index) for name in found]
            if not found:
                missing.append(pattern)
            elif without:
                missing.append(f"{pattern} for {' '.join(without)}")
    return list(dict.fromkeys(chosen)), missing


def _matches(pattern, names, languages):
    """Names that match in any language, and the languages without one."""
    if "{lang}" not in pattern:
        return [name for name in names if re.fullmatch(pattern, name)], []
    found, without = [], []
    for language in languages:
        endings = "(?:" + "|".join(package_endings(language)) + ")"
        expanded = re.compile(pattern.replace("{lang}", endings))
        matching = [name for name in names if expanded.fullmatch(name)]
        found += matching
        if not matching:
            without.append(language)
    return found, without
