#include "data/clean/nfc.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>

#include <algorithm>

#include "base/check.h"

namespace choir {

void NormalizeNfc(std::string& text) {
  // Below U+0300 (lead byte 0xCC) every text is in form C: neither marks nor singletons.
  const auto plain = [](char byte) { return static_cast<unsigned char>(byte) < 0xCC; };
  if (std::all_of(text.begin(), text.end(), plain)) return;
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* const nfc = icu::Normalizer2::getNFCInstance(error);
  CHECK(U_SUCCESS(error)) << "ICU has no NFC data: " << u_errorName(error);
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  if (nfc->isNormalizedUTF8(piece, error) && U_SUCCESS(error)) return;
  std::string normal;
  icu::StringByteSink<std::string> sink(&normal, static_cast<int32_t>(text.size()));
  nfc->normalizeUTF8(0, piece, sink, nullptr, error);
  CHECK(U_SUCCESS(error)) << "NFC failed: " << u_errorName(error);
  text = std::move(normal);
}

}  // namespace choir
