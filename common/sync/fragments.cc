#include "common/sync/fragments.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace laconic::sync {

absl::StatusOr<std::vector<Fragment>> cut_into_fragments(const core::Layout& layout, int count) {
  const auto tensors = static_cast<int>(layout.tensors.size());
  if (count < 1 || count > tensors) {
    return absl::InvalidArgumentError(absl::StrCat("fragments is ", count,
                                                   "; allowed: 1 to the model's ", tensors,
                                                   " tensors, which stay whole"));
  }
  const int64_t elements = layout.elements();
  std::vector<Fragment> fragments;
  int64_t begin = 0;
  int next = 0;
  for (int i = 0; i < count; ++i) {
    Fragment fragment{.layout = {}, .begin = begin};
    const auto end = static_cast<int64_t>(static_cast<double>(elements) * (i + 1) / count);
    const int later = count - i - 1;  // fragments that need a tensor each
    do {
      const core::TensorShape& tensor = layout.tensors[static_cast<size_t>(next)];
      fragment.layout.tensors.push_back(tensor);
      begin += tensor.elements();
      ++next;
      // The next tensor belongs here if most of it does.
    } while (
        next < tensors - later &&
        (later == 0 || begin + layout.tensors[static_cast<size_t>(next)].elements() / 2 < end));
    fragments.push_back(std::move(fragment));
  }
  return fragments;
}

}  // namespace laconic::sync
