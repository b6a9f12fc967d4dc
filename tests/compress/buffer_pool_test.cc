#include "common/compress/buffer_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace laconic::compress {
namespace {

TEST(BufferPoolTest, BufferIsUsedAgainWhenItsLastReaderIsGone) {
  BufferPool pool;
  auto first = pool.take();
  first->resize(100);
  const uint8_t* memory = first->data();
  std::shared_ptr<const core::ByteBuffer> reader = first;
  first.reset();
  EXPECT_NE(pool.take()->data(), memory) << "it is still read";
  reader.reset();
  auto again = pool.take();
  again->resize(100);
  EXPECT_EQ(again->data(), memory);
}

TEST(BufferPoolTest, BufferOutlivesItsPool) {
  std::shared_ptr<core::ByteBuffer> buffer;
  {
    BufferPool pool;
    buffer = pool.take();
  }
  buffer->resize(1);
  buffer->data()[0] = 7;
  EXPECT_EQ(buffer->bytes()[0], 7);
}

// What the thread sanitizer has to see: a reader on another thread ends before the next writer.
TEST(BufferPoolTest, ReadersOnOtherThreadsEndBeforeTheMemoryIsWrittenAgain) {
  BufferPool pool;
  std::atomic<int> unchanged = 0;
  std::vector<std::thread> readers;
  for (int round = 0; round < 100; ++round) {
    std::shared_ptr<core::ByteBuffer> buffer = pool.take();
    buffer->resize(8);
    buffer->data()[0] = static_cast<uint8_t>(round);
    readers.emplace_back([held = std::shared_ptr<const core::ByteBuffer>(std::move(buffer)),
                          &unchanged, round] { unchanged += held->bytes()[0] == round ? 1 : 0; });
  }
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(unchanged, 100);
}

}  // namespace
}  // namespace laconic::compress
