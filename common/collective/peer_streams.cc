#include "common/collective/peer_streams.h"

#include <grpcpp/support/slice.h>

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/core/status_macros.h"
#include "common/wire/status.h"

namespace laconic::collective {
namespace {

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
  // The header counts as the buffer's first bytes, so that the payload is copied once.
  auto bytes = std::make_shared<core::ByteBuffer>(static_cast<size_t>(length));
  size_t at = 0;
  for (const grpc::Slice& slice : slices) {
    std::memcpy(bytes->data() + at, slice.begin(), slice.size());
    at += slice.size();
  }
  constexpr size_t kHeader = static_cast<size_t>(kFrameHeaderBytes);
  LACONIC_ASSIGN_OR_RETURN(const FrameHeader header,
                           decode_frame_header(bytes->bytes().first(kHeader)));
  return Frame{header, Payload(bytes).slice(kHeader, bytes->size() - kHeader)};
}

// True for codes with which a peer answers, as opposed to those of a broken connection.
bool is_refusal(grpc::StatusCode code) {
  return code == grpc::UNAUTHENTICATED || code == grpc::FAILED_PRECONDITION ||
         code == grpc::ALREADY_EXISTS || code == grpc::UNIMPLEMENTED;
}

}  // namespace

OutgoingStream::OutgoingStream(std::shared_ptr<PeerQueues> queues, int to_rank,
                               std::shared_ptr<grpc::Channel> channel)
    : queues_(std::move(queues)), to_rank_(to_rank), channel_(std::move(channel)) {}

void OutgoingStream::start(const std::shared_ptr<OutgoingStream>& stream) {
  stream->self_ = stream;
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
  const NextWrite next = queues_->next_write(to_rank_);
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
  if (ok && context_.GetServerInitialMetadata().count(kAcceptedKey) > 0) {
    queues_->outgoing_accepted(to_rank_);
  }
}

void OutgoingStream::OnReadDone(bool ok) {
  if (ok) {
    context_.TryCancel();  // A peer that sends messages here is none of ours.
  }
  queues_->outgoing_broken(to_rank_);
  pump();
}

void OutgoingStream::OnWriteDone(bool ok) {
  queues_->write_done(to_rank_, ok);
  pump();
}

void OutgoingStream::OnDone(const grpc::Status& status) {
  const std::shared_ptr<OutgoingStream> self = std::move(self_);
  queues_->outgoing_done(
      to_rank_, is_refusal(status.error_code()) ? wire::from_grpc(status) : absl::OkStatus());
  queues_->stream_done();
}

IncomingStream::IncomingStream(std::shared_ptr<PeerQueues> queues, int from_rank,
                               uint64_t generation, grpc::GenericCallbackServerContext* context)
    : queues_(std::move(queues)),
      from_rank_(from_rank),
      generation_(generation),
      context_(context) {}

std::shared_ptr<IncomingStream> IncomingStream::make(std::shared_ptr<PeerQueues> queues,
                                                     int from_rank, uint64_t generation,
                                                     grpc::GenericCallbackServerContext* context) {
  auto stream = std::make_shared<IncomingStream>(std::move(queues), from_rank, generation, context);
  stream->self_ = stream;
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
  queues_->incoming_opened(from_rank_);
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
    if (state_ != State::kPaused || !queues_->has_room(from_rank_)) {
      return;
    }
    state_ = State::kReading;
  }
  StartRead(&read_buffer_);
}

void IncomingStream::OnReadDone(bool ok) {
  if (ok) {
    if (read_buffer_.Length() == 0) {
      queues_->incoming_ended(from_rank_);
    } else {
      queues_->deliver(from_rank_, to_frame(read_buffer_));
    }
    read_buffer_.Clear();
    read_on();
    return;
  }
  queues_->incoming_done(from_rank_);
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
    if (!queues_->has_room(from_rank_)) {
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
  bool accepted = false;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    accepted = accepted_;
  }
  if (accepted) {
    queues_->incoming_done(from_rank_);
  }
  finish_unless_reading(grpc::Status::CANCELLED);
}

void IncomingStream::OnDone() {
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
