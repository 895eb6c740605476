"""The command line of scripts/corpus."""

import argparse
import errno
import os
import pathlib
import sys
import time

from .build import Options, build, table
from .errors import CorpusError
from .fixture import FOLDER, write_fixture
from .langid import ensure_model
from .languages import LANGUAGES

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def parse_options(arguments):
    """Parsed arguments; a mistake prints what was expected and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="scripts/corpus",
        description="Builds a JSONL corpus in 29 languages from Debian or Ubuntu packages.",
    )
    parser.add_argument("--out", type=pathlib.Path, default=_ROOT / "build/corpus")
    parser.add_argument("--cache", type=pathlib.Path, default=_ROOT / ".cache/corpus")
    parser.add_argument("--full", action="store_true", help="more packages, no cap per language")
    parser.add_argument("--languages", nargs="+", metavar="CODE", help=" ".join(LANGUAGES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--force", action="store_true", help="build even if complete")
    parser.add_argument("--min-bytes", type=int, default=1_500_000, metavar="N",
                        help="text every language must reach (default 1500000)")
    parser.add_argument("--fixture", action="store_true",
                        help="write tests/fixtures/corpus from a complete corpus")
    options = parser.parse_args(arguments)
    options.languages = _ordered(parser, options.languages)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: must be at least 1")
    if options.min_bytes < 0:
        parser.error(f"--min-bytes {options.min_bytes}: must not be negative")
    return options


def _ordered(parser, codes):
    if codes is None:
        return list(LANGUAGES)
    codes = [code for item in codes for code in item.replace(",", " ").split()]
    unknown = [code for code in codes if code not in LANGUAGES]
    if unknown:
        parser.error(f"unknown languages: {', '.join(unknown)}; known: {' '.join(LANGUAGES)}")
    return [language for language in LANGUAGES if language in codes]


def main(arguments):
    """Runs the command; returns its exit state."""
    options = parse_options(arguments)
    start = time.monotonic()

    def progress(message):
        print(message, flush=True)

    try:
        corpus = Options(
            options.out.resolve(), options.cache.resolve(), options.languages, options.full,
            options.jobs, options.force, options.min_bytes,
        )
        manifest = build(corpus, progress)
        ensure_model(corpus.out, progress)
        progress(table(manifest))
        if options.fixture:
            for split, size in write_fixture(corpus.out, manifest, _ROOT).items():
                progress(f"{FOLDER}/{split}.jsonl: {size} bytes")
        progress(f"{corpus.out}: {time.monotonic() - start:.0f} s")
    except CorpusError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        hint = "free some space (about 2 GB are needed)" if error.errno == errno.ENOSPC else ""
        print(f"corpus: {error}{'; ' + hint if hint else ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("corpus: interrupted; what was downloaded and read is kept", file=sys.stderr)
        return 130
    return 0
