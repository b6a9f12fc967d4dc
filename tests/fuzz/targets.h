// What is fuzzed: one function per decoder of bytes that come from a peer or a user. The same
// functions run under libFuzzer and, over corpus/, in every build.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace laconic::fuzz {

using Bytes = std::span<const uint8_t>;

// Runs `input` through a decoder. Aborts, with the rule that was broken, if the decoder accepts
// what it must refuse, or its answers disagree with each other.
// Returns true if the decoder accepted the input.
using Target = bool (*)(Bytes input);

// A payload through a codec's decode and decode_add, at every SIMD level; what it decodes to is
// encoded again. Input: codec_input.h's choice, then the payload.
bool codec_decode(Bytes input);
// Numbers through two rounds of encode_sum, at every SIMD level. Input: the choice, a byte each for
// decay and shift, then float32 values, repeated as often as the vector needs.
bool codec_encode(Bytes input);
// A section of positions. Input: 3 bytes of elements, 2 bytes of kept at most, then the
// section.
bool positions(Bytes input);
// A frame. Input: a byte, odd: the checksum is made right; then header and payload.
bool frame(Bytes input);
// Frames of two peers through PeerQueues into a Communicator. Input: communicator_target.cc.
bool communicator(Bytes input);
// A job file. Input: a byte for the format, then the text; an odd byte: line 1 is a --set.
bool job_file(Bytes input);
// A data file. Input: a byte (even: IDX, odd: LIBSVM), a byte of classes or features, then for IDX
// 2 bytes with the size of the images' file, then the files.
bool data_files(Bytes input);
// A saved state without its digest, which is made right.
bool state(Bytes input);

struct NamedTarget {
  const char* name = nullptr;
  Target run = nullptr;
};
std::span<const NamedTarget> all_targets();
// nullptr if there is no such target.
Target find_target(std::string_view name);

}  // namespace laconic::fuzz
