// Measures what the planner needs, with the operations it plans: all ranks call these together and
// get the same numbers, those of the slowest.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/communicator.h"
#include "common/collective/cost_model.h"
#include "common/compress/codec.h"

namespace laconic::collective {

// Latency: the shortest of a few empty all-gathers, each as long as for its slowest rank. Rate: the
// best of all-gathers of growing size, until one takes kProbeSeconds or kProbeBytesMax; P - 1
// payloads leave each rank at the same time, as in training, so a link shared by several ranks
// counts as shared.
//
// payload_bytes: what will be exchanged without a codec, the same on all ranks: no larger probe is
// sent than that, but for the first.
// first_bytes: of that one, >= 1; fewer where bytes are dear, then the rate of a link with latency
// is known less well. Cost: below one second where the first probe is; about twice the largest
// probe sent to every other rank, at most 2 kProbeBytesMax. Errors: those of
// Communicator::all_gather. P >= 2.
inline constexpr double kProbeSeconds = 0.1;
inline constexpr int64_t kFirstProbeBytes = int64_t{64} << 10;
inline constexpr int64_t kProbeBytesMax = int64_t{4} << 20;
absl::StatusOr<LinkCost> probe_links(Communicator& communicator, const OpTag& tag,
                                     int64_t payload_bytes, int64_t first_bytes = kFirstProbeBytes);

// The same for the links that the hierarchical schedule uses, one kind after the other: a rank
// sends to its mates only, then to those of its place in the other sites. ranks_per_site: divides
// P. A kind that nothing travels on has latency 0 and rate 1. Errors: those of FrameChannel.
absl::StatusOr<SiteLinks> probe_sites(Communicator& communicator, const OpTag& tag,
                                      int ranks_per_site, int64_t payload_bytes,
                                      int64_t first_bytes = kFirstProbeBytes);

// The ranks' numbers in rank order, each >= 0 and finite. Cost and errors: as all_gather; DataLoss
// for another number.
absl::StatusOr<std::vector<double>> numbers_of_ranks(Communicator& communicator, double own,
                                                     const OpTag& tag);
// The largest of them.
absl::StatusOr<double> largest_of_ranks(Communicator& communicator, double own, const OpTag& tag);

// Times `codec` on this machine on normally distributed numbers, the best of a few runs, and takes
// the slowest rank. `elements` scales the times to the vector that will be sent.
// Errors: those of the codec and of all_gather.
absl::StatusOr<CodecCost> probe_codec(Communicator& communicator, const compress::Codec& codec,
                                      int64_t elements, const OpTag& tag);

}  // namespace laconic::collective
