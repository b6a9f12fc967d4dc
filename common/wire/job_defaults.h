// Defaults of the parts that are needed alone; with_defaults() fills in the whole job.
#pragma once

#include "laconic/v1/job.pb.h"

namespace laconic::wire {

// The model with every unset field that has a default filled in.
v1::Model with_model_defaults(v1::Model model);

// The exchange part with every unset field that has a default filled in.
v1::Exchange with_exchange_defaults(v1::Exchange exchange);

}  // namespace laconic::wire
