// Carries out the steps of one rank in a schedule (schedule.h) over a communicator: the messages,
// and in which order received sums are added. The numbers themselves are PartWork's.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/frame_channel.h"
#include "common/collective/part_work.h"
#include "common/collective/schedule.h"

namespace laconic::collective {

struct StepRunnerOptions {
  int rank = 0;            // in the schedule
  std::vector<int> peers;  // ranks of the communicator, in the order of the schedule's
  // Sequence numbers of an exchange, the same on all ranks of the communicator; 0: as many as this
  // schedule needs, which is one for each rank and part of it.
  uint64_t numbers = 0;
};

// Owned by one thread.
class StepRunner {
 public:
  StepRunner(StepList list, const StepRunnerOptions& options);

  // Messages of one frame each that this rank sends and receives in one run().
  int64_t messages_sent() const;
  int64_t messages_received() const;

  // All ranks run their steps together.
  // Errors: those of Communicator::all_gather and of `work`; the channel knows who is to blame.
  absl::Status run(FrameChannel& channel, const OpTag& tag, PartWork& work);

 private:
  // One part during an exchange.
  struct PartState {
    Payload own;                 // This rank's values, once encoded to be sent.
    std::vector<Term> received;  // Sums that wait to be added.
    Payload result;              // The result's bytes, while they may have to be sent.
  };

  absl::Status run_step(const Step& step);
  absl::Status send(const Message& message);
  absl::StatusOr<Payload> payload_of(const Message& message);
  absl::Status receive(const Message& message);
  absl::Status add(int part);
  absl::Status finish(const Finish& finish);
  absl::Status take_result(const Message& message, const Payload& payload);

  FrameHeader header_of(const Message& message) const;
  Expected expected(const Message& message) const;
  uint64_t seed(int part, bool stage_2) const;
  int peer(int rank) const { return options_.peers[static_cast<size_t>(rank)]; }

  const StepList list_;
  const StepRunnerOptions options_;
  std::vector<bool> forwarded_;  // [parts]; results sent on
  // Of the exchange under way.
  FrameChannel* channel_ = nullptr;
  PartWork* work_ = nullptr;
  std::vector<PartState> states_;  // [parts]
  FrameHeader first_;              // Header with the operation's first sequence number.
};

}  // namespace laconic::collective
