#include "worker/trainer/checkpoint_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/core/state_bytes.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"
#include "worker/trainer/failure.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<uint8_t> state_of(int64_t number) {
  core::StateWriter writer;
  writer.integer(number);
  return std::move(writer).take();
}

std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

TEST(CheckpointStoreTest, StatesAreFoundAgainInOrder) {
  const TemporaryDirectory directory;
  const std::string below = directory.file("not/yet/there");
  ASSERT_OK_AND_ASSIGN(CheckpointStore store, CheckpointStore::open(below, /*rank=*/1));
  for (const int64_t step : {200, 30, 1000}) {
    ASSERT_OK(store.write(step, state_of(step)));
  }
  ASSERT_OK_AND_ASSIGN(const CheckpointStore again, CheckpointStore::open(below, 1));
  EXPECT_THAT(again.steps(), ElementsAre(30, 200, 1000));
  ASSERT_OK_AND_ASSIGN(const std::vector<uint8_t> read, again.read(200));
  EXPECT_EQ(read, state_of(200));
  store.keep_only(200);
  EXPECT_THAT(again.steps(), ElementsAre(200));
}

TEST(CheckpointStoreTest, FilesThatAreNotWholeAreLeftOut) {
  const TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(CheckpointStore store, CheckpointStore::open(directory.path(), 0));
  ASSERT_OK(store.write(10, state_of(10)));
  std::string changed = text_of(state_of(20));
  changed[10] ^= 1;
  directory.write("rank-0-step-20.ckpt", changed);
  directory.write("rank-0-step-30.ckpt", text_of(state_of(30)).substr(0, 20));
  directory.write("rank-0-step-40.ckpt", "");
  directory.write("rank-0-step-50.ckpt/file", "a directory of that name");
  EXPECT_THAT(store.steps(), ElementsAre(10));
}

TEST(CheckpointStoreTest, OtherFilesAreNeitherReadNorRemoved) {
  const TemporaryDirectory directory;
  const std::string whole = text_of(state_of(1));
  for (const char* name :
       {"rank-1-step-7.ckpt", "rank-11-step-7.ckpt", "rank-1-step-07.ckpt", "rank-1-step--7.ckpt",
        "rank-1-step-.ckpt", "rank-1-step-7.ckpt.old", "rank-0-step-8.ckpt.partial.12"}) {
    directory.write(name, whole);
  }
  ASSERT_OK_AND_ASSIGN(CheckpointStore store, CheckpointStore::open(directory.path(), 1));
  EXPECT_THAT(store.steps(), ElementsAre(7));
  store.keep_only(8);
  EXPECT_THAT(store.steps(), IsEmpty());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 6);
}

TEST(CheckpointStoreTest, WhatAnInterruptedWriteLeftIsRemoved) {
  const TemporaryDirectory directory;
  const std::string left = directory.write("rank-3-step-8.ckpt.partial.12", "half");
  ASSERT_OK(CheckpointStore::open(directory.path(), 3).status());
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST(CheckpointStoreTest, AFailedWriteNamesPlaceReasonAndRemedy) {
  const TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(CheckpointStore store, CheckpointStore::open(directory.path(), 0));
  directory.write("rank-0-step-5.ckpt/file", "in the way");
  const absl::Status status = store.write(5, state_of(5));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("rank-0-step-5.ckpt: ")));
  EXPECT_THAT(status.message(), HasSubstr("spec.train.checkpoint.directory"));
  EXPECT_EQ(to_report(status).reason(), "CHECKPOINT_NOT_WRITTEN");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(CheckpointStoreTest, ADirectoryThatCannotBeMadeIsNamed) {
  const TemporaryDirectory directory;
  directory.write("file", "in the way");
  const absl::Status status = CheckpointStore::open(directory.file("file/below"), 0).status();
  EXPECT_EQ(to_report(status).reason(), "CHECKPOINT_NOT_WRITTEN");
  EXPECT_THAT(status.message(), HasSubstr(directory.file("file/below")));
}

}  // namespace
}  // namespace laconic::trainer
