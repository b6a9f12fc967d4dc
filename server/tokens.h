// Names and secrets that nobody can guess.
#pragma once

#include <string>

namespace laconic::server {

// 10 characters of [a-z0-9], from the kernel's random source.
std::string random_job_id();
// 32 hexadecimal digits, from the kernel's random source.
std::string random_token();

}  // namespace laconic::server
