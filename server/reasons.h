// The closed lists of reasons. docs/errors.md has one row for each.
#pragma once

#include <string>

namespace laconic::server {

// Why a job waits (state QUEUED).
inline constexpr const char* kNoWorkers = "NO_WORKERS";
inline constexpr const char* kNotEnoughSlots = "NOT_ENOUGH_SLOTS";
inline constexpr const char* kSlotsBusy = "SLOTS_BUSY";
inline constexpr const char* kBehindOtherJob = "BEHIND_OTHER_JOB";
inline constexpr const char* kSubmitted = "SUBMITTED";  // until the first look at the queue

// What a job does.
inline constexpr const char* kTrainersStarting = "TRAINERS_STARTING";
inline constexpr const char* kTraining = "TRAINING";
inline constexpr const char* kCancelRequested = "CANCEL_REQUESTED";
inline constexpr const char* kCancelled = "CANCELLED";
inline constexpr const char* kTrained = "TRAINED";

// Why a job failed. Reasons of a trainer's own Failure report come on top.
inline constexpr const char* kQueueDeadline = "QUEUE_DEADLINE";
inline constexpr const char* kStartDeadline = "START_DEADLINE";
inline constexpr const char* kActiveDeadline = "ACTIVE_DEADLINE";
inline constexpr const char* kReservationExpired = "RESERVATION_EXPIRED";
inline constexpr const char* kLayoutMismatch = "LAYOUT_MISMATCH";
inline constexpr const char* kDivergedRanks = "DIVERGED_RANKS";
inline constexpr const char* kWorkerLost = "WORKER_LOST";
inline constexpr const char* kPeerLost = "PEER_LOST";
inline constexpr const char* kTrainerKilled = "TRAINER_KILLED";
inline constexpr const char* kTrainerExited = "TRAINER_EXITED";
inline constexpr const char* kTrainerFailed = "TRAINER_FAILED";
inline constexpr const char* kSpawnFailed = "SPAWN_FAILED";

// Events beside the reasons above.
inline constexpr const char* kSlotsReserved = "SLOTS_RESERVED";
inline constexpr const char* kRankReady = "RANK_READY";
inline constexpr const char* kRankDone = "RANK_DONE";
inline constexpr const char* kRankFailed = "RANK_FAILED";
inline constexpr const char* kRankExited = "RANK_EXITED";
inline constexpr const char* kNodeUnreachable = "NODE_UNREACHABLE";
inline constexpr const char* kNodeReturned = "NODE_RETURNED";
inline constexpr const char* kServerRestarted = "SERVER_RESTARTED";
inline constexpr const char* kEventLimit = "EVENT_LIMIT";

// Errors of calls (ErrorInfo.reason); INVALID_JOB is in common/wire.
inline constexpr const char* kJobNotFound = "JOB_NOT_FOUND";
inline constexpr const char* kNameNotUnique = "NAME_NOT_UNIQUE";
inline constexpr const char* kJobFinished = "JOB_FINISHED";
inline constexpr const char* kJobNotFinished = "JOB_NOT_FINISHED";
inline constexpr const char* kJobDeleted = "JOB_DELETED";
inline constexpr const char* kBadRequestId = "BAD_REQUEST_ID";
inline constexpr const char* kRequestIdReused = "REQUEST_ID_REUSED";
inline constexpr const char* kJobLimit = "JOB_LIMIT";
inline constexpr const char* kBadPage = "BAD_PAGE";
inline constexpr const char* kBadArgument = "BAD_ARGUMENT";
inline constexpr const char* kStreamLimit = "STREAM_LIMIT";
inline constexpr const char* kServerBusy = "SERVER_BUSY";
inline constexpr const char* kServerStopping = "SERVER_STOPPING";
inline constexpr const char* kStoreFull = "STORE_FULL";
inline constexpr const char* kStoreFailed = "STORE_FAILED";
inline constexpr const char* kDataDirInUse = "DATA_DIR_IN_USE";
inline constexpr const char* kSchemaTooNew = "SCHEMA_TOO_NEW";
inline constexpr const char* kBadRegistration = "BAD_REGISTRATION";
inline constexpr const char* kNodeNameTaken = "NODE_NAME_TAKEN";
inline constexpr const char* kNodeLimit = "NODE_LIMIT";
inline constexpr const char* kSessionProtocol = "SESSION_PROTOCOL";
inline constexpr const char* kSessionReplaced = "SESSION_REPLACED";
inline constexpr const char* kSessionSilent = "SESSION_SILENT";
inline constexpr const char* kSessionQueueFull = "SESSION_QUEUE_FULL";

// True for 1..63 of [A-Z0-9_] that start with a letter: what a reason may look like.
bool is_reason(const std::string& text);

}  // namespace laconic::server
