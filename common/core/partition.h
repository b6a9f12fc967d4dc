// Where a vector is cut when each rank reduces a part of it, and the parts when they are sent in
// tiles. Pure: the same job gives every rank, and `laconic validate`, the same cuts.
//
//   P  owners    d  elements
#pragma once

#include <cstdint>
#include <vector>

#include "common/core/codec_spec.h"
#include "common/core/layout.h"

namespace laconic::core {

// A stretch of the flat vector, encoded on its own.
struct Part {
  int64_t begin = 0;
  int64_t elements = 0;
  int owner = 0;  // The rank that sums it up.
  Layout
      layout;  // Of the stretch alone: tensors cut at its borders, part rows as rows of their own.
};

// Largest payload of a part: it travels as one frame.
inline constexpr int64_t kPartBytesMax = 1 << 20;
// Parts are not cut further below this, so that headers stay below 0.1 %.
inline constexpr int64_t kPartBytesMin = 1 << 16;
// Parts of one owner, where they are large enough: one is encoded while others are on their way.
inline constexpr int64_t kPartsPerOwner = 8;

// Elements [begin, end) of a layout. A tensor that is cut within a row gives up to three: the rest
// of the first row, whole rows, the start of the last.
// 0 <= begin < end <= layout.elements().
Layout slice(const Layout& layout, int64_t begin, int64_t end);

// Cuts the vector into at least one part per owner, in the order of the vector; none is empty, so a
// vector of fewer than P elements leaves the last owners without a part. Owners get equally many
// payload bytes, to within a tenth of that where scales allow: a cut moves by up to 5 % of an
// owner's share to the nearest border of a row (row scales) or block, and otherwise starts new
// scales within one. No part's payload exceeds kPartBytesMax.
//
// layout: at least one element. owners >= 1.
std::vector<Part> cut_into_parts(const CodecSpec& spec, const Layout& layout, int owners);

// The same for M sites of G ranks, P = M G: shard g of the vector, in M pieces of one owner each,
// is what the ranks of index g in their sites exchange; its m-th piece belongs to rank m G + g.
// layout: at least one element. sites, ranks_per_site >= 1.
std::vector<Part> cut_for_sites(const CodecSpec& spec, const Layout& layout, int sites,
                                int ranks_per_site);

// For float32 on its way around a ring or between partners: `count` stretches of equal length, some
// empty where there are fewer elements. Owner 0, no layout. count >= 1.
std::vector<Part> even_parts(int64_t elements, int64_t count);

// Tiles of a chunk when a float32 vector is cut into `chunks` >= 1: none is larger than a frame.
int tiles_per_chunk(int64_t elements, int chunks);

}  // namespace laconic::core
