// The networks of worker/trainer/models.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/trainer/models.h"

namespace laconic::trainer {

// Layers of the given widths with ReLU between them; hidden empty: a linear classifier.
std::shared_ptr<Net> make_dense_net(int64_t features, const std::vector<int64_t>& hidden,
                                    int64_t classes);

struct ImageShape {
  int64_t channels = 1, height = 0, width = 0, classes = 0;
};
// 3x3 convolution of 32, ReLU, 2x2 pool, 3x3 convolution of 64, ReLU, 2x2 pool, dense 128, ReLU,
// dense classes. 421,642 parameters for 1x28x28 in 10 classes.
std::shared_ptr<Net> make_conv_net(const ImageShape& shape);

// He et al., CVPR 2016, section 4.2 (the CIFAR form), shortcuts of type A: stride by slicing, new
// channels zero, no parameters. GroupNorm with 8 groups in place of BatchNorm, so that the model is
// its parameters and nothing else (Hsieh et al., ICML 2020: BatchNorm fails on unlike shares).
std::shared_ptr<Net> make_resnet20(const ImageShape& shape);

struct GptShape {
  int64_t layers = 4, width = 128, heads = 4, context = 128;
};
// Decoder over bytes: RMSNorm without gain before attention, FFN and head, learned absolute
// positions, FFN of 4 width with max(0, z)^2, untied head, no bias, no dropout.
std::shared_ptr<Net> make_gpt(const GptShape& shape);

}  // namespace laconic::trainer
