"""scripts/check_structure: every rule reports a file that breaks it, and only that one."""

import os
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(REPOSITORY, "scripts")
sys.dont_write_bytecode = True
sys.path.insert(0, SCRIPTS)

from structure_rules import cpp_source, includes, limits, tree  # noqa: E402

SLASH = "/"  # Paths of one machine are put together here, so that this file holds none.


def source(path, text):
    return tree.File(path, len(text.encode()), text)


def messages(check, *files):
    return [str(finding) for finding in check([source(path, text) for path, text in files])]


def lengths(text):
    """{name: (first line, last line)} of the functions in C++ source."""
    found = cpp_source.functions(cpp_source.tokenize(text))
    return {function.name: (function.first, function.last) for function in found}


class IncludeTest(unittest.TestCase):
    def expect_bad(self, path, include, said):
        found = messages(includes.check, (path, f"\n#include {include}\n"))
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(f"{path}:2: "), found[0])
        self.assertIn(said, found[0])

    def expect_good(self, path, include):
        self.assertEqual(messages(includes.check, (path, f"#include {include}\n")), [])

    def test_order(self):
        self.expect_bad("base/a.h", '"tensor/b.h"', "base/ comes before tensor/")
        self.expect_bad("parallel/comm/a.cc", '"model/b.h"', "parallel/ comes before model/")
        self.expect_bad("eval/a.cc", '"train/b.h"', "eval/ comes before train/")
        self.expect_good("train/a.cc", '"base/b.h"')
        self.expect_good("model/a.cc", '"parallel/mesh/b.h"')
        self.expect_good("base/a.cc", '"base/b.h"')

    def test_every_pair_of_folders(self):
        for i, user in enumerate(includes.ORDER):
            for j, used in enumerate(includes.ORDER):
                found = messages(includes.check, (f"{user}/a.cc", f'#include "{used}/b.h"\n'))
                allowed = j <= i
                if user == "data":
                    allowed = used in ("base", "tensor", "data")
                if user == "checkpoint" and used in ("model", "optim", "data"):
                    allowed = False
                self.assertEqual(found == [], allowed, (user, used, found))

    def test_data_and_checkpoint_have_their_own_rules(self):
        self.expect_bad("data/a.cc", '"ops/b.h"', "may use only base and tensor")
        self.expect_bad("checkpoint/a.cc", '"model/b.h"', "must not depend on model/")
        self.expect_bad("checkpoint/a.cc", '"data/b.h"', "must not depend on data/")

    def test_tests_may_include_anything_and_nothing_may_include_them(self):
        self.expect_good("tests/base/a_test.cc", '"train/b.h"')
        self.expect_good("tests/base/a_test.cc", "<hdf5.h>")
        self.expect_good("bench/a.cc", "<cuda_runtime.h>")
        self.expect_bad("train/a.cc", '"tests/ops/op_case.h"', "must not depend on tests/")

    def test_an_include_names_the_folder_and_uses_quotes(self):
        self.expect_bad("ops/a.cc", '"b.h"', 'write "folder/file.h"')
        self.expect_bad("ops/a.cc", '"../model/b.h"', 'write "folder/file.h"')
        self.expect_bad("ops/a.cc", "<tensor/b.h>", 'write "tensor/b.h"')
        self.expect_bad("ops/a.cc", "SOME_HEADER", "named by a macro")
        self.expect_good("ops/a.cc", '"absl/status/status.h"')
        self.expect_good("ops/a.cc", "<vector>")

    def test_cuda_headers(self):
        headers = ("<cuda_runtime.h>", "<cublas_v2.h>", "<cublasLt.h>", "<nccl.h>", "<cub/cub.cuh>")
        for header in headers:
            self.expect_bad("ops/a.h", header, "only tensor/cuda*")
        self.expect_good("tensor/cuda_device.cc", "<cuda_runtime.h>")
        self.expect_good("ops/a.cu", "<cuda_fp16.h>")
        self.expect_good("parallel/comm/nccl_comm.cc", "<nccl.h>")
        self.expect_good("ops/a.cc", '"tensor/cuda_device.h"')

    def test_mpi_and_hdf5_headers(self):
        self.expect_bad("parallel/comm/local_comm.cc", "<mpi.h>", "only parallel/mpi_comm*")
        self.expect_bad("train/trainer.cc", "<mpi.h>", "train/main.cc")
        self.expect_good("parallel/comm/mpi_comm.cc", "<mpi.h>")
        self.expect_good("train/main.cc", "<mpi.h>")
        self.expect_bad("checkpoint/save.cc", "<hdf5.h>", "only checkpoint/hdf5_file*")
        self.expect_bad("data/shard.cc", "<H5Fpublic.h>", "headers of HDF5")
        self.expect_good("checkpoint/hdf5_file.cc", "<hdf5.h>")
        self.expect_good("data/shard/hdf5_shard.h", "<hdf5.h>")

    def test_cuda_files_see_only_plain_structs(self):
        self.expect_bad("ops/a.cu", '"base/config.h"', "only plain structs")
        self.expect_bad("ops/a.cu", '"ops/tape.h"', "only plain structs")
        self.expect_bad("ops/a.cu", '"absl/status/status.h"', "only plain structs")
        self.expect_good("ops/a.cu", '"ops/rope_params.h"')

    def test_cuda_files_are_judged_by_what_their_headers_bring(self):
        found = messages(
            includes.check,
            ("ops/a.cu", '#include "ops/b.h"\n'),
            ("ops/b.h", '#include "ops/c.h"\n#include "ops/b.h"\n'),
            ("ops/c.h", '#include "absl/types/span.h"\n'),
        )
        self.assertEqual(len(found), 1, found)
        self.assertIn("ops/a.cu:1: absl/types/span.h (through ops/b.h -> ops/c.h)", found[0])

    def test_only_real_includes_count(self):
        text = """// #include "train/a.h"
/*
#include "train/b.h"
*/
auto t = R"(
#include "train/c.h"
)";
"""
        self.assertEqual(messages(includes.check, ("base/a.cc", text)), [])


class FunctionTest(unittest.TestCase):
    def test_kinds_of_functions(self):
        text = """namespace choir {
namespace {
template <typename T, int kWidth = 4>
T Sum(const std::vector<T>& values) {
  return {};
}
}  // namespace
class Foo : public Base<int(int)> {
 public:
  Foo(int a, int b = {}) : Base<int>{a}, b_{b} {
    Run();
  }
  ~Foo() override {}
  bool operator==(const Foo& other) const { return true; }
  void operator()(int i) const {
    Call(i);
  }
  auto Get() const -> std::map<int, int> { return {}; }

 private:
  int b_ = {3};
  std::vector<int> c_{1, 2};
};
extern "C" int Entry(std::function<void(int)> f) noexcept(true) {
  return 0;
}
std::function<void(int)> Choir::Make(int n) {
  return nullptr;
}
}  // namespace choir
"""
        expected = {
            "Sum": (3, 6),
            "Foo": (10, 12),
            "~Foo": (13, 13),
            "operator==": (14, 14),
            "operator()": (15, 17),
            "Get": (18, 18),
            "Entry": (24, 26),
            "Choir::Make": (27, 29),
        }
        self.assertEqual(lengths(text), expected)

    def test_what_is_no_function(self):
        text = """enum class Kind : int { kA, kB };
struct alignas(64) Row {
  float values[16] = {};
};
const Limits kLimits = {Min(1), {Max(2), 3}};
static const std::vector<int> kList{1, 2};
template <typename T>
concept Printable = requires(std::ostream& s, const T& v) {
  s << v;
};
int kTable[2] = {1, 2};
"""
        self.assertEqual(lengths(text), {})

    def test_braces_in_strings_comments_and_directives_do_not_count(self):
        text = """void F() {
  // } } }
  /* { { */
  const char* a = "} \\" }";
  char b = '}', c = '\\'';
  auto d = R"x(
} )" }
)x";
  int e = 1'000'000;
  if (a) {
  }
}
#define OPEN {
#define CLOSE \\
  }
void G() {}
"""
        self.assertEqual(lengths(text), {"F": (1, 12), "G": (16, 16)})

    def test_lambdas_outside_functions(self):
        text = """const auto kRun = [](int x) {
  return x;
};
const Case kCases[] = {
    {"a", [](const auto& in) -> std::vector<int> {
       return {};
     }},
};
auto registered = Register([&] {
  Go();
});
"""
        found = cpp_source.functions(cpp_source.tokenize(text))
        self.assertEqual([(f.name, f.first, f.last) for f in found],
                         [("lambda", 1, 3), ("lambda", 5, 7), ("lambda", 9, 11)])

    def test_branches_of_the_preprocessor(self):
        text = """#if A
void F() {
#else
void F(int a) {
#endif
  Go();
}
#if 0
void G() {
#endif
#ifdef B
void H() {}
#else
void I() {}
#endif
"""
        self.assertEqual(lengths(text), {"F": (2, 7), "H": (12, 12), "I": (14, 14)})

    def test_a_test_body_is_a_function(self):
        self.assertEqual(lengths("TEST(Foo, Bar) {\n  Go();\n}\n"), {"TEST": (1, 3)})

    def test_brackets_that_do_not_match_are_said(self):
        found = messages(limits.check, ("ops/a.cc", "void F() {\n"))
        self.assertEqual(found, ["ops/a.cc:1: cannot read the functions: '{' is never closed"])

    def test_limits(self):
        def body(lines):
            return "int a;\n" + "void F() {\n" + "  Go();\n" * (lines - 2) + "}\n"

        self.assertEqual(messages(limits.check, ("model/a.cc", body(99))), [])
        for path in ("model/a.cc", "tests/a.cc", "ops/a.h"):
            found = messages(limits.check, (path, body(100)))
            self.assertEqual(found[-1], f"{path}:2: F has 100 lines, the limit is under 100")
        self.assertEqual(messages(limits.check, ("ops/a.cc", body(199))), [])
        found = messages(limits.check, ("ops/a.cc", body(200)))
        self.assertEqual(found, ["ops/a.cc:2: F has 200 lines, the limit is under 200"])

    def test_python_functions(self):
        text = "def f():\n" + "    go()\n" * 99
        found = messages(limits.check, ("scripts/a.py", text))
        self.assertEqual(found, ["scripts/a.py:1: f has 100 lines, the limit is under 100"])
        self.assertIn("not valid Python", messages(limits.check, ("a.py", "def"))[0])


class LimitTest(unittest.TestCase):
    def test_lines_of_a_file(self):
        for path in ("ops/a.cc", "scripts/a.py", "cmake/a.cmake", "configs/a.yaml"):
            self.assertEqual(messages(limits.check, (path, "\n" * 499)), [])
            found = messages(limits.check, (path, "\n" * 500))
            self.assertEqual(found, [f"{path}:500: the file has 500 lines, the limit is under 500"])
        self.assertIn("500", messages(limits.check, ("scripts/a", "#!/bin/bash\n" * 500))[0])
        self.assertEqual(messages(limits.check, ("LICENSE", "\n" * 500)), [])

    def test_columns(self):
        self.assertEqual(messages(limits.check, ("ops/a.cc", "//" + "é" * 98)), [])
        found = messages(limits.check, ("ops/a.cc", "\n//" + "é" * 99))
        self.assertEqual(found, ["ops/a.cc:2: 101 columns, the limit is 100"])
        self.assertEqual(messages(limits.check, ("ops/a.cc", "// https://" + "a" * 99)), [])

    def test_headers_have_pragma_once(self):
        found = messages(limits.check, ("ops/a.h", "// #pragma once\nint a;\n"))
        self.assertEqual(found, ["ops/a.h:1: a header starts with #pragma once"])
        self.assertEqual(messages(limits.check, ("ops/a.h", "// A.\n#pragma once\n")), [])

    def test_macros(self):
        found = messages(limits.check, ("base/a.cc", "\n# define  LOG(x) x\n"))
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("base/a.cc:2: macro LOG: only CHECK"), found)
        found = messages(limits.check, ("base/a.cc", "#define CHECK_EQ"))
        self.assertIn("macro CHECK_EQ:", found[0])
        for name in ("CHECK(...)", "RETURN_IF_ERROR(a)", "ASSIGN_OR_RETURN(a, b)",
                     "ASSIGN_OR_RETURN_IMPL(a, b, c)", "CHOIR_CONCAT(a, b)", "CHOIR_CONCAT_X(a)"):
            define = f"#define {name} 1\n"
            self.assertEqual(messages(limits.check, ("base/a.cc", define)), [])
            self.assertIn("belongs into base/", messages(limits.check, ("ops/a.cc", define))[0])

    def test_large_files(self):
        large = tree.File("tests/fixtures/a.bin", (1 << 20) + 1, None)
        found = [str(finding) for finding in limits.check([large])]
        self.assertEqual(len(found), 1)
        self.assertIn("more than 1 MiB", found[0])
        self.assertEqual(limits.check([tree.File("tests/fixtures/a.bin", 1 << 20, None)]), [])

    def test_paths_of_one_machine(self):
        for path in ("work/main", "tmp/a.txt", "root/x", "home/someone", "Users/someone", 'tmp"'):
            for file in ("docs/a.md", "ops/a.cc", "configs/a.yaml"):
                found = messages(limits.check, (file, f'\nx: "{SLASH}{path}\n'))
                self.assertEqual(len(found), 1, (file, path))
                self.assertTrue(found[0].startswith(f"{file}:2: '{SLASH}"), found)
        text = f"{SLASH}home/someone"
        self.assertEqual(messages(limits.check, ("tests/fixtures/corpus/a.jsonl", text)), [])
        for text in ("${TMPDIR:-/tmp}/a", "data/work/a", "build/tmp/a", "$DIR/tmp/a", "/tmpfile",
                     "https://example.org/home/a", "/usr/local/cuda/bin"):
            self.assertEqual(messages(limits.check, ("docs/a.md", text)), [], text)


class ProgramTest(unittest.TestCase):
    """The program as CI runs it, on a small tree."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.write(".clang-format", "BasedOnStyle: Google\nColumnLimit: 100\n")
        self.write("base/good.h", "#pragma once\n\nint Good(int a);\n")

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as stream:
            stream.write(text)

    def run_check(self, *arguments):
        command = [os.path.join(SCRIPTS, "check_structure"), "--root", self.root, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_a_clean_tree(self):
        run = self.run_check()
        self.assertEqual(run.stdout, "check_structure: 2 files, no findings\n")
        self.assertEqual(run.returncode, 0)

    def test_findings_fail_the_run(self):
        self.write("base/bad.cc", '#include "ops/a.h"\n')
        run = self.run_check()
        self.assertEqual(run.returncode, 1)
        self.assertIn("base/bad.cc:1: ops/a.h: base/ comes before ops/", run.stdout)
        self.assertTrue(run.stdout.endswith("check_structure: 3 files, 1 findings in 1 files\n"))

    def test_formatting_is_checked_and_fixed(self):
        self.write("base/bad.cc", "int a;\nint  F( int b ){return b;}\n")
        run = self.run_check()
        self.assertEqual(run.returncode, 1)
        self.assertIn("base/bad.cc:2: clang-format 14 changes", run.stdout)
        self.assertEqual(self.run_check("--fix").returncode, 0)
        with open(os.path.join(self.root, "base/bad.cc"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "int a;\nint F(int b) { return b; }\n")

    def test_paths_narrow_the_check(self):
        self.write("base/bad.cc", "int  a;\n")
        self.assertEqual(self.run_check(os.path.join(self.root, "base/good.h")).returncode, 0)
        self.assertEqual(self.run_check(os.path.join(self.root, "base")).returncode, 1)
        self.assertIn("no file", self.run_check(os.path.join(self.root, "nowhere")).stderr)

    def test_git_decides_what_belongs_to_the_tree(self):
        subprocess.run(["git", "init", "-q", self.root], check=True)
        self.write(".gitignore", "/build/\n")
        self.write("build/generated.cc", "int  a;\n")
        self.assertEqual(self.run_check().returncode, 0)
        self.write("untracked.cc", "int  a;\n")
        self.assertEqual(self.run_check().returncode, 1)

    def test_without_clang_format_the_check_does_not_pass(self):
        environment = dict(os.environ, PATH=os.path.join(self.root, "empty"))
        command = [sys.executable, os.path.join(SCRIPTS, "check_structure"), "--root", self.root]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        self.assertEqual(run.returncode, 2, run)
        self.assertIn("run scripts/setup", run.stderr)


if __name__ == "__main__":
    unittest.main()
