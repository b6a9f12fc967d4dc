// What a data set looks like to a model.
#pragma once

#include <cstdint>

namespace laconic::trainer {

struct DataShape {
  bool tokens = false;  // int64 tokens [batch, context]; the numbers below do not matter
  bool images = false;  // float32 [batch, channels, height, width]; else float32 [batch, features]
  int64_t channels = 1;
  int64_t height = 1;
  int64_t width = 1;
  int64_t features = 0;  // channels * height * width
  int64_t classes = 0;   // 0: labels are numbers, not classes
};

}  // namespace laconic::trainer
