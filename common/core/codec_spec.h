// How small: which codec turns a vector into bytes. Filled from the job file by common/wire.
#pragma once

#include <cstdint>

namespace laconic::core {

enum class CodecKind : uint8_t {
  kNone = 0,      // float32, little-endian
  kQuantize = 1,  // every element in `bits`, one scale per block or row
  kTopK = 2,      // the largest elements: Elias-Fano positions, `bits` per value
  kRandK = 3,     // k random elements as float32; the seed of the round gives their positions
  kPermK = 4,     // each rank sends its own part of a random partition of the elements as float32
  kChunkedTopK = 5,  // the largest `per_chunk` elements of every `chunk`, `bits` per value
  kNatural = 6,      // every element as sign and power of two, rounded at random
  kExponential = 7,  // every element in `bits`, levels near A q^k fitted to each tensor
  kLowRank = 8,      // every matrix as the product of two thin ones (PowerSGD)
};

struct CodecSpec {
  CodecKind kind = CodecKind::kNone;
  int bits = 32;           // quantize: 8, 4, 2, 1; values of (chunked) top-k: these and 32;
                           // exponential, also of top-k: 4, 3, 2
  bool rows = false;       // quantize: one scale per row of the layout instead of per block
  int64_t block = 256;     // quantize without rows: elements per scale, a power of two in 16..65536
  double density = 0;      // top-k, rand-k: kept / total, in (0, 0.5]
  int64_t chunk = 4096;    // chunked top-k: elements of a chunk, a power of two in 64..65536
  int64_t per_chunk = 64;  // chunked top-k: kept of each, 1..chunk / 4
  bool stochastic = false;   // quantize in 8 or 4 bits: rounding at random, which is unbiased
  bool exponential = false;  // top-k: values in levels near A q^k fitted to the payload
  int factors = 1;           // low rank: columns of the thin matrices, 1..256
  bool entropy = false;      // codes are entropy-coded where that makes the payload smaller
  bool scaled = false;  // rand-k, perm-k: values times d / k (perm-k: P), which makes them unbiased

  // Who encodes; set by the exchange, not by the job file. perm-k: which part is ours.
  int rank = 0;        // 0..world_size-1
  int world_size = 1;  // P: 1..65535

  bool lossy() const {
    return kind != CodecKind::kNone && !(kind == CodecKind::kTopK && density >= 1);
  }
  bool operator==(const CodecSpec&) const = default;
};

}  // namespace laconic::core
