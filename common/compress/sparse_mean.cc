#include "common/compress/sparse_mean.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace laconic::compress {
namespace {

// Elements made at a time, in L1.
constexpr size_t kBlock = 4096;
// A vector of this size is not in a cache when it is read next: writing past them spares fetching
// what is overwritten.
constexpr size_t kStreamBytesMin = size_t{16} << 20;

using Block = std::array<float, kBlock>;

// Writes the first `count` to `out`.
void write_block(const Block& block, size_t count, float* out, bool stream) {
#if defined(__SSE2__)
  if (stream && reinterpret_cast<uintptr_t>(out) % sizeof(__m128) == 0) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
      _mm_stream_ps(out + i, _mm_load_ps(block.data() + i));
    }
    std::copy(block.begin() + static_cast<std::ptrdiff_t>(i),
              block.begin() + static_cast<std::ptrdiff_t>(count), out + i);
    return;
  }
#else
  static_cast<void>(stream);
#endif
  std::memcpy(out, block.data(), count * sizeof(float));
}

// Elements of all terms in [begin, end), begin a multiple of kBlock, at `block`.
class BlockMaker {
 public:
  explicit BlockMaker(const SparseTerms& terms)
      : terms_(terms), ranks_(static_cast<float>(terms.ends.size())) {
    next_.push_back(0);
    next_.insert(next_.end(), terms.ends.begin(), terms.ends.end() - 1);
    stop_.resize(next_.size());
  }

  // block: zeros.
  void make(size_t begin, size_t end, Block& block) {
    divided_.fill(0);
    for (size_t r = 0; r < next_.size(); ++r) {
      size_t i = next_[r];
      for (; i < terms_.ends[r] && terms_.positions[i] < end; ++i) {
        float& x = block[terms_.positions[i] - begin];
        x = r == 0 ? terms_.values[i] : x + terms_.values[i];
      }
      stop_[r] = i;
    }
    for (size_t r = 0; r < next_.size(); ++r) {
      for (size_t i = next_[r]; i < stop_[r]; ++i) {
        divide(terms_.positions[i] - begin, block);
      }
      next_[r] = stop_[r];
    }
  }

 private:
  // Once, however many vectors have the element. No branch: which ones do is a coin toss.
  void divide(size_t at, Block& block) {
    uint64_t& word = divided_[at / 64];
    const bool before = (word >> (at % 64) & 1) != 0;
    word |= uint64_t{1} << (at % 64);
    block[at] /= before ? 1.0F : ranks_;
  }

  const SparseTerms& terms_;
  const float ranks_;
  std::vector<size_t> next_;  // [P] first element not made yet
  std::vector<size_t> stop_;  // [P]
  std::array<uint64_t, kBlock / 64> divided_{};
};

}  // namespace

void mean_of_kept(const SparseTerms& terms, std::span<float> out) {
  const bool stream = out.size_bytes() >= kStreamBytesMin;
  BlockMaker maker(terms);
  alignas(64) Block block;
  for (size_t begin = 0; begin < out.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, out.size());
    block.fill(0);
    maker.make(begin, end, block);
    write_block(block, end - begin, out.data() + begin, stream);
  }
#if defined(__SSE2__)
  _mm_sfence();  // Streamed values are seen by other threads in order.
#endif
}

}  // namespace laconic::compress
