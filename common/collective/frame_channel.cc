#include "common/collective/frame_channel.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/core/crc32c.h"
#include "common/core/digest.h"
#include "common/core/status_macros.h"

namespace laconic::collective {
namespace {

// The same operation of the same round, from a peer with the same parameters.
absl::Status check_place(const FrameHeader& got, const FrameHeader& ours) {
  const std::string peer = absl::StrCat("rank ", got.from_rank);
  if (got.generation != ours.generation) {
    return absl::AbortedError(
        absl::StrCat(peer, " is in generation ", got.generation, ", ours is ", ours.generation));
  }
  const bool same_kind = got.kind == ours.kind || got.kind == FrameKind::kAlive;
  if (got.op_sequence != ours.op_sequence || got.round != ours.round || !same_kind) {
    const auto place = [](const FrameHeader& header) {
      return absl::StrCat("operation ", header.op_sequence, " (kind ",
                          static_cast<int>(header.kind), ") of round ", header.round);
    };
    return absl::FailedPreconditionError(
        absl::StrCat(peer, " is at ", place(got), ", we are at ", place(ours)));
  }
  if (got.previous_digest != ours.previous_digest) {
    return absl::FailedPreconditionError(
        absl::StrCat(peer, " diverged: its digest of round ", got.round, " is ",
                     core::format_digest(got.previous_digest), ", ours is ",
                     core::format_digest(ours.previous_digest)));
  }
  return absl::OkStatus();
}

}  // namespace

FrameChannel::FrameChannel(Transport& transport, uint64_t generation, absl::Duration deadline)
    : transport_(transport), generation_(generation), deadline_(deadline) {}

FrameHeader FrameChannel::next_header(FrameKind kind, const OpTag& tag) const {
  FrameHeader header;
  header.kind = kind;
  header.generation = generation_;
  header.op_sequence = op_sequence_;
  header.round = tag.round;
  header.previous_digest = tag.previous_digest;
  header.from_rank = static_cast<uint16_t>(rank());
  return header;
}

FrameHeader FrameChannel::start(FrameKind kind, const OpTag& tag, uint64_t count) {
  failed_rank_ = -1;
  operation_bytes_ = {};
  const FrameHeader header = next_header(kind, tag);
  op_sequence_ += count;
  return header;
}

absl::Status FrameChannel::send(int to, FrameHeader header, Payload payload) {
  header.to_rank = static_cast<uint16_t>(to);
  header.payload_bytes = static_cast<uint32_t>(payload.size);
  header.payload_crc32c =
      payload.crc32c.has_value() ? *payload.crc32c : core::crc32c(payload.bytes());
  Frame frame{header, std::move(payload)};
  const int64_t bytes = frame.bytes();
  const auto payload_bytes = static_cast<int64_t>(frame.payload.size);
  if (absl::Status status = transport_.send(to, std::move(frame), absl::Now() + deadline_);
      !status.ok()) {
    return blame(to, std::move(status));
  }
  operation_bytes_.sent += bytes;
  operation_bytes_.payload_sent += payload_bytes;
  return absl::OkStatus();
}

absl::StatusOr<Frame> FrameChannel::receive(int from, const FrameHeader& header,
                                            uint64_t first_sequence) {
  absl::StatusOr<Frame> frame = receive_current(from, header, first_sequence);
  if (!frame.ok()) {
    return blame(from, frame.status());
  }
  return frame;
}

absl::StatusOr<Payload> FrameChannel::receive_message(int from, const FrameHeader& header,
                                                      uint64_t first_sequence,
                                                      const Expected& expected) {
  LACONIC_ASSIGN_OR_RETURN(Frame frame, receive(from, header, first_sequence));
  const auto total = static_cast<int64_t>(frame.header.payload_bytes_total);
  if (absl::Status status = check_total(from, total, expected); !status.ok()) {
    return blame(from, std::move(status));
  }
  if (tile_count(total) != 1) {
    return blame(from, absl::DataLossError(absl::StrCat("from rank ", from, ": a message of ",
                                                        total, " bytes in several frames")));
  }
  return checked(std::move(frame));
}

absl::StatusOr<Payload> FrameChannel::receive_tile(int from, const FrameHeader& header,
                                                   uint64_t first_sequence) {
  LACONIC_ASSIGN_OR_RETURN(Frame frame, receive(from, header, first_sequence));
  const auto due = static_cast<int64_t>(header.payload_bytes_total);
  const auto total = static_cast<int64_t>(frame.header.payload_bytes_total);
  if (absl::Status status = check_total(from, total, {due, /*exact=*/true}); !status.ok()) {
    return blame(from, std::move(status));
  }
  if (frame.header.tile != header.tile) {
    return blame(from,
                 absl::DataLossError(absl::StrCat("rank ", from, " sent tile ", frame.header.tile,
                                                  " where tile ", header.tile, " was due")));
  }
  return checked(std::move(frame));
}

absl::StatusOr<Payload> FrameChannel::checked(Frame frame) {
  const int from = frame.header.from_rank;
  if (absl::Status status = check_payload(frame.header, frame.payload.bytes()); !status.ok()) {
    return blame(from,
                 absl::DataLossError(absl::StrCat("from rank ", from, ": ", status.message())));
  }
  frame.payload.crc32c = frame.header.payload_crc32c;
  return std::move(frame.payload);
}

// The deadline starts anew with each frame that is passed over.
absl::StatusOr<Frame> FrameChannel::receive_current(int from, const FrameHeader& header,
                                                    uint64_t first_sequence) {
  FrameHeader alive = header;
  alive.op_sequence = first_sequence;
  for (int passed_over = 0; passed_over <= kPassedOverMax; ++passed_over) {
    LACONIC_ASSIGN_OR_RETURN(Frame frame, transport_.receive(from, absl::Now() + deadline_));
    operation_bytes_.received += frame.bytes();
    operation_bytes_.payload_received += static_cast<int64_t>(frame.payload.size);
    if (frame.header.from_rank != from || frame.header.to_rank != rank()) {
      return absl::DataLossError(absl::StrCat(
          "frame on the stream from rank ", from, " to rank ", rank(), " says it goes from rank ",
          frame.header.from_rank, " to rank ", frame.header.to_rank));
    }
    if (frame.header.generation < generation_) {
      ++stale_frames_;
      continue;
    }
    const bool says_something = frame.header.kind != FrameKind::kAlive;
    LACONIC_RETURN_IF_ERROR(check_place(frame.header, says_something ? header : alive));
    if (says_something) {
      return frame;
    }
  }
  return absl::DeadlineExceededError(
      absl::StrCat("rank ", from, " sent ", kPassedOverMax, " frames that say nothing new"));
}

absl::Status FrameChannel::blame(int rank, absl::Status status) {
  const int lost = transport_.lost_rank();
  failed_rank_ = status.code() == absl::StatusCode::kUnavailable && lost >= 0 ? lost : rank;
  return status;
}

absl::Status check_total(int from, int64_t total, const Expected& expected) {
  if (total > expected.bytes_max || (expected.exact && total != expected.bytes_max)) {
    return absl::DataLossError(absl::StrCat("rank ", from, " sends ", total, " bytes, ",
                                            expected.exact ? "due are " : "the limit is ",
                                            expected.bytes_max));
  }
  return absl::OkStatus();
}

}  // namespace laconic::collective
