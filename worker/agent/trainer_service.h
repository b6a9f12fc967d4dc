// The trainers' side of the worker: reports come in, Launch and Stop go out.
#pragma once

#include <grpcpp/server.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "laconic/v1/trainer.grpc.pb.h"
#include "worker/agent/inbox.h"
#include "worker/agent/task_table.h"

namespace laconic::agent {

inline constexpr int kReportBytesMax = 256 << 10;
inline constexpr size_t kCommandsMax = 16;  // unsent, per trainer; there are two kinds of them
inline constexpr const char* kTaskTokenKey = "laconic-task-token";

// Serves TrainerService on a unix socket in a directory that only this user can open. A trainer
// shows its task's token; any other call ends with UNAUTHENTICATED. Thread-safe.
class TrainerServer final : public v1::TrainerService::CallbackService {
 public:
  // Called on the thread that runs `inbox`, in the order in which one trainer reported.
  using OnReport = std::function<void(const TaskId&, const v1::TrainerReport&)>;

  // Listens at once. Errors: Internal, with the path, when the directory cannot be made or the
  // socket not be bound.
  static absl::StatusOr<std::unique_ptr<TrainerServer>> start(Inbox& inbox, OnReport on_report);
  ~TrainerServer() override;  // Ends all streams; removes the socket and its directory.

  // "unix:/..." for the trainers.
  const std::string& address() const { return address_; }

  void admit(const TaskId& id, const std::string& token) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends its stream, and refuses it from now on.
  void dismiss(const TaskId& id) ABSL_LOCKS_EXCLUDED(mutex_);
  // False once its stream has ended; what it reported is then in the inbox or handled.
  bool attached(const TaskId& id) ABSL_LOCKS_EXCLUDED(mutex_);
  // False if its trainer is not attached.
  bool send(const TaskId& id, const v1::AttachResponse& command) ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* Attach(
      grpc::CallbackServerContext* context) override;

 private:
  class Attachment;

  TrainerServer(Inbox& inbox, OnReport on_report);
  // Null: the token is unknown or its trainer is attached already.
  Attachment* attach(const std::string& token) ABSL_LOCKS_EXCLUDED(mutex_);
  void detach(Attachment* attachment) ABSL_LOCKS_EXCLUDED(mutex_);
  void read_on(const TaskId& id, const Attachment* attachment) ABSL_LOCKS_EXCLUDED(mutex_);

  Inbox& inbox_;
  const OnReport on_report_;
  std::string directory_, address_;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex mutex_;
  std::map<std::string, TaskId> tokens_ ABSL_GUARDED_BY(mutex_);
  std::map<TaskId, Attachment*> attachments_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace laconic::agent
