"""Ranks that go wrong under a real mpirun: how the job ends and what it says.

Arguments: mpirun, the program parallel_mpi_test.
"""

import os
import subprocess
import sys
import tempfile
import unittest

MPIRUN, PROGRAM = sys.argv[1:3]
# From the start of the ranks to the end of the job; a run without faults takes about a second.
LIMIT_S = 10


def run(scenario, ranks=3):
    """Exit status and all output of a job, which must end by itself."""
    # What killed ranks leave behind (segments, session folders) goes where it is removed.
    with tempfile.TemporaryDirectory(prefix="choir") as folder:
        environment = dict(os.environ, TMPDIR=folder)
        environment["OMPI_MCA_btl_vader_backing_directory"] = folder
        command = [MPIRUN, "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]
        job = subprocess.run(command + [PROGRAM, scenario], env=environment, text=True,
                             timeout=LIMIT_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return job.returncode, job.stdout


class Faults(unittest.TestCase):
    def test_different_collectives_are_named_with_their_call_sites(self):
        status, output = run("mismatch")
        self.assertEqual(status, 5, output)
        self.assertIn("members of a group call different collectives", output)
        self.assertRegex(output, r"world rank 1 calls broadcast f32 400000 bytes #1 of group "
                                 r"'everyone' .* at mpi/main.cc:\d+")
        self.assertRegex(output, r"world rank [02] calls all_reduce sum f32 .* at mpi/main.cc:\d+")

    def test_hang_names_operation_and_the_rank_that_is_missing(self):
        status, output = run("hang")
        self.assertEqual(status, 5, output)
        self.assertRegex(output, r"world rank [02] waited [0-9.]+ s in all_reduce sum f32 400000 "
                                 r"bytes #1 of group 'everyone' \(world ranks 0 1 2\) at "
                                 r"mpi/main.cc:\d+")
        self.assertIn("data from world rank 1", output)
        self.assertIn("world rank 1 has done its work and waits for the others to end", output)

    def test_killed_rank_ends_the_job(self):
        status, output = run("kill")
        self.assertEqual(status, 137, output)

    def test_abort_gives_reason_and_status(self):
        status, output = run("abort")
        self.assertEqual(status, 4, output)
        self.assertIn("the loss is not finite", output)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
