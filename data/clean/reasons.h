// Why a document is dropped. The names stand in reports and do not change; pointers may be
// compared.
#pragma once

namespace choir {

inline constexpr char kNotUtf8[] = "not UTF-8";
inline constexpr char kOverSize[] = "over 512 MiB";
inline constexpr char kNoText[] = "empty";
inline constexpr char kOtherLanguage[] = "other language";
inline constexpr char kUnsureLanguage[] = "language unsure";
inline constexpr char kUnwantedLanguage[] = "language not wanted";
inline constexpr char kTooShort[] = "too short";
inline constexpr char kTooLong[] = "too long";
inline constexpr char kWordLength[] = "word length";
inline constexpr char kDigits[] = "digits";
inline constexpr char kPunctuation[] = "punctuation";
inline constexpr char kSymbols[] = "symbols";
inline constexpr char kFewLetters[] = "words without letters";
inline constexpr char kRepeatedCharacters[] = "repeated characters";
inline constexpr char kOtherScript[] = "other script";
inline constexpr char kStopWords[] = "few stop words";
inline constexpr char kBullets[] = "bullet lines";
inline constexpr char kEllipses[] = "ellipsis lines";
inline constexpr char kRepeatedLines[] = "repeated lines";
inline constexpr char kRepeatedParagraphs[] = "repeated paragraphs";
inline constexpr char kRepeatedNgrams[] = "repeated n-grams";
inline constexpr char kExactDuplicate[] = "exact duplicate";
inline constexpr char kNearDuplicate[] = "near duplicate";

inline constexpr const char* kCleanReasons[] = {
    kNotUtf8,          kOverSize,       kNoText,        kOtherLanguage,      kUnsureLanguage,
    kUnwantedLanguage, kTooShort,       kTooLong,       kWordLength,         kDigits,
    kPunctuation,      kSymbols,        kFewLetters,    kRepeatedCharacters, kOtherScript,
    kStopWords,        kBullets,        kEllipses,      kRepeatedLines,      kRepeatedParagraphs,
    kRepeatedNgrams,   kExactDuplicate, kNearDuplicate,
};

}  // namespace choir
