#include "common/collective/peer_streams.h"

#include <grpcpp/support/slice.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"

namespace laconic::collective {
namespace {

// A held slice keeps the whole buffer that gRPC read into, 64 KiB in 1.51, so small payloads are
// copied: the queue's limit counts payloads, not what they hold. A tile of 1 MiB lies in some 17 of
// them and is copied too.
constexpr size_t kHeldBytesMin = 32 << 10;

// A message of our header and a slice that refers to the payload and keeps it alive: no copy.
grpc::ByteBuffer to_message(const Frame& frame) {
  const auto header = encode_frame_header(frame.header);
  std::array<grpc::Slice, 2> slices;
  slices[0] = grpc::Slice(header.data(), header.size());
  if (frame.payload.size == 0) {
    return grpc::ByteBuffer(slices.data(), 1);
  }
  auto* keep = new std::shared_ptr<const void>(frame.payload.owner);
  // gRPC's slices point to non-const bytes but do not write to them.
  slices[1] = grpc::Slice(
      const_cast<uint8_t*>(frame.payload.data), frame.payload.size,
      [](void* kept) { delete static_cast<std::shared_ptr<const void>*>(kept); }, keep);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// Copies out.size() bytes from byte `skip` of the slices on.
void gather(const std::vector<grpc::Slice>& slices, size_t skip, std::span<uint8_t> out) {
  size_t done = 0;
  for (const grpc::Slice& slice : slices) {
    const size_t skipped = std::min(skip, slice.size());
    skip -= skipped;
    const size_t count = std::min(slice.size() - skipped, out.size() - done);
    if (count > 0) {
      std::memcpy(out.data() + done, slice.begin() + skipped, count);
    }
    done += count;
  }
}

// What follows the header: held where gRPC put it if it lies in one piece, otherwise copied.
Payload take_payload(std::vector<grpc::Slice>& slices, size_t bytes) {
  size_t before = static_cast<size_t>(kFrameHeaderBytes);
  if (bytes >= kHeldBytesMin) {
    for (grpc::Slice& slice : slices) {
      if (before >= slice.size()) {
        before -= slice.size();
        continue;
      }
      if (slice.size() - before < bytes) {
        break;
      }
      const auto held = std::make_shared<const grpc::Slice>(std::move(slice));
      Payload payload;
      payload.data = held->begin() + before;
      payload.size = bytes;
      payload.owner = held;
      return payload;
    }
  }
  const auto copy = std::make_shared<core::ByteBuffer>(bytes);
  gather(slices, static_cast<size_t>(kFrameHeaderBytes), copy->bytes());
  return Payload(copy);
}

absl::StatusOr<Frame> to_frame(const grpc::ByteBuffer& message) {
  const int64_t length = static_cast<int64_t>(message.Length());
  if (length < kFrameHeaderBytes || length > kFrameHeaderBytes + kFramePayloadBytesMax) {
    return absl::DataLossError(absl::StrCat("frame: message of ", length, " bytes, allowed are ",
                                            kFrameHeaderBytes, " to ",
                                            kFrameHeaderBytes + kFramePayloadBytesMax));
  }
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) {
    return absl::DataLossError("frame: message cannot be read");
  }
  std::array<uint8_t, kFrameHeaderBytes> header_bytes;
  gather(slices, 0, header_bytes);
  LACONIC_ASSIGN_OR_RETURN(const FrameHeader header, decode_frame_header(header_bytes));
  return Frame{header, take_payload(slices, static_cast<size_t>(length - kFrameHeaderBytes))};
}

// True for codes with which a peer answers, as opposed to those of a broken connection.
bool is_refusal(grpc::StatusCode code) {
  return code == grpc::UNAUTHENTICATED || code == grpc::FAILED_PRECONDITION ||
         code == grpc::ALREADY_EXISTS || code == grpc::UNIMPLEMENTED;
}

}  // namespace

OutgoingStream::OutgoingStream(std::shared_ptr<PeerQueues> queues, PeerLane to,
                               std::shared_ptr<grpc::Channel> channel)
    : queues_(std::move(queues)), to_(to), channel_(std::move(channel)) {}

void OutgoingStream::start(const std::shared_ptr<OutgoingStream>& stream) {
  stream->self_ = stream;
  stream->order_.started();
  stream->queues_->stream_started();
  grpc::GenericStub(stream->channel_)
      .PrepareBidiStreamingCall(&stream->context_, kFramesMethod, grpc::StubOptions(),
                                stream.get());
  // Held until PeerQueues says that no write will be started from outside a reaction any more.
  stream->AddHold();
  // The peer sends no message; this read ends when the stream does, and so notices it.
  stream->StartRead(&stream->read_buffer_);
  stream->StartCall();
}

void OutgoingStream::pump() {
  const NextWrite next = queues_->next_write(to_);
  switch (next.step) {
    case WriteStep::kNothing:
      return;
    case WriteStep::kFrame:
      write_buffer_ = to_message(next.frame);
      StartWrite(&write_buffer_);
      return;
    case WriteStep::kEnd: {
      const grpc::Slice empty;
      write_buffer_ = grpc::ByteBuffer(&empty, 1);
      StartWriteLast(&write_buffer_, grpc::WriteOptions());
      return;
    }
    case WriteStep::kRelease:
      RemoveHold();
      return;
  }
}

void OutgoingStream::OnReadInitialMetadataDone(bool ok) {
  order_.reacts();
  if (ok && context_.GetServerInitialMetadata().count(kAcceptedKey) > 0) {
    queues_->outgoing_accepted(to_);
  }
}

void OutgoingStream::OnReadDone(bool ok) {
  order_.reacts();
  if (ok) {
    context_.TryCancel();  // A peer that sends messages here is none of ours.
  }
  queues_->outgoing_broken(to_);
  pump();
}

void OutgoingStream::OnWriteDone(bool ok) {
  order_.reacts();
  queues_->write_done(to_, ok);
  pump();
}

void OutgoingStream::OnDone(const grpc::Status& status) {
  order_.reacts();
  const std::shared_ptr<OutgoingStream> self = std::move(self_);
  queues_->outgoing_done(
      to_, is_refusal(status.error_code()) ? wire::from_grpc(status) : absl::OkStatus());
  queues_->stream_done();
}

IncomingStream::IncomingStream(std::shared_ptr<PeerQueues> queues, PeerLane from,
                               uint64_t generation, grpc::GenericCallbackServerContext* context)
    : queues_(std::move(queues)), from_(from), generation_(generation), context_(context) {}

std::shared_ptr<IncomingStream> IncomingStream::make(std::shared_ptr<PeerQueues> queues,
                                                     PeerLane from, uint64_t generation,
                                                     grpc::GenericCallbackServerContext* context) {
  auto stream = std::make_shared<IncomingStream>(std::move(queues), from, generation, context);
  stream->self_ = stream;
  stream->order_.started();
  stream->queues_->stream_started();
  return stream;
}

void IncomingStream::accept() {
  {
    absl::MutexLock lock(&mutex_);
    if (state_ != State::kParked) {
      return;  // The peer went away while it waited.
    }
    state_ = State::kReading;
    accepted_ = true;
  }
  queues_->incoming_opened(from_);
  context_->AddInitialMetadata(kAcceptedKey, "1");
  StartSendInitialMetadata();
  StartRead(&read_buffer_);
}

void IncomingStream::refuse(const grpc::Status& status) {
  finish_unless_reading(status);
}

void IncomingStream::resume() {
  {
    absl::MutexLock lock(&mutex_);
    if (state_ != State::kPaused || !queues_->has_room(from_)) {
      return;
    }
    state_ = State::kReading;
  }
  StartRead(&read_buffer_);
}

void IncomingStream::OnReadDone(bool ok) {
  order_.reacts();
  if (ok) {
    if (read_buffer_.Length() == 0) {
      queues_->incoming_ended(from_);
    } else {
      queues_->deliver(from_, to_frame(read_buffer_));
    }
    read_buffer_.Clear();
    read_on();
    return;
  }
  queues_->incoming_done(from_);
  {
    absl::MutexLock lock(&mutex_);
    state_ = State::kFinished;
  }
  Finish(grpc::Status::OK);
}

// Reads the next message, or pauses while the queue is full: then gRPC's flow control stops the
// sender.
void IncomingStream::read_on() {
  bool cancelled = false;
  {
    absl::MutexLock lock(&mutex_);
    if (!queues_->has_room(from_)) {
      state_ = State::kPaused;
      cancelled = cancelled_;
    }
    if (state_ == State::kPaused && !cancelled) {
      return;
    }
  }
  if (cancelled) {
    // OnCancel came during the read and left finishing to us.
    finish_unless_reading(grpc::Status::CANCELLED);
    return;
  }
  StartRead(&read_buffer_);
}

void IncomingStream::OnCancel() {
  order_.reacts();
  bool accepted = false;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    accepted = accepted_;
  }
  if (accepted) {
    queues_->incoming_done(from_);
  }
  finish_unless_reading(grpc::Status::CANCELLED);
}

void IncomingStream::OnDone() {
  order_.reacts();
  const std::shared_ptr<IncomingStream> self = std::move(self_);
  {
    // Whoever frees this object comes after all reactions; the lock makes their order visible.
    absl::MutexLock lock(&mutex_);
    state_ = State::kFinished;
  }
  queues_->stream_done();
}

// A stream is finished once, and never while a read is under way: that read's end does it.
void IncomingStream::finish_unless_reading(const grpc::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    if (state_ == State::kReading || state_ == State::kFinished) {
      return;
    }
    state_ = State::kFinished;
  }
  Finish(status);
}

}  // namespace laconic::collective
