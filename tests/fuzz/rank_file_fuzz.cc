// tiktoken's ranks; the first byte chooses how text is split. A file that does not begin with the
// bytes gets all 256, so that a few tokens make a whole one.
#include <set>

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "data/tokenizer/bpe_tokenizer.h"
#include "data/tokenizer/rank_file.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  if (size == 0) return 0;
  const auto& families = PatternFamilies();
  const RankSettings settings{families[data[0] % families.size()].name, {{"<|endoftext|>", 5000}}};
  std::string content(FuzzBytes(data + 1, size - 1));
  if (content.find("AA== 0\n") == content.npos) {
    if (!content.empty() && !content.ends_with('\n')) content += '\n';
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(byte);
      content += StrCat(absl::Base64Escape(absl::string_view(&c, 1)), " ", 1000 + byte, "\n");
    }
  }
  absl::StatusOr<BpeSpec> spec = ReadRanks(content, settings, "fuzz");
  if (!spec.ok()) {
    CHECK(!spec.status().message().empty());
    return 0;
  }
  const auto tokenizer = BpeTokenizer::Make(*std::move(spec), {});
  if (!tokenizer.ok()) {
    CHECK(!tokenizer.status().message().empty());
    return 0;
  }
  CHECK((*tokenizer)->Decode((*tokenizer)->Encode(content)) == content);
  return 0;
}
