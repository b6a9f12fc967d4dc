#include "worker/trainer/worker_link.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

constexpr char kTaskTokenKey[] = "laconic-task-token";

absl::Status stopped(const std::string& why) {
  return failure(absl::StatusCode::kCancelled, kStopped, why);
}

}  // namespace

WorkerLink::WorkerLink(const std::string& address, const std::string& task_token,
                       std::shared_ptr<StopSignal> stop)
    : stop_(std::move(stop)),
      stub_(v1::TrainerService::NewStub(grpc::CreateCustomChannel(
          address, grpc::InsecureChannelCredentials(), wire::control_channel_arguments()))) {
  context_.AddMetadata(kTaskTokenKey, task_token);
  stub_->async()->Attach(&context_, this);
  // Reports come from outside the stream's own callbacks.
  AddHold();
  StartRead(&response_);
  StartCall();
}

WorkerLink::~WorkerLink() {
  bool release = false;
  {
    const absl::MutexLock lock(&mutex_);
    finishing_ = true;
    broken_ = true;
    release = may_release();
  }
  context_.TryCancel();
  if (release) {
    RemoveHold();
  }
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&done_));
}

bool WorkerLink::take_next() {
  if (writing_ || broken_ || waiting_.empty()) {
    return false;
  }
  *request_.mutable_report() = std::move(waiting_.front());
  waiting_.pop_front();
  writing_ = true;
  return true;
}

bool WorkerLink::may_release() {
  if (released_ || writing_ || !(broken_ || closed_)) {
    return false;
  }
  released_ = true;
  return true;
}

void WorkerLink::report(v1::TrainerReport report) {
  bool write = false;
  bool overflow = false;
  {
    const absl::MutexLock lock(&mutex_);
    const bool replace =
        !waiting_.empty() && waiting_.back().has_progress() && report.has_progress();
    if (replace) {
      waiting_.back() = std::move(report);
    } else {
      waiting_.push_back(std::move(report));
    }
    overflow = waiting_.size() > kReportsWaitingMax;
    write = take_next();
  }
  if (write) {
    StartWrite(&request_);
  }
  if (overflow) {
    stop_->stop(stopped(absl::StrCat("the worker has not read ", kReportsWaitingMax, " reports")));
  }
}

void WorkerLink::report_event(const char* reason, const std::string& message) {
  v1::TrainerReport report;
  v1::TrainerEvent& event = *report.mutable_event();
  event.mutable_time()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  event.set_reason(reason);
  event.set_message(message);
  this->report(std::move(report));
}

absl::StatusOr<v1::Launch> WorkerLink::wait_for_launch() {
  const absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return launch_.has_value() || woken_ || done_;
  };
  mutex_.Await(absl::Condition(&ready));
  if (launch_.has_value()) {
    return *launch_;
  }
  const absl::Status status = stop_->status();
  return status.ok() ? stopped("the worker's stream ended before the launch") : status;
}

void WorkerLink::wake() {
  const absl::MutexLock lock(&mutex_);
  woken_ = true;
}

absl::Status WorkerLink::finish(absl::Time deadline) {
  bool close = false;
  {
    const absl::MutexLock lock(&mutex_);
    finishing_ = true;
    const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return done_ || broken_ || (waiting_.empty() && !writing_);
    };
    if (!mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline)) {
      return absl::DeadlineExceededError("the worker does not take the last reports");
    }
    close = !broken_ && !done_;
    writing_ = writing_ || close;
  }
  if (close) {
    StartWritesDone();
  }
  const absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithDeadline(absl::Condition(&done_), deadline)) {
    return absl::DeadlineExceededError("the worker does not confirm the end of the stream");
  }
  return end_;
}

void WorkerLink::OnReadDone(bool ok) {
  if (ok) {
    if (response_.has_stop()) {
      stop_->stop(stopped(absl::StrCat("stopped by the worker: ", response_.stop().reason())));
    } else if (response_.has_launch()) {
      const absl::MutexLock lock(&mutex_);
      launch_ = response_.launch();
    }
    StartRead(&response_);
    return;
  }
  bool release = false;
  {
    const absl::MutexLock lock(&mutex_);
    broken_ = true;
    release = may_release();
  }
  if (release) {
    RemoveHold();
  }
}

void WorkerLink::OnWriteDone(bool ok) {
  bool write = false;
  bool release = false;
  {
    const absl::MutexLock lock(&mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    write = take_next();
    release = may_release();
  }
  if (write) {
    StartWrite(&request_);
  }
  if (release) {
    RemoveHold();
  }
}

void WorkerLink::OnWritesDoneDone(bool /*ok*/) {
  bool release = false;
  {
    const absl::MutexLock lock(&mutex_);
    writing_ = false;
    closed_ = true;
    release = may_release();
  }
  if (release) {
    RemoveHold();
  }
}

void WorkerLink::OnDone(const grpc::Status& status) {
  const std::shared_ptr<StopSignal> stop = stop_;
  bool wanted = false;
  {
    const absl::MutexLock lock(&mutex_);
    wanted = finishing_;
  }
  if (!wanted) {
    stop->stop(stopped(absl::StrCat("the stream to the worker broke: ", status.error_message())));
  }
  const absl::MutexLock lock(&mutex_);
  end_ = wire::from_grpc(status);
  done_ = true;
}

}  // namespace laconic::trainer
