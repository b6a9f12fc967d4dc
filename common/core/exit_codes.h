// What a process of laconic ends with.
#pragma once

namespace laconic::core {

// The CLI (docs/errors.md has the table).
enum ExitCode : int {
  kExitOk = 0,
  kExitJobFailed = 1,
  kExitUsage = 2,  // bad command line or job file
  kExitJobCancelled = 3,
  kExitNotFound = 4,
  kExitAuth = 5,
  kExitConflict = 6,     // wrong state, or already there
  kExitLimit = 7,        // quota or size
  kExitUnreachable = 8,  // server away, or no answer in time
  kExitInternal = 9,     // a bug of ours, or lost data
  kExitWaitTimeout = 124,
  kExitInterrupted = 130,
};

// laconic-trainer, towards its worker.
enum TrainerExitCode : int {
  kTrainerDone = 0,
  kTrainerFailed = 1,  // a Failure report says why
  kTrainerUsage = 2,
  kTrainerPeerLost = 75,  // another rank is the cause
};

}  // namespace laconic::core
