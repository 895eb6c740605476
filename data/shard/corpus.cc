#include "data/shard/corpus.h"

#include "base/status.h"
#include "base/strings.h"

namespace choir {

absl::StatusOr<std::unique_ptr<Tokenizer>> Corpus::OpenItsTokenizer() const {
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> opened, OpenTokenizer(tokenizer_path()));
  if (opened->fingerprint() != tokenizer().fingerprint) {
    return absl::DataLossError(
        StrCat(tokenizer_path(), ": not the tokenizer that made the shards beside it (fingerprint ",
               opened->fingerprint(), ", must be ", tokenizer().fingerprint,
               "); run `choir data build` again"));
  }
  return opened;
}

}  // namespace choir
