#include "base/config_load.h"

#include <gtest/gtest.h>

#include "tests/base/config_sample.h"

namespace choir {
namespace {

using sample::ErrorsOf;
using sample::Loaded;
using sample::RunConfig;

TEST(ConfigLoad, ReadsEveryType) {
  const RunConfig c = Loaded(
      "name: 2024-run   # a comment\n"
      "steps: 1_000\n"
      "tokens: 15_000_000_000_000\n"
      "resume: true\n"
      "numerics: invariant\n"
      "optim:\n"
      "  lr: 1e-3\n"
      "  betas: [0, .5]\n"
      "  state_dtype: bf16\n"
      "  numerics: fast\n"
      "  schedule: {warmup_steps: 5, floor: auto}\n"
      "data:\n"
      "  language_weights:\n"
      "    en: 1\n"
      "    zh-Hans: 0.5\n"
      "  sources:\n"
      "    - path: a b.jsonl\n"
      "      tags: [x, 'true', 3]\n"
      "    - path: \"\\u00e9\"\n"
      "      weight: 2\n"
      "      tags: [auto]\n");
  EXPECT_EQ(c.name, "2024-run");
  EXPECT_EQ(c.steps, 1000);
  EXPECT_EQ(c.tokens, 15'000'000'000'000);
  EXPECT_TRUE(c.resume);
  EXPECT_EQ(c.numerics, Numerics::kInvariant);
  EXPECT_EQ(c.optim.lr, 1e-3);
  EXPECT_EQ(c.optim.betas, (std::vector<double>{0, 0.5}));
  EXPECT_EQ(c.optim.state_dtype, "bf16");
  EXPECT_EQ(c.optim.numerics, Numerics::kFast);
  EXPECT_EQ(c.optim.schedule.floor, std::nullopt);
  EXPECT_EQ(c.data.language_weights, (std::map<std::string, double>{{"en", 1}, {"zh-Hans", 0.5}}));
  ASSERT_EQ(c.data.sources.size(), 2u);
  EXPECT_EQ(c.data.sources[0].path, "a b.jsonl");
  EXPECT_EQ(c.data.sources[0].tags, (std::vector<std::string>{"x", "true", "3"}));
  EXPECT_EQ(c.data.sources[1].path, "\xc3\xa9");
  EXPECT_EQ(c.data.sources[1].weight, 2);
}

TEST(ConfigLoad, KeepsDefaultsOfWhatIsNotWritten) {
  for (const char* text : {"", "---\n", "optim:\ndata:\n", "# nothing\n"}) {
    const RunConfig c = Loaded(text);
    EXPECT_TRUE(ConfigDiff(c, RunConfig()).empty()) << text;
  }
}

TEST(ConfigLoad, ReportsAllKindsOfErrorsAtOnceSortedByPlace) {
  EXPECT_EQ(ErrorsOf("steps: ten\n"
                     "optim:\n"
                     "  lr: 3\n"
                     "  schedule:\n"
                     "    warmup_step: 4\n"
                     "    floor: 2\n"
                     "data:\n"
                     "  tokenizer: missing.model\n"
                     "heads: 8\n"
                     "heads: 4\n"
                     "resume: yes\n",
                     {"--optim.betas=[0.9]", "--experts=12"}),
            "run.yaml:1:8: steps must be an integer, got 'ten'\n"
            "run.yaml:3:7: optim.lr must be from 0 to 1, got 3\n"
            "run.yaml:5:5: unknown key 'optim.schedule.warmup_step'; did you mean "
            "'optim.schedule.warmup_steps'?\n"
            "run.yaml:8:14: data.tokenizer names 'missing.model', which does not exist\n"
            "run.yaml:10:1: key 'heads' is already set on line 9\n"
            "run.yaml:11:9: resume must be true or false, got 'yes'\n"
            "argument:3: optim.betas must have 2 values, got 1\n"
            "argument:4: experts must be a power of two, got 12");
}

struct Bad {
  const char* text;
  const char* message;
};

TEST(ConfigLoad, SaysWhatIsWrongWithAValue) {
  const Bad kCases[] = {
      {"steps: 1.5", "1:8: steps must be an integer, got '1.5'"},
      {"steps: 1e3", "1:8: steps must be an integer, got '1e3'"},
      {"steps: '3'", "1:8: steps must be an integer, got the quoted text \"3\""},
      {"steps: 010", "1:8: steps must be an integer, got '010'"},
      {"steps: +1", "1:8: steps must be an integer, got '+1'"},
      {"steps: 1__0", "1:8: steps must be an integer, got '1__0'"},
      {"steps: _1", "1:8: steps must be an integer, got '_1'"},
      {"steps: 1_", "1:8: steps must be an integer, got '1_'"},
      {"steps: -_1", "1:8: steps must be an integer, got '-_1'"},
      {"steps: -", "1:8: not valid YAML: illegal block entry"},
      {"steps: 0x10", "1:8: steps must be an integer, got '0x10'"},
      {"steps: 3000000000",
       "1:8: steps must be an integer from -2147483648 to 2147483647, got '3000000000'"},
      {"tokens: 99999999999999999999",
       "1:9: tokens must be an integer from -9223372036854775808 to 9223372036854775807, got "
       "'99999999999999999999'"},
      {"steps:", "1:1: steps must be an integer, got nothing"},
      {"steps: [1]", "1:8: steps must be an integer, got a list"},
      {"steps: {a: 1}", "1:8: steps must be an integer, got a mapping"},
      {"steps: 0", "1:8: steps must be at least 1, got 0"},
      {"steps: 1000001", "1:8: steps must be at most 1000000, got 1000001"},
      {"heads: 6", "1:8: heads must be a multiple of 4, got 6"},
      {"name:", "1:1: name must be text (\"\" for an empty one), got nothing"},
      {"name: ''", "1:7: name must not be empty"},
      {"name: [a]", "1:7: name must be text, got a list"},
      {"resume: True", "1:9: resume must be true or false, got 'True'"},
      {"resume: 1", "1:9: resume must be true or false, got '1'"},
      {"numerics: fsat",
       "1:11: numerics must be fast or invariant (did you mean 'fast'?), got 'fsat'"},
      {"numerics: slow", "1:11: numerics must be fast or invariant, got 'slow'"},
      {"optim: 3", "1:8: optim must be a section of keys, got '3'"},
      {"optim: {lr: fast}", "1:13: optim.lr must be a number, got 'fast'"},
      {"optim: {lr: nan}", "1:13: optim.lr must be a number, got 'nan'"},
      {"optim: {lr: .inf}", "1:13: optim.lr must be a number, got '.inf'"},
      {"optim: {lr: 1e999}", "1:13: optim.lr must be a number that a double can hold, got '1e999'"},
      {"optim: {lr: 1e-3x}", "1:13: optim.lr must be a number, got '1e-3x'"},
      {"optim: {betas: 0.9}", "1:16: optim.betas must be a list like [a, b], got '0.9'"},
      {"optim: {betas: [0.9, x]}", "1:22: optim.betas[1] must be a number, got 'x'"},
      {"optim: {betas: [0.9, 1]}", "1:22: optim.betas[1] must be below 1, got 1"},
      {"optim: {state_dtype: f16}", "1:22: optim.state_dtype must be f32 or bf16, got f16"},
      {"optim: {schedule: {floor: -1}}", "1:27: optim.schedule.floor must be at least 0, got -1"},
      {"data: {language_weights: {en: -2}}",
       "1:31: data.language_weights.en must be at least 0, got -2"},
      {"data: {language_weights: [1]}",
       "1:26: data.language_weights must be a mapping from names to numbers, got a list"},
      {"data: {language_weights: {en: much}}",
       "1:31: data.language_weights.en must be a number, got 'much'"},
      {"data: {sources: [3]}", "1:18: data.sources[0] must be a section of keys, got '3'"},
      {"data: {sources: [{path: ., weight: 0, tags: [a]}]}",
       "1:36: data.sources[0].weight must be above 0, got 0"},
      {"data: {sources: [{path: ., tags: []}]}", "1:28: data.sources[0].tags must not be empty"},
      {"data: {sources: [{tags: [a]}]}", "1:18: data.sources[0].path is required"},
  };
  for (const Bad& bad : kCases) {
    EXPECT_EQ(ErrorsOf(bad.text), std::string("run.yaml:") + bad.message) << bad.text;
  }
}

struct Choice {
  static constexpr const char* kWord = "auto";
  int n = 1;
  void SetByWord() { n = 0; }
  void Visit(auto&& v) { v("n", n, "number"); }
};
struct HasChoice {
  Choice choice;
  void Visit(auto&& v) { v("choice", choice, "of how many"); }
};

TEST(ConfigLoad, ASectionMayBeOneWord) {
  const auto load = [](const std::string& text) {
    return LoadConfig<HasChoice>(ConfigTree::ParseString(text, "f").value());
  };
  EXPECT_EQ(load("choice: auto\n")->choice.n, 0);
  EXPECT_EQ(load("choice: {n: 3}\n")->choice.n, 3);
  EXPECT_EQ(load("choice: other\n").status().message(),
            "f:1:9: choice must be auto or a section of keys, got 'other'");
  EXPECT_FALSE(load("choice: 'auto'\n").ok());
}

TEST(ConfigLoad, SuggestsTheKeyThatWasMeant) {
  const Bad kCases[] = {
      {"step: 3", "1:1: unknown key 'step'; did you mean 'steps'?"},
      {"optim: {rl: 3}", "1:9: unknown key 'optim.rl'; did you mean 'optim.lr'?"},
      {"lr: 3", "1:1: unknown key 'lr'; did you mean 'optim.lr'?"},
      {"optim: {warmup_steps: 3}",
       "1:9: unknown key 'optim.warmup_steps'; did you mean 'optim.schedule.warmup_steps'?"},
      {"optmi: {lr: 3}", "1:1: unknown key 'optmi'; did you mean 'optim'?"},
      {"zzz: 3", "1:1: unknown key 'zzz'"},
      {"data: {sources: [{path: ., tags: [a], wieght: 2}]}",
       "1:39: unknown key 'data.sources[0].wieght'; did you mean 'data.sources[0].weight'?"},
  };
  for (const Bad& bad : kCases) {
    EXPECT_EQ(ErrorsOf(bad.text), std::string("run.yaml:") + bad.message) << bad.text;
  }
}

TEST(ConfigLoad, ArgumentsMeetTheSameChecks) {
  const Bad kCases[] = {
      {"--steps=ten", "steps must be an integer, got 'ten'"},
      {"--steps=", "steps must be an integer, got nothing"},
      {"--steps=0", "steps must be at least 1, got 0"},
      {"--optm.lr=1", "unknown key 'optm.lr'; did you mean 'optim.lr'?"},
      {"--optim.schedul.warmup_step=1",
       "unknown key 'optim.schedul.warmup_step'; did you mean 'optim.schedule.warmup_steps'?"},
      {"--warmup_steps=1",
       "unknown key 'warmup_steps'; did you mean 'optim.schedule.warmup_steps'?"},
      {"--optim.betas=[0.9, 2]", "optim.betas[1] must be below 1, got 2"},
      {"--optim.betas=[0.9", "not valid YAML: end of sequence flow not found"},
      {"--steps", "'--steps' must have the form --section.key=value"},
      {"steps=3", "'steps=3' must have the form --section.key=value"},
      {"--=3", "'--=3' must have the form --section.key=value"},
      {"--optim..lr=3", "'optim..lr' has an empty key"},
      {"--optim.lr.=3", "'optim.lr.' has an empty key"},
      {"--name.x=3", "name is a single value (run.yaml:1:7), it has no key 'x'"},
      {"--data.sources.2.path=.",
       "data.sources is a list with 2 items (counted from 0), it has no item '2'"},
      {"--data.sources.x.path=.",
       "data.sources is a list with 2 items (counted from 0), it has no item 'x'"},
      {"--data.sources.1.weight=0", "data.sources[1].weight must be above 0, got 0"},
      {"--optim.schedule.warmup_steps=101",
       "optim.schedule.warmup_steps must be at most steps (100), got 101"},
      {"--name=*x", "not valid YAML: the referenced anchor is not defined"},
      {"--name=!!str x", "tags (tag:yaml.org,2002:str) are not allowed"},
  };
  const std::string base =
      "name: n\ndata:\n  sources:\n    - {path: ., tags: [a]}\n    - {path: ., tags: [a]}\n";
  for (const Bad& bad : kCases) {
    EXPECT_EQ(ErrorsOf(base, {bad.text}), std::string("argument:3: ") + bad.message) << bad.text;
  }
  EXPECT_EQ(ErrorsOf(base, {"--steps=5", "--name=x", "--steps=6"}),
            "argument:3: optim.schedule.warmup_steps must be at most steps (5), got 10\n"
            "argument:5: steps is already set by argument:3");
  EXPECT_EQ(
      ErrorsOf(base, {"--optim.lr=0.5", "--optim={betas: [0, 0]}"}),
      "argument:4: optim would replace optim.lr, which is set by argument:3; give optim first");
  EXPECT_EQ(ErrorsOf("optim: {betas: [0.1, 0.2]}", {"--optim.betas=[0.1]"}),
            "argument:3: optim.betas must have 2 values, got 1");
}

TEST(ConfigLoad, ArgumentsReplaceValues) {
  const RunConfig c = Loaded(
      "steps: 20\noptim: {betas: [0.5, 0.6], schedule: {floor: 1}}\n"
      "data:\n  language_weights: {en: 1, de: 2}\n  sources:\n    - {path: a, tags: [x]}\n",
      {"--steps=30", "--optim.betas=[0.1, 0.2]", "--optim.schedule.floor=auto", "--name='a: b'",
       "--data.language_weights.fr=3", "--data.sources.0.path=b", "--optim.lr=3e-5"});
  EXPECT_EQ(c.steps, 30);
  EXPECT_EQ(c.optim.betas, (std::vector<double>{0.1, 0.2}));
  EXPECT_EQ(c.optim.schedule.floor, std::nullopt);
  EXPECT_EQ(c.optim.lr, 3e-5);
  EXPECT_EQ(c.name, "a: b");
  EXPECT_EQ(c.data.language_weights,
            (std::map<std::string, double>{{"en", 1}, {"de", 2}, {"fr", 3}}));
  EXPECT_EQ(c.data.sources[0].path, "b");
  EXPECT_EQ(c.data.sources[0].tags, std::vector<std::string>{"x"});
  const RunConfig whole =
      Loaded("data:\n  language_weights: {en: 1}\n", {"--data.language_weights={fr: 3}"});
  EXPECT_EQ(whole.data.language_weights, (std::map<std::string, double>{{"fr", 3}}));
}

TEST(ConfigLoad, RulesBetweenFieldsPointAtTheValueThatWasGiven) {
  EXPECT_EQ(ErrorsOf("steps: 5"),
            "run.yaml:1:8: optim.schedule.warmup_steps must be at most steps (5), got 10");
  EXPECT_EQ(ErrorsOf("steps: 5\noptim:\n  schedule:\n    warmup_steps: 6\n"),
            "run.yaml:4:19: optim.schedule.warmup_steps must be at most steps (5), got 6");
  EXPECT_EQ(ErrorsOf("optim:\n  lr: 0.5\n  schedule:\n    floor: 0.75\n"),
            "run.yaml:4:12: optim.schedule.floor must be at most lr (0.5), got 0.75");
  // A rule is not judged on a value that is wrong in itself.
  EXPECT_EQ(ErrorsOf("steps: 5x\noptim: {schedule: {warmup_steps: 200}}"),
            "run.yaml:1:8: steps must be an integer, got '5x'");
}

struct NeedyConfig {
  std::string path = "no-such-file";
  int count = 0;
  void Visit(auto&& v) {
    v("path", path, "", MustExist());
    v("count", count, "", Required());
  }
};
struct OuterConfig {
  NeedyConfig inner;
  void Visit(auto&& v) { v("inner", inner, ""); }
};

TEST(ConfigLoad, MissingAndDefaultValuesAreReportedAtTheSectionOrFile) {
  const auto errors = [](const std::string& text, bool check_paths) {
    const auto tree = ConfigTree::ParseString(text, "f").value();
    return std::string(
        LoadConfig<OuterConfig>(tree, {.check_paths = check_paths}).status().message());
  };
  EXPECT_EQ(errors("", true),
            "f: inner.path names 'no-such-file', which does not exist\nf: inner.count is required");
  EXPECT_EQ(errors("inner:\n  path: .\n", true), "f:1:1: inner.count is required");
  EXPECT_EQ(errors("inner: {count: 1}", false), "");
}

struct TypoConfig {
  int a = 0;
  void Visit(auto&& v) { v("a", a, ""); }
  void Check(ConfigErrors& errors) const { errors.Add("b", "is wrong"); }
};

TEST(ConfigLoadDeathTest, ACheckThatNamesNoFieldIsABug) {
  EXPECT_DEATH((void)LoadConfig<TypoConfig>(ConfigTree::Empty("f")),
               "'' has no field 'b' to report");
}

TEST(ConfigLoad, ReadsFilesAndNamesThoseThatAreMissing) {
  const auto status = LoadConfigFile<RunConfig>("no/such.yaml", {"--steps=x"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no/such.yaml: cannot open: No such file or directory");
}

}  // namespace
}  // namespace choir
