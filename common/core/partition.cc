#include "common/core/partition.h"

#include <algorithm>
#include <cstdlib>

#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

// Cuts within a row or block lie on multiples of this, so that packed values end with a byte.
constexpr int64_t kCutElements = 8;
// A cut may move to a border this much of an owner's share away.
constexpr double kSlack = 0.05;

// The rows of a layout as stretches of the vector, and what they cost before their values: the
// payload bits of the first x elements grow with x, by jumps where a row begins.
class CostLine {
 public:
  CostLine(const CodecSpec& spec, const Layout& layout)
      : by_rows_(spec.kind == CodecKind::kQuantize && spec.rows),
        block_(spec.kind == CodecKind::kQuantize && !spec.rows ? spec.block : kCutElements),
        elements_(layout.elements()),
        value_bits_(value_bits(value_code(spec))) {
    if (!by_rows_) {
      return;
    }
    scale_bits_ = int64_t{16} * scales_per_group(value_code(spec));
    int64_t bits = 0;
    int64_t begin = 0;
    for (const TensorShape& tensor : layout.tensors) {
      stretches_.push_back({begin, tensor.columns, bits});
      begin += tensor.elements();
      bits += tensor.elements() * value_bits_ + tensor.rows * scale_bits_;
    }
    total_ = bits;
  }

  // The position up to which `share` of all payload bits lie, 0..1.
  int64_t position(double share) const {
    if (!by_rows_) {
      return static_cast<int64_t>(share * static_cast<double>(elements_));
    }
    const auto bits = static_cast<int64_t>(share * static_cast<double>(total_));
    const Stretch& tensor = *std::prev(std::upper_bound(
        stretches_.begin(), stretches_.end(), bits,
        [](int64_t wanted, const Stretch& stretch) { return wanted < stretch.bits_before; }));
    const int64_t row_bits = tensor.columns * value_bits_ + scale_bits_;
    const int64_t rest = bits - tensor.bits_before;
    const int64_t in_row = (rest % row_bits) / value_bits_;
    return tensor.begin + rest / row_bits * tensor.columns + std::min(in_row, tensor.columns);
  }

  // The border nearest to `position` if it is at most `slack` elements away, else a cut within.
  int64_t snap(int64_t position, int64_t slack) const {
    int64_t low = 0;
    int64_t unit = block_;
    if (by_rows_) {
      const Stretch& tensor = *std::prev(std::upper_bound(
          stretches_.begin(), stretches_.end(), position,
          [](int64_t wanted, const Stretch& stretch) { return wanted < stretch.begin; }));
      low = tensor.begin;
      unit = tensor.columns;
    }
    const int64_t before = low + (position - low) / unit * unit;
    const int64_t after = std::min(before + unit, elements_);
    const int64_t nearest = position - before <= after - position ? before : after;
    return std::abs(nearest - position) <= slack ? nearest : position / kCutElements * kCutElements;
  }

 private:
  // One tensor.
  struct Stretch {
    int64_t begin = 0;
    int64_t columns = 0;
    int64_t bits_before = 0;
  };

  const bool by_rows_;
  const int64_t block_;
  const int64_t elements_;
  const int value_bits_;
  int64_t scale_bits_ = 0;
  int64_t total_ = 0;
  std::vector<Stretch> stretches_;  // Empty without row scales.
};

// Borders of `count` equal shares of a vector, first 0, last d; those that would make an empty
// stretch are left out of the middle, so there may be fewer.
std::vector<int64_t> cut(const CodecSpec& spec, const Layout& layout, int64_t count) {
  const CostLine line(spec, layout);
  const int64_t elements = layout.elements();
  const auto slack =
      static_cast<int64_t>(kSlack * static_cast<double>(elements) / static_cast<double>(count));
  std::vector<int64_t> borders = {0};
  for (int64_t i = 1; i < count; ++i) {
    int64_t border =
        line.snap(line.position(static_cast<double>(i) / static_cast<double>(count)), slack);
    if (elements < count * 2 * kCutElements) {
      border = elements * i / count;  // Too few for anything but single elements.
    }
    if (border > borders.back() && border < elements) {
      borders.push_back(border);
    }
  }
  borders.push_back(elements);
  return borders;
}

// Appends the parts of one owner's stretch [begin, end).
void cut_tiles(const CodecSpec& spec, const Layout& layout, Part share, std::vector<Part>& parts) {
  const int64_t bytes = payload_bytes_max(spec, share.layout);
  const int64_t wanted =
      std::clamp((bytes + kPartsPerOwner - 1) / kPartsPerOwner, kPartBytesMin, kPartBytesMax);
  const int64_t tiles = std::min(share.elements, (bytes + wanted - 1) / wanted);
  if (tiles <= 1) {
    parts.push_back(std::move(share));
    return;
  }
  const std::vector<int64_t> borders = cut(spec, share.layout, tiles);
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    Part tile{.begin = share.begin + borders[i],
              .elements = borders[i + 1] - borders[i],
              .owner = share.owner,
              .layout = slice(layout, share.begin + borders[i], share.begin + borders[i + 1])};
    if (payload_bytes_max(spec, tile.layout) > kPartBytesMax) {
      cut_tiles(spec, layout, std::move(tile), parts);
    } else {
      parts.push_back(std::move(tile));
    }
  }
}

}  // namespace

Layout slice(const Layout& layout, int64_t begin, int64_t end) {
  Layout part;
  int64_t tensor_begin = 0;
  for (const TensorShape& tensor : layout.tensors) {
    const int64_t first = std::max(begin, tensor_begin) - tensor_begin;
    const int64_t last = std::min(end, tensor_begin + tensor.elements()) - tensor_begin;
    tensor_begin += tensor.elements();
    const auto add = [&](int64_t rows, int64_t columns) {
      if (rows > 0 && columns > 0) {
        part.tensors.push_back({.name = tensor.name, .rows = rows, .columns = columns});
      }
    };
    if (first >= last) {
      continue;
    }
    const int64_t whole_from = (first + tensor.columns - 1) / tensor.columns;
    const int64_t whole_to = last / tensor.columns;
    if (whole_from > whole_to) {
      add(1, last - first);  // Within one row.
      continue;
    }
    add(1, whole_from * tensor.columns - first);
    add(whole_to - whole_from, tensor.columns);
    add(1, last - whole_to * tensor.columns);
  }
  return part;
}

std::vector<Part> cut_into_parts(const CodecSpec& spec, const Layout& layout, int owners) {
  const std::vector<int64_t> borders = cut(spec, layout, owners);
  std::vector<Part> parts;
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    cut_tiles(spec, layout,
              {.begin = borders[i],
               .elements = borders[i + 1] - borders[i],
               .owner = static_cast<int>(i),
               .layout = slice(layout, borders[i], borders[i + 1])},
              parts);
  }
  return parts;
}

std::vector<Part> cut_for_sites(const CodecSpec& spec, const Layout& layout, int sites,
                                int ranks_per_site) {
  std::vector<Part> parts = cut_into_parts(spec, layout, sites * ranks_per_site);
  for (Part& part : parts) {
    part.owner = part.owner % sites * ranks_per_site + part.owner / sites;
  }
  return parts;
}

std::vector<Part> even_parts(int64_t elements, int64_t count) {
  std::vector<Part> parts;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = elements * i / count;
    parts.push_back(
        {.begin = begin, .elements = elements * (i + 1) / count - begin, .owner = 0, .layout = {}});
  }
  return parts;
}

int tiles_per_chunk(int64_t elements, int chunks) {
  const int64_t bytes = (elements / chunks + 1) * static_cast<int64_t>(sizeof(float));
  // Half of a frame: rounding must not push a tile above a whole one.
  const int64_t wanted = std::clamp(bytes / kPartsPerOwner, kPartBytesMin, kPartBytesMax / 2);
  return static_cast<int>((bytes + wanted - 1) / wanted);
}

}  // namespace laconic::core
