"""Whole builds of scripts/corpus from packages made here, failures of apt, the command line."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(ROOT / "tests/scripts"))

from corpus_sources import apt, build, cli, extract, fixture, languages  # noqa: E402
from corpus_sources import plan, sources, split  # noqa: E402
from corpus_sources.errors import CorpusError  # noqa: E402
from corpus_test import make_mo  # noqa: E402


def held_out_string(start):
    """A sentence whose group is held out, beginning with `start`."""
    for number in range(10000):
        text = f"{start} number {number} of all the sentences here"
        if split.is_held_out(split.string_group(text)):
            return text
    raise AssertionError("no held-out string found")


@unittest.skipUnless(shutil.which("dpkg-deb"), "needs dpkg-deb")
class BuildTest(unittest.TestCase):
    """Whole builds from small packages made with dpkg-deb."""

    LANGUAGES = ["en", "de", "fr"]
    SENTENCE = {
        "en": "This is the ordinary sentence {n} on page {p} of it.",
        "de": "Das hier ist der gewöhnliche Satz {n} auf Seite {p}.",
        "fr": "Voici la phrase ordinaire {n} dans la page {p} du livre.",
    }

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.messages = []
        self.held_out = held_out_string("Remember")
        self.plan = [self.make_book()]
        self.plan += [self.make_application(name) for name in ("gramps", "dpkg")]

    def make_deb(self, name, files):
        tree = self.folder / "tree" / name
        control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\n"
        files = dict(files, **{"DEBIAN/control": (control + "Description: test\n").encode(),
                               f"usr/share/doc/{name}/copyright": b"License: GPL-2+\n"})
        for path, data in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(data)
        deb = self.folder / f"{name}.deb"
        command = ["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True)
        index = next(i for i, s in enumerate(sources.SOURCES) if name in s.patterns)
        return extract.Package(name, "1", index, str(deb))

    def make_book(self):
        files = {}
        for language in self.LANGUAGES:
            for page in range(120):
                body = [self.SENTENCE[language].format(n=n, p=page) for n in range(8)]
                path = f"usr/share/help/{language}/book/{page}.page"
                files[path] = "".join(f"<p>{line}</p>" for line in body).encode()
        return self.make_deb("gnome-user-docs", files)

    def make_application(self, name):
        files = {}
        for language in ("de", "fr"):
            # Both packages translate the same held-out msgid, in their own words.
            pairs = [(self.held_out, self.SENTENCE[language].format(n=name, p="of both " * 20))]
            for n in range(100):
                text = self.SENTENCE[language].format(n=n, p=name)
                pairs.append((f"{name} message {n} in English", text))
            path = f"usr/share/locale/{language}/LC_MESSAGES/{name}.mo"
            files[path] = make_mo(pairs)
        return self.make_deb(name, files)

    def options(self, out="out", cache="cache", **changes):
        values = {"out": self.folder / out, "cache": self.folder / cache, "jobs": 1,
                  "languages": self.LANGUAGES, "min_bytes": 100, **changes}
        return build.Options(**values)

    def build(self, **changes):
        return build.build_from(self.options(**changes), self.plan, self.messages.append)

    @staticmethod
    def read(path):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def test_layout_and_fields(self):
        manifest = self.build()
        out = self.folder / "out"
        for language in self.LANGUAGES:
            for name in build.SPLITS:
                for document in self.read(out / name / f"{language}.jsonl"):
                    self.assertEqual(
                        list(document), ["text", "language", "source", "licence", "group", "id"]
                    )
                    self.assertEqual(document["language"], language)
        self.assertEqual(manifest, json.loads((out / "manifest.json").read_text()))
        names = [package["package"] for package in manifest["packages"]]
        self.assertEqual(names, ["gnome-user-docs", "gramps", "dpkg"])
        self.assertEqual((out / "licences" / "dpkg").read_text(), "License: GPL-2+\n")
        self.assertFalse((self.folder / "out.partial").exists())
        self.assertIn("total", build.table(manifest))

    def test_no_leak_across_languages_and_packages(self):
        self.build()
        groups = {name: set() for name in build.SPLITS}
        for name in build.SPLITS:
            for language in self.LANGUAGES:
                for document in self.read(self.folder / "out" / name / f"{language}.jsonl"):
                    groups[name].add(document["group"])
        self.assertFalse(groups["train"] & groups["heldout"])
        for language in ("de", "fr"):
            both = "of both of both"
            held = self.read(self.folder / f"out/heldout/{language}.jsonl")
            train = self.read(self.folder / f"out/train/{language}.jsonl")
            sources_held = {d["source"] for d in held if both in d["text"]}
            self.assertEqual(sources_held, {"gramps", "dpkg"})
            self.assertFalse([d for d in train if both in d["text"]])

    def test_same_bytes_with_any_number_of_jobs(self):
        self.build(out="a", cache="one", jobs=1)
        self.build(out="b", cache="two", jobs=3)
        paths = sorted(p.relative_to(self.folder / "a") for p in (self.folder / "a").rglob("*.*"))
        self.assertTrue(paths)
        for path in paths:
            first, second = (self.folder / name / path for name in "ab")
            self.assertEqual(first.read_bytes(), second.read_bytes(), path)

    def test_second_build_reads_no_package(self):
        self.build()
        for package in self.plan:
            os.truncate(package.path, 0)
        self.messages.clear()
        self.build()
        self.assertIn("text: 0 packages read, 3 from the cache", self.messages)

    def test_complete_output_is_reused(self):
        self.build()
        manifest = build.build(self.options(), self.messages.append)
        self.assertIn("is reused", self.messages[-1])
        self.assertEqual(manifest["languages"], self.LANGUAGES)
        self.assertIsNone(build.complete_manifest(self.options(languages=["en", "de"])))
        (self.folder / "out/train/de.jsonl").unlink()
        self.assertIsNone(build.complete_manifest(self.options()))

    def test_below_minimum_names_languages_and_publishes_nothing(self):
        with self.assertRaisesRegex(CorpusError, r"minimum of 40000 .*: de, fr\."):
            self.plan = [self.make_english_rich()] + self.plan[1:]
            self.build(min_bytes=40_000)
        self.assertFalse((self.folder / "out").exists())

    def make_english_rich(self):
        files = {
            f"usr/share/help/C/book/{page}.page": "".join(
                f"<p>{self.SENTENCE['en'].format(n=n, p=page)}</p>" for n in range(400)
            ).encode()
            for page in range(120)
        }
        return self.make_deb("gnome-user-docs", files)

    def test_damaged_package(self):
        pathlib.Path(self.plan[1].path).write_bytes(b"not a package")
        with self.assertRaisesRegex(CorpusError, r"gramps\.deb.*delete the file"):
            self.build(jobs=2)
        self.assertFalse((self.folder / "out").exists())

    def test_fixture(self):
        manifest = self.build()
        root, out = self.folder / "root", self.folder / "out"
        with self.assertRaisesRegex(CorpusError, "bytes of en for heldout, .* are wanted"):
            fixture.write_fixture(out, manifest, root)
        with unittest.mock.patch.dict(fixture.BYTES, {"train": 9000, "heldout": 700}):
            sizes = fixture.write_fixture(out, manifest, root)
        folder = root / fixture.FOLDER
        files = sorted((folder / "train").glob("*.jsonl"))
        documents_made = [document for file in files for document in self.read(file)]
        self.assertEqual({d["language"] for d in documents_made}, set(self.LANGUAGES))
        self.assertEqual({d["source"] for d in documents_made}, {"gnome-user-docs"})
        self.assertEqual(sum(file.stat().st_size for file in files), sizes["train"])
        self.assertIn("| gnome-user-docs | 1 | CC-BY-SA-3.0 |", (folder / "README.md").read_text())
        self.assertTrue((folder / "licences/gnome-user-docs").exists())


class AptTest(unittest.TestCase):
    """Failures of apt, with programs of our own in its place."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = f"{self.folder}:{path}"

    def program(self, name, script):
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (self.folder / name).chmod(0o755)

    def apt(self):
        return apt.Apt(self.folder / "apt", ["en", "zh"])

    def test_failure_says_command_and_message(self):
        self.program("apt-get", "echo 'E: Could not resolve deb.example' >&2; exit 100")
        with self.assertRaisesRegex(CorpusError, r"`apt-get -q update` failed \(100\):\n.*resolve"):
            self.apt().update()

    def test_update_without_lists_is_an_error(self):
        self.program("apt-get", "echo 'W: Failed to fetch x' >&2; exit 0")
        with self.assertRaisesRegex(CorpusError, "no package list:\n.*Failed to fetch"):
            self.apt().update()

    def test_settings_keep_to_the_folder(self):
        text = (self.apt().lists.parent / "apt.conf").read_text(encoding="utf-8")
        self.assertIn("#clear Acquire::Languages;", text)
        self.assertIn('Acquire::Languages { "en"; "zh_CN"; "zh"; };', text)
        self.assertIn(f'Dir::State::lists "{self.folder.resolve()}/apt/lists"', text)

    def test_plan_is_kept(self):
        lists = self.folder / "cache/apt/lists"
        deb = "gnome-user-docs_43.0%2b1_all.deb"
        self.program("apt-get", f"""case "$*" in
            *update*) touch {lists}/x_main_binary_Packages {lists}/x_main_i18n_Translation-en ;;
            *print-uris*) echo "'http://x/{deb}' {deb} 5 SHA256:0" ;;
            *download*) echo data > {deb} ;;
            esac""")
        self.program("apt-cache", "echo 'Package: gnome-user-docs'")
        messages = []
        cache = self.folder / "cache"
        first = plan.make_plan(cache, ["en"], False, messages.append)
        self.assertEqual([(p.name, p.version) for p in first][0], ("gnome-user-docs", "43.0+1"))
        self.assertTrue(any("skipped" in message for message in messages))
        self.program("apt-get", "exit 100")
        self.assertEqual(plan.make_plan(cache, ["en"], False, messages.append), first)
        self.assertIn("nothing to download", messages[-1])


class PackageTableTest(unittest.TestCase):
    def test_names_of_both_distributions(self):
        names = ["wesnoth-1.18-ei", "wesnoth-1.16-ei", "libreoffice-help-pt-br", "linux-doc",
                 "firefox-esr-l10n-zh-cn", "firefox-esr-l10n-zh-tw", "language-pack-gnome-pt-base",
                 "language-pack-zh-hant-base", "unrelated"]
        chosen, missing = sources.selected_packages(names, ["zh", "pt"], False)
        self.assertEqual(
            sorted(name for name, _ in chosen),
            ["firefox-esr-l10n-zh-cn", "language-pack-gnome-pt-base", "libreoffice-help-pt-br",
             "wesnoth-1.16-ei", "wesnoth-1.18-ei"],
        )
        self.assertIn("libreoffice-help-{lang} for zh", missing)
        self.assertIn("debian-handbook", missing)
        full, _ = sources.selected_packages(names, ["zh", "pt"], True)
        self.assertIn("linux-doc", [name for name, _ in full])


class CommandLineTest(unittest.TestCase):
    def test_mistakes_exit_with_2(self):
        for arguments in (["--languages", "de", "xx"], ["--jobs", "0"], ["--min-bytes", "-1"]):
            with self.assertRaises(SystemExit) as caught, contextlib.redirect_stderr(io.StringIO()):
                cli.parse_options(arguments)
            self.assertEqual(caught.exception.code, 2)

    def test_languages_keep_the_order_of_the_table(self):
        self.assertEqual(cli.parse_options(["--languages", "de,en", "ja"]).languages,
                         ["en", "ja", "de"])

    def test_program_starts(self):
        command = [sys.executable, str(ROOT / "scripts/corpus"), "--help"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        self.assertIn("--full", result.stdout)


class FixtureFilesTest(unittest.TestCase):
    """The committed fixture."""

    def test_contents(self):
        folder = ROOT / fixture.FOLDER
        groups = {}
        for name, wanted in fixture.BYTES.items():
            sizes = dict.fromkeys(languages.LANGUAGES, 0)
            paths = [folder / name / f"{language}.jsonl" for language in sizes]
            texts = [path.read_text(encoding="utf-8") for path in paths]
            for line in "".join(texts).splitlines():
                document = json.loads(line)
                self.assertIn(document["licence"], fixture.LICENCES)
                sizes[document["language"]] += len(document["text"].encode())
                groups.setdefault(name, set()).add(document["group"])
            for language, size in sizes.items():
                self.assertTrue(wanted - fixture.TOLERANCE <= size <= wanted, (language, size))
        self.assertFalse(groups["train"] & groups["heldout"])


if __name__ == "__main__":
    unittest.main()
