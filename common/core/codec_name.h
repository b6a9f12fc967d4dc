// Codecs as logs, reports and tables name them.
#pragma once

#include <string>

#include "common/core/codec_spec.h"

namespace laconic::core {

// "float32", "int8", "top-k 1 %", "exponential 3 bit", ...: short, without blocks and rounding.
std::string codec_name(const CodecSpec& codec);

}  // namespace laconic::core
