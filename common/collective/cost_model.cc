#include "common/collective/cost_model.h"

#include <cmath>

namespace laconic::collective {
namespace {

// What a rank does and what crosses its link, in units of one whole vector.
struct Shape {
  double encodes = 0;
  double decodes = 0;
  double messages = 0;  // one after the other
  double payloads = 0;  // sent or received, whichever is more
  double stages = 0;    // error of the mean in units of the codec's own
};

Shape shape_of(core::Schedule schedule, double ranks, bool lossy) {
  const double others = ranks - 1;
  const double levels = std::ceil(std::log2(ranks));
  switch (schedule) {
    case core::Schedule::kAuto:
    case core::Schedule::kHierarchical:
      break;
    case core::Schedule::kAllGather:
      return {.encodes = 1, .decodes = ranks, .messages = 1, .payloads = others, .stages = 1};
    case core::Schedule::kSharded:
      // Every rank encodes its own vector and, as the owner of one part, the mean of that part.
      return {.encodes = 1 + 1 / ranks,
              .decodes = 2,
              .messages = 2,
              .payloads = 2 * others / ranks,
              .stages = (2 * ranks - 1) / ranks};
    case core::Schedule::kRing:
      return {.encodes = lossy ? ranks : 0,
              .decodes = 1,
              .messages = 2 * others,
              .payloads = 2 * others / ranks,
              .stages = (ranks + 1) / 2};
    case core::Schedule::kStar:
      // The middle receives P - 1 payloads and sends P - 1: its link decides.
      return {.encodes = 2,
              .decodes = ranks + 1,
              .messages = 2,
              .payloads = 2 * others,
              .stages = (2 * ranks - 1) / ranks};
    case core::Schedule::kTree:
      if (lossy) {  // An all-gather in log2 P steps: every payload arrives.
        return {
            .encodes = 1, .decodes = ranks, .messages = levels, .payloads = others, .stages = 1};
      }
      return {.encodes = 0,
              .decodes = 1,
              .messages = 2 * levels,
              .payloads = 2 * others / ranks,
              .stages = 0};
  }
  return {};
}

}  // namespace

Prediction predict(core::Schedule schedule, int world_size, const LinkCost& link,
                   const CodecCost& codec) {
  Prediction result{.schedule = schedule};
  if (world_size == 1) {
    return result;
  }
  const Shape shape = shape_of(schedule, world_size, codec.lossy());
  const auto payload = static_cast<double>(codec.payload_bytes);
  result.codec_seconds =
      shape.encodes * codec.encode_seconds + shape.decodes * codec.decode_seconds;
  result.latency_seconds = shape.messages * link.latency_seconds;
  result.sent_bytes = shape.payloads * payload;
  result.wire_seconds = result.sent_bytes / link.bytes_per_second;
  result.error = shape.stages * codec.error;
  return result;
}

Prediction predict_sites(int world_size, const SiteLinks& links, const CodecCost& codec,
                         int64_t float32_bytes) {
  Prediction result{.schedule = core::Schedule::kHierarchical};
  const double in_site = links.ranks_per_site;
  const double sites = world_size / in_site;
  const bool encoded = sites > 1;
  const double mates = in_site - 1;
  const auto payload = static_cast<double>(encoded ? codec.payload_bytes : float32_bytes);
  const double inside = mates / in_site * (static_cast<double>(float32_bytes) + payload);
  const double between = encoded ? 2 * (sites - 1) / sites * payload / in_site : 0;
  if (encoded) {
    // A shard of d / G: encoded as the site's sum and, the owner's part of it, as the mean;
    // decoded from the other sites and taken back from one's own bytes. At the end all of d.
    result.codec_seconds =
        (1 + 1 / sites) / in_site * codec.encode_seconds + (1 + 2 / in_site) * codec.decode_seconds;
    result.latency_seconds = 2 * links.between.latency_seconds;
    result.wire_seconds = between / links.between.bytes_per_second;
    result.error = (2 * sites - 1) / sites * codec.error;
  }
  if (mates > 0) {
    result.latency_seconds += 2 * links.inside.latency_seconds;
    result.wire_seconds += inside / links.inside.bytes_per_second;
  }
  result.sent_bytes = inside + between;
  return result;
}

}  // namespace laconic::collective
