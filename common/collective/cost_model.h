// Predicted seconds of one mean over the ranks, before any byte is sent. Pure.
//
//   P  world_size    d  elements    S  payload bytes of the whole vector    alpha  seconds/message
//   r  bytes per second of a link, each direction
//
// Codec work and wire time are added up although the executor overlaps part of them, so a
// prediction errs on the slow side. Source of the formulas: Chan et al., "Collective
// Communication", CCPE 2007 (dense); docs/algorithms.md, "Cost".
#pragma once

#include <cstdint>

#include "common/core/schedule.h"

namespace laconic::collective {

// The slowest pair of ranks.
struct LinkCost {
  double latency_seconds = 0;   // alpha, >= 0
  double bytes_per_second = 0;  // r, > 0
};

// M sites of G ranks: two kinds of links, each as the hierarchical schedule uses it.
struct SiteLinks {
  int ranks_per_site = 1;  // G, divides P
  LinkCost inside;         // all ranks of a site to each other; not looked at for G = 1
  LinkCost between;        // those of one place in their sites, all places at once; nor for M = 1
};

// One codec on one vector of d elements.
struct CodecCost {
  double encode_seconds = 0;
  double decode_seconds = 0;  // decode and add
  int64_t payload_bytes = 0;  // S
  double error = 0;           // NMSE |Q(x) - x|^2 / |x|^2 of one encoding, 0 for none
  bool lossy() const { return error > 0; }
};

struct Prediction {
  core::Schedule schedule = core::Schedule::kAllGather;
  double codec_seconds = 0;
  double latency_seconds = 0;
  double wire_seconds = 0;
  double sent_bytes = 0;  // by the rank that sends most, over links of both kinds
  double error = 0;       // NMSE of the mean of P independent vectors
  double seconds() const { return codec_seconds + latency_seconds + wire_seconds; }
};

// schedule: neither kAuto nor kHierarchical, which has two kinds of links, and kRing only without
// loss: requantizing at every hop adds up errors. world_size >= 1.
Prediction predict(core::Schedule schedule, int world_size, const LinkCost& link,
                   const CodecCost& codec);

// kHierarchical: float32 sums of d / G elements inside a site, then sharded over the sites, then
// results back. float32_bytes: 4 d. With one site nothing is encoded.
Prediction predict_sites(int world_size, const SiteLinks& links, const CodecCost& codec,
                         int64_t float32_bytes);

}  // namespace laconic::collective
