// In which order a rank turns to the others.
#pragma once

#include <vector>

namespace laconic::collective {

// The other ranks, beginning behind `rank`: not all send to rank 0 first.
inline std::vector<int> others_after(int rank, int world_size) {
  std::vector<int> others;
  for (int step = 1; step < world_size; ++step) {
    others.push_back((rank + step) % world_size);
  }
  return others;
}

// The other ranks in ascending order.
inline std::vector<int> others_in_order(int rank, int world_size) {
  std::vector<int> others;
  for (int other = 0; other < world_size; ++other) {
    if (other != rank) {
      others.push_back(other);
    }
  }
  return others;
}

}  // namespace laconic::collective
