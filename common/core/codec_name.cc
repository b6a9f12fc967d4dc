#include "common/core/codec_name.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace laconic::core {

std::string codec_name(const CodecSpec& codec) {
  switch (codec.kind) {
    case CodecKind::kNone:
      return "float32";
    case CodecKind::kQuantize:
      return absl::StrCat("int", codec.bits);
    case CodecKind::kTopK:
      return absl::StrFormat("top-k %.3g %%", 100 * codec.density);
    case CodecKind::kRandK:
      return absl::StrFormat("rand-k %.3g %%", 100 * codec.density);
    case CodecKind::kPermK:
      return "perm-k";
    case CodecKind::kChunkedTopK:
      return absl::StrCat("top ", codec.per_chunk, " of ", codec.chunk);
    case CodecKind::kNatural:
      return "natural";
    case CodecKind::kExponential:
      return absl::StrCat("exponential ", codec.bits, " bit");
    case CodecKind::kLowRank:
      return absl::StrCat("low rank ", codec.factors);
  }
  return "unknown";
}

}  // namespace laconic::core
