"""`choir data build` that is killed, or whose disk is full: nothing is published by halves, and the
next one goes on to the same bits. Run as: build_faults_test.py CHOIR"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHOIR = None
COPIES = 6  # of the fixture, each a little different, so that a build takes a second or more


class BuildFaultsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="choir-faults-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        for split in ("train", "heldout"):
            (cls.folder / "corpus" / split).mkdir(parents=True)
            for path in sorted((ROOT / "tests/fixtures/corpus" / split).glob("*.jsonl")):
                records = [json.loads(line) for line in path.read_text().splitlines()]
                with open(cls.folder / "corpus" / split / path.name, "w") as out:
                    for copy in range(COPIES if split == "train" else 1):
                        for record in records:
                            changed = dict(record, id=f"{record['id']}-{copy}",
                                           text=f"{copy}. {record['text']}")
                            out.write(json.dumps(changed, ensure_ascii=False) + "\n")
        config = f"""
corpus: {{path: {cls.folder}/corpus}}
clean: {{dedup: {{mode: near}}}}
tokenizer: {{model: {cls.folder}/tokenizer.model, vocab_size: 1024,
  sample_bytes_per_language: 4000, character_coverage: 0.98}}
shards: {{path: {cls.folder}/shards, max_tokens_per_shard: 40000, threads: 2}}
"""
        (cls.folder / "build.yaml").write_text(config)
        cls.run_choir("tokenizer", "train", check=True)
        cls.reference = cls.folder / "reference"
        cls.run_choir("data", "build", f"--shards.path={cls.reference}", check=True)
        cls.expected = cls.shards(cls.reference)

    @classmethod
    def run_choir(cls, group, command, *arguments, check=False):
        return subprocess.run([CHOIR, group, command, str(cls.folder / "build.yaml"), *arguments],
                              capture_output=True, text=True, check=check)

    @staticmethod
    def shards(path):
        index = json.loads((path / "corpus.json").read_text())
        model = path / index["tokenizer"]["file"]
        report = json.loads(model.with_name("report.json").read_text())
        files = {os.path.basename(shard["file"]): (path / shard["file"]).read_bytes()
                 for shard in index["shards"]}
        return files, report["sources"]

    def test_killed_at_any_time(self):
        self.assertGreater(len(self.expected[0]), 5)
        path = self.folder / "killed"
        start = time.monotonic()
        self.run_choir("data", "build", f"--shards.path={self.folder}/timed", check=True)
        whole = time.monotonic() - start
        moments = random.Random(7)
        kills = 0
        for attempt in range(6):
            process = subprocess.Popen(
                [CHOIR, "data", "build", str(self.folder / "build.yaml"), f"--shards.path={path}"],
                stdout=subprocess.DEVNULL)
            time.sleep(whole * moments.uniform(0.05, 0.7))
            if process.poll() is None:
                process.kill()
                kills += 1
            if process.wait() == 0:
                break
            self.assertFalse((path / "corpus.json").exists())
        self.assertGreater(kills, 0)
        last = self.run_choir("data", "build", f"--shards.path={path}")
        self.assertEqual(last.returncode, 0, last.stderr)
        self.assertEqual(self.shards(path), self.expected)
        self.assertFalse((path / "unfinished").exists())

    def test_two_builds_in_one_folder(self):
        path = self.folder / "two"
        first = subprocess.Popen(
            [CHOIR, "data", "build", str(self.folder / "build.yaml"), f"--shards.path={path}"],
            stdout=subprocess.DEVNULL)
        while not (path / "unfinished/lock").exists() and first.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05)
        if first.poll() is None:
            second = self.run_choir("data", "build", f"--shards.path={path}")
            if first.poll() is None:
                self.assertEqual(second.returncode, 2)
                self.assertIn("another `choir data build` is at work", second.stderr)
        self.assertEqual(first.wait(), 0)
        self.assertEqual(self.shards(path), self.expected)

    def test_full_disk(self):
        path = self.folder / "small"
        path.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest("may not mount a small file system")
        self.addCleanup(subprocess.run, ["umount", str(path)], check=False)
        for size in ("256k", "1m", "1500k", "2m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(path)], check=True)
            full = self.run_choir("data", "build", f"--shards.path={path}")
            if full.returncode == 0:
                break
            self.assertEqual(full.returncode, 1)
            self.assertIn("No space left on device", full.stderr)
            self.assertIn(str(path), full.stderr)
            self.assertFalse((path / "corpus.json").exists())
        subprocess.run(["mount", "-o", "remount,size=64m", str(path)], check=True)
        more = self.run_choir("data", "build", f"--shards.path={path}")
        self.assertEqual(more.returncode, 0, more.stderr)
        self.assertEqual(self.shards(path), self.expected)


if __name__ == "__main__":
    CHOIR = os.path.abspath(sys.argv.pop())
    unittest.main()
