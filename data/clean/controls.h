// Characters that nobody sees.
#pragma once

#include <string>

namespace choir {

// Of valid UTF-8:
// - line ends CR LF, CR, VT, FF, NEL, LINE and PARAGRAPH SEPARATOR become LF;
// - removed: other C0 and C1 controls but TAB, DEL, soft hyphen, byte order mark, zero-width space
//   and word joiner, bidirectional marks, embeddings, overrides and isolates, invisible operators,
//   interlinear annotation, non-characters, tag characters;
// - ZERO WIDTH JOINER and NON-JOINER are kept behind a letter (and its marks) of a script whose
//   spelling needs them (Arabic, Syriac, Mongolian, N'Ko, the Indic scripts), the joiner also
//   behind an emoji, ZERO WIDTH SPACE behind Thai, Lao, Khmer and Burmese, where it separates
//   words.
void RemoveControls(std::string& text);

}  // namespace choir
