// What /proc says about the processes of this machine. Any of them may end while it is read, which
// is no error: it is left out.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace laconic::agent {

struct ProcessEntry {
  pid_t pid = 0, parent = 0, group = 0;
  char state = '?';  // proc(5): 'Z' is a zombie
};

// All that run now, zombies too. Call from one thread at a time.
std::vector<ProcessEntry> all_processes();

// The "NAME=value" variables it was started with, each ended by a zero byte. Empty if it has none,
// has ended, belongs to another user, or is in the middle of an execve().
std::string environment_of(pid_t pid);

}  // namespace laconic::agent
