#include "base/config_tree.h"

#include <gtest/gtest.h>

#include "base/config_parser.h"
#include "base/file.h"
#include "base/strings.h"
#include "tests/base/scratch_folder.h"

namespace choir {
namespace {

// All complaints about a text, fatal or not.
std::string Complaints(const std::string& text) {
  const auto tree = ConfigTree::ParseString(text, "f.yaml");
  return std::string(tree.ok() ? tree->errors().ToStatus().message() : tree.status().message());
}

TEST(ConfigTree, KeepsTheOrderAndPlacesOfWhatWasWritten) {
  const ConfigTree tree = ConfigTree::ParseString("b: 1\na:\n  c: [x, 'y']\n", "f.yaml").value();
  const ConfigNode& root = tree.root();
  ASSERT_EQ(root.keys.size(), 2u);
  EXPECT_EQ(root.keys[0].name, "b");
  EXPECT_EQ(root.keys[1].place.ToString(), "f.yaml:2:1");
  const ConfigNode* const list = root.Find("a")->Find("c");
  ASSERT_NE(list, nullptr);
  EXPECT_EQ(list->place.ToString(), "f.yaml:3:6");
  EXPECT_EQ(list->items[0].text, "x");
  EXPECT_FALSE(list->items[0].quoted);
  EXPECT_EQ(list->items[1].place.ToString(), "f.yaml:3:10");
  EXPECT_TRUE(list->items[1].quoted);
  EXPECT_EQ(root.Find("c"), nullptr);
}

TEST(ConfigTree, RefusesWhatStrictYamlLeavesOut) {
  EXPECT_EQ(Complaints("a: 1\nb: 2\na: 3\n"), "f.yaml:3:1: key 'a' is already set on line 1");
  EXPECT_EQ(Complaints("a:\n  b: {c: 1, c: {d: 2}}\n"),
            "f.yaml:2:13: key 'c' is already set on line 2");
  EXPECT_EQ(Complaints("a: &x 1\nb: *x\n"),
            "f.yaml:1:4: anchors (&name) are not allowed; write the value out\n"
            "f.yaml:2:4: aliases (*name) are not allowed; write the value out");
  EXPECT_EQ(Complaints("a: !!int 3\nb: !mine {c: 1}\n"),
            "f.yaml:1:4: tags (tag:yaml.org,2002:int) are not allowed\n"
            "f.yaml:2:4: tags (!mine) are not allowed");
  EXPECT_EQ(Complaints("a: 1\n---\nb: 2\n"),
            "f.yaml:2:1: a second YAML document starts here; one file holds one config");
  EXPECT_EQ(Complaints("[a]: 1\n"), "f.yaml:1:1: a key must be a single word");
  EXPECT_EQ(Complaints("- a\n"), "f.yaml:1:1: a config must consist of `key: value` lines");
  EXPECT_EQ(Complaints("word\n"), "f.yaml:1:1: a config must consist of `key: value` lines");
}

TEST(ConfigTree, ReportsBrokenYamlWithItsPlaceAfterEarlierMistakes) {
  EXPECT_EQ(Complaints("a: 1\na: 2\nb: [1, 2\n"),
            "f.yaml:2:1: key 'a' is already set on line 1\n"
            "f.yaml:4:1: not valid YAML: end of sequence flow not found");
  EXPECT_EQ(Complaints("a: 1\n b: 2\n").substr(0, 28), "f.yaml:2:3: not valid YAML: ");
}

TEST(ConfigTree, LimitsDepthAndSize) {
  const auto nested = [](size_t lists) {
    return "a: " + std::string(lists, '[') + std::string(lists, ']');
  };
  EXPECT_EQ(Complaints(nested(kMaxConfigDepth - 1)), "");
  EXPECT_EQ(Complaints(nested(kMaxConfigDepth)), "f.yaml:1:35: more than 32 levels of nesting");
  EXPECT_EQ(Complaints(nested(400'000)), "f.yaml:1:35: more than 32 levels of nesting");
  EXPECT_EQ(Complaints("a: 1\n#" + std::string(kMaxConfigBytes - 7, 'x') + "\n"), "");
  EXPECT_EQ(Complaints(std::string(kMaxConfigBytes + 1, '#')),
            "f.yaml: a config may have at most 1000000 bytes, this has 1000001");
}

// A billion-laughs bomb ends at its first alias, in no time.
TEST(ConfigTree, AliasBombsDoNotExpand) {
  std::string text = "a0: &a0 [x]\n";
  for (int i = 1; i < 30; ++i) {
    text += StrCat("a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, "]\n");
  }
  const std::string complaints = Complaints(text);
  EXPECT_EQ(complaints.substr(0, 64),
            "f.yaml:1:5: anchors (&name) are not allowed; write the value out");
  EXPECT_EQ(std::count(complaints.begin(), complaints.end(), '\n') + 1, 30 + 2 * 29);
}

TEST(ConfigTree, SurvivesHostileBytes) {
  const std::string pieces[] = {"a: ",   "[",     "]",        "{",  "}",   "- ",
                                "? ",    ": ",    "\"",       "'",  "&a ", "*a ",
                                "!t ",   "|\n",   "\n",       "  ", "\t",  "%YAML 9.9\n",
                                "---\n", "...\n", "\xff\xfe", "\\", "#",   std::string(1, '\0')};
  uint64_t state = 1;
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += pieces[(state >> 33) % std::size(pieces)];
    }
    const auto tree = ConfigTree::ParseString(text, "f");
    if (!tree.ok()) {
      EXPECT_FALSE(tree.status().message().empty());
    }
  }
}

TEST(ConfigTree, ParsesFiles) {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/config.yaml";
  ASSERT_TRUE(WriteFileAtomic(path, "a: 1\na: 2\n").ok());
  const ConfigTree tree = ConfigTree::ParseFile(path).value();
  EXPECT_EQ(tree.errors().ToStatus().message(), path + ":2:1: key 'a' is already set on line 1");
  EXPECT_EQ(tree.file(), path);
}

}  // namespace
}  // namespace choir
