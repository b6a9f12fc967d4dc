// The schedule of ranks that live at sites: float32 inside, a codec between.
//
//   M  sites    G  ranks per site    P = M G    d  elements    S  payload bytes of the whole vector
#pragma once

#include <span>

#include "common/collective/schedule.h"

namespace laconic::collective {

// Rank = site G + index.
struct Sites {
  int sites = 1;           // M
  int ranks_per_site = 1;  // G
};

// Inside a site the ranks add up shard g in float32 at index g, which then exchanges it, sharded
// once more, with index g of the other sites; what results there is passed on inside as it is. With
// one site nothing is encoded. Promises: those of schedule.h.
//
// Source: Horovod's and DeepSpeed's two-level all-reduce (Sergeev, Del Balso, arXiv 1802.05799;
// ZeRO++, Wang et al., arXiv 2306.10209), with the sharded exchange between the nodes.
//
//   owners  [parts] rank that owns each part: core::cut_for_sites(). Index g of every site adds up
//           the parts of index g's owners.
//   tiles   [parts] >= 1: frames that a part takes as float32
//   form    between sites
//
// Between sites a rank sends 2 (M-1)/M S/G bytes, so all G links of a site are equally busy; inside
// (G-1)/G 4 d bytes of sums and (G-1)/G S of results. 2 alpha between sites, 2 inside.
StepList hierarchical_schedule(int rank, const Sites& sites, std::span<const int> owners,
                               std::span<const int> tiles, Form form);

}  // namespace laconic::collective
