#include "base/config_dump.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/config_docs.h"
#include "base/config_fields.h"
#include "base/random.h"
#include "tests/base/config_sample.h"

namespace choir {
namespace {

using sample::Loaded;
using sample::OptimConfig;
using sample::RunConfig;

TEST(ConfigDump, IsReadableYaml) {
  RunConfig c;
  c.data.sources = {{"a.jsonl", 0.1, {"x", "y z"}}, {"auto", 2, {}}};
  c.data.language_weights = {{"en", 1}, {"null", 0.5}};
  c.optim.state_dtype = "auto";
  EXPECT_EQ(ConfigDump(c),
            "name: run\n"
            "steps: 100\n"
            "tokens: 0\n"
            "resume: false\n"
            "numerics: fast\n"
            "heads: 8\n"
            "experts: 16\n"
            "optim:\n"
            "  lr: 3e-4\n"
            "  betas: [0.9, 0.95]\n"
            "  state_dtype: \"auto\"\n"
            "  numerics: auto\n"
            "  schedule:\n"
            "    warmup_steps: 10\n"
            "    floor: auto\n"
            "data:\n"
            "  sources:\n"
            "    - path: a.jsonl\n"
            "      weight: 0.1\n"
            "      tags: [x, \"y z\"]\n"
            "    - path: \"auto\"\n"
            "      weight: 2\n"
            "      tags: []\n"
            "  language_weights:\n"
            "    en: 1\n"
            "    \"null\": 0.5\n"
            "  tokenizer: \"\"\n");
}

// Text made of the characters that YAML treats specially.
std::string OddText(const CounterRandom& random, uint64_t& index) {
  const std::string pieces[] = {"a", " ", ":", "#", "\"", "'",    "\\",   "\n",       "\t", "-",
                                "[", "]", "{", "}", ",",  "&",    "*",    "!",        "|",  "null",
                                "~", "%", "@", "`", "\r", "\x01", "auto", "\xc3\xa9", "0",  "."};
  std::string text;
  const uint64_t length = random.Below(index++, 6);
  for (uint64_t i = 0; i < length; ++i) text += pieces[random.Below(index++, std::size(pieces))];
  return text;
}

double OddNumber(const CounterRandom& random, uint64_t& index, double high) {
  const double mantissa = random.Uniform(index++);
  return std::ldexp(mantissa, -static_cast<int>(random.Below(index++, 60))) * high;
}

TEST(ConfigDump, LoadsBackEqual) {
  for (uint64_t round = 0; round < 500; ++round) {
    const CounterRandom random(round, "dump");
    uint64_t i = 0;
    RunConfig c;
    c.name = "n" + OddText(random, i);
    c.steps = 10 + static_cast<int>(random.Below(i++, 999990));
    c.tokens = static_cast<int64_t>(random.Bits(i++));
    c.resume = random.Below(i++, 2) == 1;
    c.numerics = random.Below(i++, 2) == 1 ? Numerics::kInvariant : Numerics::kFast;
    c.optim.lr = OddNumber(random, i, 1);
    c.optim.betas = {OddNumber(random, i, 1), OddNumber(random, i, 1)};
    if (random.Below(i++, 2) == 1) c.optim.state_dtype = "bf16";
    if (random.Below(i++, 2) == 1) c.optim.numerics = Numerics::kInvariant;
    if (random.Below(i++, 2) == 1) c.optim.schedule.floor = c.optim.lr / 3;
    for (uint64_t n = random.Below(i++, 4); n > 0; --n) {
      c.data.language_weights["k" + std::to_string(n)] = OddNumber(random, i, 1e300);
    }
    for (uint64_t n = random.Below(i++, 3); n > 0; --n) {
      c.data.sources.push_back(
          {OddText(random, i), 1 + OddNumber(random, i, 1), {OddText(random, i), ""}});
    }
    c.data.tokenizer = OddText(random, i);
    const RunConfig back = Loaded(ConfigDump(c));
    const auto differences = ConfigDiff(c, back);
    ASSERT_TRUE(differences.empty()) << differences[0].key << "\n" << ConfigDump(c);
    ASSERT_EQ(ConfigDump(c), ConfigDump(back));
    // The members themselves, for what dump and diff might both overlook.
    ASSERT_EQ(c.name, back.name);
    ASSERT_EQ(c.optim.lr, back.optim.lr);
    ASSERT_EQ(c.tokens, back.tokens);
    ASSERT_EQ(c.optim.schedule.floor, back.optim.schedule.floor);
    ASSERT_EQ(c.data.language_weights, back.data.language_weights);
    ASSERT_EQ(c.data.sources.size(), back.data.sources.size());
  }
}

TEST(ConfigDiff, ListsKeysWithBothValues) {
  RunConfig a, b;
  EXPECT_TRUE(ConfigDiff(a, b).empty());
  b.steps = 7;
  b.optim.schedule.floor = 0.5;
  b.optim.betas = {0.5};
  a.data.language_weights = {{"de", 1}, {"en", 2}};
  b.data.language_weights = {{"en", 2}, {"fr", 3}};
  b.data.sources = {{"p", 1, {"t"}}};
  const std::vector<ConfigDifference> expected = {
      {"steps", "100", "7"},
      {"optim.betas", "[0.9, 0.95]", "[0.5]"},
      {"optim.schedule.floor", "auto", "0.5"},
      {"data.language_weights.de", "1", "(not set)"},
      {"data.sources[0].path", "(not set)", "p"},
      {"data.sources[0].weight", "(not set)", "1"},
      {"data.sources[0].tags", "(not set)", "[t]"},
      {"data.language_weights.fr", "(not set)", "3"},
  };
  EXPECT_EQ(ConfigDiff(a, b), expected);
}

TEST(ConfigHash, FollowsTheValues) {
  RunConfig a, b;
  EXPECT_EQ(ConfigHash(a).size(), 32u);
  EXPECT_EQ(ConfigHash(a), ConfigHash(b));
  b.optim.lr = std::nextafter(a.optim.lr, 1);
  EXPECT_NE(ConfigHash(a), ConfigHash(b));
}

TEST(ConfigDocs, ListsKeyTypeLimitsDefaultAndHelp) {
  const std::string docs = ConfigDocs<RunConfig>();
  const char* const kRows[] = {
      "| key | type | default | meaning |\n|---|---|---|---|\n",
      "| `steps` | integer, >= 1, <= 1000000 | `100` | optimizer steps |\n",
      "| `numerics` | fast or invariant | `fast` | kernels and reductions |\n",
      "| `experts` | integer, power of two | `16` | experts of each layer |\n",
      "| `optim` | section |  |  |\n",
      "| `optim.lr` | number, from 0 to 1 | `3e-4` | peak learning rate |\n",
      "| `optim.betas` | list of number, >= 0, < 1 | `[0.9, 0.95]` | decay of the first \\| second "
      "moment |\n",
      "| `optim.state_dtype` | text or auto, f32 or bf16 | `auto` | dtype of the moments |\n",
      "| `data.sources` | list of section | `[]` | where the text comes from |\n",
      "| `data.sources[].path` | text, existing path | required | file to read |\n",
      "| `data.language_weights` | mapping of number, >= 0 | `{}` | share of each language |\n",
  };
  for (const char* row : kRows) EXPECT_NE(docs.find(row), std::string::npos) << row << docs;
}

struct Complete {
  std::string a;
  std::optional<int> b;
  std::vector<double> c;
  std::map<std::string, double> d;
  OptimConfig e;
  Numerics f = Numerics::kFast;
  bool g = false;
  std::optional<std::string> h;
  std::vector<sample::SourceConfig> i;
  void Visit(auto&& v) {
    v("a", a, "");
    v("b", b, "");
    v("c", c, "");
    v("d", d, "");
    v("e", e, "");
    v("f", f, "");
    v("g", g, "");
    v("h", h, "");
    v("i", i, "");
  }
};

struct Forgetful {
  int a = 1;
  std::optional<double> forgotten;
  Complete inner;
  void Visit(auto&& v) {
    v("a", a, "");
    v("inner", inner, "");
  }
};

struct Repeating {
  int a = 1, b = 2;
  void Visit(auto&& v) {
    v("a", a, "");
    v("a", b, "");
  }
};

struct Outer {
  std::vector<Forgetful> list;
  Complete inner;
  void Visit(auto&& v) {
    v("list", list, "");
    v("inner", inner, "");
  }
};

TEST(ConfigFields, CountsMembersOfEveryType) {
  EXPECT_EQ(CountFields<Complete>(), 9);
  EXPECT_EQ(CountVisited<Complete>(), 9);
  EXPECT_EQ(CountFields<RunConfig>(), 9);
  EXPECT_EQ(ForgottenFields<RunConfig>(), "");
}

TEST(ConfigFields, FindsForgottenAndRepeatedMembers) {
  EXPECT_EQ(CountFields<Forgetful>(), 3);
  EXPECT_EQ(CountVisited<Forgetful>(), 2);
  EXPECT_EQ(CountVisited<Repeating>(), -1);
  EXPECT_EQ(ForgottenFields<Outer>(), "list[] has 3 fields, Visit lists 2\n");
}

TEST(ConfigPaths, MeasuresEdits) {
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("abc", "abc"), 0);
  EXPECT_EQ(EditDistance("abcd", "acbd"), 1);  // swapped neighbours
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(NearestName("tensr", {"data", "tensor", "sensor"}), "tensor");
  EXPECT_EQ(NearestName("x", {"y"}), "");
}

}  // namespace
}  // namespace choir
