"""`srun choir train`: the run of one process, stopped with a checkpoint, and a killed rank.

usage: slurm_test.py CHOIR SOURCE_DIR; exits with 77 (skipped) without Slurm.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from one_machine import OneMachine, missing_programs

CHOIR, SOURCE = sys.argv[1:3]
RANK_ENV = {
    "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}


def lines_of(run):
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    # The last line may be in the middle of being written.
    return [json.loads(l) for l in path.read_text().split("\n")[:-1] if l.startswith("{")]


def steps_of(run):
    return [l for l in lines_of(run) if "eval" not in l and "memory_plan" not in l]


def processes_of(run):
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            env = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if not command.startswith(CHOIR.encode()) or str(run).encode() not in command:
            continue
        for item in env:
            if item.startswith(b"SLURM_PROCID="):
                found[int(item[13:])] = int(entry.name)
    return found


class SlurmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temp = tempfile.TemporaryDirectory(prefix="choir-slurm-")
        cls.root = pathlib.Path(cls.temp.name)
        cls.addClassCleanup(cls.temp.cleanup)
        cls.slurm = OneMachine(cls.root / "slurm")
        cls.addClassCleanup(cls.slurm.stop)
        cls.slurm.start()
        cls.data = cls.root / "data"
        paths = [f"--corpus.path={SOURCE}/tests/fixtures/corpus",
                 f"--tokenizer.model={cls.data}/tokenizer.model", f"--shards.path={cls.data}"]
        for command in (["tokenizer", "train"], ["data", "build"]):
            subprocess.run([CHOIR, *command, f"{SOURCE}/configs/data/tiny.yaml", *paths],
                           check=True, capture_output=True)

    def train(self, run, *more):
        return [CHOIR, "train", f"{SOURCE}/configs/moe-tiny.yaml", f"--run.dir={run}",
                f"--data.path={self.data}", "--numerics=invariant",
                "--train.microbatch_sequences=1", *more]

    def srun(self, ranks, command):
        return ["srun", "--mpi=pmix", "--job-name=choir", f"--ntasks={ranks}", *command]

    def start_long_run(self, run):
        job = self.slurm.spawn_job(
            self.srun(4, self.train(run, "--train.steps=100000", "--parallel.tensor=2")),
            env=RANK_ENV)
        deadline = time.time() + 60
        while len(steps_of(run)) < 3:
            self.assertIsNone(job.poll(), "the job ended early")
            self.assertLess(time.time(), deadline)
            time.sleep(0.05)
        return job

    def test_is_the_run_of_one_process(self):
        one, four = self.root / "one", self.root / "four"
        subprocess.run(self.train(one, "--train.steps=8"), check=True, capture_output=True)
        result = self.slurm.run(
            self.srun(4, self.train(four, "--train.steps=8", "--parallel.tensor=2",
                                    "--parallel.expert=4")), env=RANK_ENV, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("4 ranks: data 2, tensor 2, expert 4", result.stdout)
        for key in ("loss", "grad_norm", "tokens", "data_digest"):
            self.assertEqual([l[key] for l in steps_of(one)], [l[key] for l in steps_of(four)])

    def test_wrong_degrees_exit_with_2(self):
        run = self.root / "refused"
        result = self.slurm.run(self.srun(4, self.train(run, "--parallel.data=3")), env=RANK_ENV)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("= 3, but the job has 4 ranks", result.stderr)
        self.assertFalse(run.exists())

    def test_scancel_term_saves_and_the_run_continues(self):
        run = self.root / "stopped"
        job = self.start_long_run(run)
        self.slurm.run(["scancel", "--signal=TERM", "--name=choir"])
        out, err = job.communicate(timeout=60)
        self.assertIn("stopped after step", out, err)
        self.assertEqual(job.returncode, 75, err)
        saved = len(steps_of(run))
        more = self.slurm.run(
            self.srun(2, self.train(run, f"--train.steps={saved + 2}", "--resume")), env=RANK_ENV)
        self.assertEqual(more.returncode, 0, more.stderr)
        self.assertIn(f"resumed after step {saved}", more.stdout)

    def test_a_killed_rank_ends_the_job(self):
        run = self.root / "killed"
        job = self.start_long_run(run)
        os.kill(processes_of(run)[2], signal.SIGKILL)
        start = time.time()
        _, err = job.communicate(timeout=60)
        self.assertLess(time.time() - start, 10)
        self.assertNotIn(job.returncode, (0, 75))
        self.assertRegex(err, "task 2: Killed")
        self.assertEqual(processes_of(run), {})


if __name__ == "__main__":
    absent = missing_programs()
    if absent:
        print("skipped: not installed:", *absent)
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
