// The product's version, and the versions that both ends of a connection must share.
#pragma once

namespace laconic::core {

inline constexpr const char* kVersion = "0.1.0";
inline constexpr int kWireFormatVersion = 1;  // of frames and payloads, docs/wire-format.md

}  // namespace laconic::core
