// The shape of a model's parameters laid end to end in one flat vector.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace laconic::core {

// One tensor of the flat vector: `rows` stretches of `columns` elements, row after row.
// A weight of shape [out, ...] has rows = out; a vector has rows = 1.
struct TensorShape {
  std::string name;     // As in the model, e.g. "dense1.weight".
  int64_t rows = 0;     // >= 1
  int64_t columns = 0;  // >= 1

  int64_t elements() const { return rows * columns; }
  bool operator==(const TensorShape&) const = default;
};

// d parameters in the fixed order in which every rank flattens them.
struct Layout {
  std::vector<TensorShape> tensors;

  int64_t elements() const;    // d
  int64_t total_rows() const;  // Sum of rows.
  // XXH3-64 of names and shapes. Ranks with different hashes must not train together.
  uint64_t hash() const;

  bool operator==(const Layout&) const = default;
};

}  // namespace laconic::core
