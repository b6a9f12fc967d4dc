#include "common/core/layout.h"

#include "absl/strings/str_cat.h"
#include "common/core/digest.h"

namespace laconic::core {

int64_t Layout::elements() const {
  int64_t sum = 0;
  for (const TensorShape& tensor : tensors) {
    sum += tensor.elements();
  }
  return sum;
}

int64_t Layout::total_rows() const {
  int64_t sum = 0;
  for (const TensorShape& tensor : tensors) {
    sum += tensor.rows;
  }
  return sum;
}

uint64_t Layout::hash() const {
  std::string text;
  for (const TensorShape& tensor : tensors) {
    absl::StrAppend(&text, tensor.name, ":", tensor.rows, "x", tensor.columns, "\n");
  }
  return digest(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

}  // namespace laconic::core
