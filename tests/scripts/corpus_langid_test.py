"""The language model that scripts/corpus trains."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))

from corpus_sources import langid  # noqa: E402

FIXTURE = ROOT / "tests/fixtures/corpus"


class LangidTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.corpus = pathlib.Path(folder.name)
        (self.corpus / "train").mkdir()
        for language in ("ar", "de", "fr", "ja", "ru", "th"):
            shutil.copy(FIXTURE / f"train/{language}.jsonl", self.corpus / "train")

    def test_lines_are_labelled_and_do_not_depend_on_the_order_of_documents(self):
        lines = langid.training_lines(self.corpus)
        labels = {line.split(" ", 1)[0] for line in lines}
        names = {f"__label__{path.stem}" for path in (self.corpus / "train").iterdir()}
        self.assertEqual(labels, names)
        self.assertTrue(all(line.endswith("\n") and line.count("\n") == 1 for line in lines))
        german = self.corpus / "train/de.jsonl"
        documents = german.read_text(encoding="utf-8").splitlines(keepends=True)
        german.write_text("".join(reversed(documents)), encoding="utf-8")
        self.assertEqual(langid.training_lines(self.corpus), lines)

    def test_a_language_gives_a_limited_number_of_bytes(self):
        text = "word " * 1000
        with open(self.corpus / "train/xx.jsonl", "w", encoding="utf-8") as file:
            for i in range(200):
                file.write(json.dumps({"id": str(i), "text": text}) + "\n")
        size = sum(len(line) for line in langid.training_lines(self.corpus)
                   if line.startswith("__label__xx "))
        self.assertGreater(size, 400_000)
        self.assertLess(size, 425_000)

    def test_without_the_program_it_says_so(self):
        messages = []
        which = shutil.which
        shutil.which = lambda name: None
        try:
            langid.ensure_model(self.corpus, messages.append)
        finally:
            shutil.which = which
        self.assertIn("fasttext", messages[0])
        self.assertFalse((self.corpus / langid.NAME).exists())

    @unittest.skipUnless(shutil.which("fasttext"), "needs the program fasttext")
    def test_model_is_small_and_knows_the_corpus(self):
        train = langid._TRAIN
        # The fixture is small: more rounds, and n-grams that come less often.
        langid._TRAIN = ["60" if v == "4" and train[i - 1] == "-epoch" else
                         "5" if train[i - 1] == "-minCount" else v for i, v in enumerate(train)]
        try:
            langid.ensure_model(self.corpus, lambda message: None)
        finally:
            langid._TRAIN = train
        model = self.corpus / langid.NAME
        self.assertLess(model.stat().st_size, 1_000_000)
        lines = langid.training_lines(self.corpus)
        texts = "".join(line.split(" ", 1)[1] for line in lines)
        answers = subprocess.run(["fasttext", "predict", model, "-"], input=texts, text=True,
                                 capture_output=True, check=True).stdout.split()
        right = sum(line.startswith(answer + " ") for line, answer in zip(lines, answers))
        self.assertGreater(right / len(lines), 0.95)
        self.assertEqual(sorted(path.name for path in self.corpus.iterdir()),
                         [langid.NAME, "train"])


if __name__ == "__main__":
    unittest.main()
