// Which schedule a job takes, and what it sends. Pure: every rank and `laconic validate` come to
// the same answer.
//
//   P  world_size    d  elements    S  payload bytes of the whole vector
#pragma once

#include <cstdint>

#include "common/core/codec_spec.h"
#include "common/core/layout.h"
#include "common/core/schedule.h"

namespace laconic::core {

// A round in which all-gather sends less than this stays with it: one message time, one lossy
// stage.
inline constexpr int64_t kTinyRoundBytes = 256 << 10;

// What `asked` means; never kAuto. kAuto is
//
//   without a codec     sharded: the sums are exact in double
//   1 or 2 ranks        all_gather: sharded saves nothing
//   (P-1) S tiny        all_gather
//   top-k               all_gather below P = 2 q / c, q = 4.25 bits an element of a 4-bit code and
//                       c = 8 S / d those of this payload: up to there it sends fewer bytes than
//                       sharded at 4 bits, and it keeps one threshold for the whole vector
//   quantize            sharded
//   the other codecs    all_gather, the only one for them: see may_be_cut()
//
// kHierarchical is taken only where it is asked for: nothing here knows which link is slow.
//
// layout: at least one element. world_size >= 1.
Schedule choose_schedule(Schedule asked, const CodecSpec& codec, const Layout& layout,
                         int world_size);

// Bytes with frame headers that the rank which sends most sends in one exchange; the largest
// possible where a payload's size depends on the data. schedule: not kAuto.
// ranks_per_site: of kHierarchical, divides world_size; the others do not look at it.
int64_t sent_bytes_max(Schedule schedule, const CodecSpec& codec, const Layout& layout,
                       int world_size, int ranks_per_site = 1);

// Likewise with the payloads that are expected: see payload_bytes_expected().
int64_t sent_bytes_expected(Schedule schedule, const CodecSpec& codec, const Layout& layout,
                            int world_size, int ranks_per_site = 1);

// By kind of link, what the rank sends that sends most between the sites, with the payloads that
// are expected; of kHierarchical.
struct SiteBytes {
  int64_t inside = 0;
  int64_t between = 0;
};
SiteBytes site_bytes_expected(const CodecSpec& codec, const Layout& layout, int world_size,
                              int ranks_per_site);

// A message on the wire: a header for each started frame.
int64_t framed_bytes(int64_t payload_bytes);

// True if schedules other than all_gather may encode stretches of the vector on their own: none,
// quantize and top-k. The others mean the whole vector (rand-k, perm-k, low rank), or nobody has
// measured what cutting costs them.
bool may_be_cut(const CodecSpec& codec);

}  // namespace laconic::core
