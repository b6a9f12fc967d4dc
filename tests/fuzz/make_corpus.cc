// Writes the seeds of tests/fuzz/corpus with real encoders.
//
//   make_fuzz_corpus SOURCE_DIR
#include <google/protobuf/text_format.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/job_file.h"
#include "common/collective/frame.h"
#include "common/compress/codec.h"
#include "common/compress/positions.h"
#include "common/core/bits.h"
#include "common/core/crc32c.h"
#include "common/core/payload_size.h"
#include "common/core/state_bytes.h"
#include "tests/compress/test_vectors.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/codec_input.h"
#include "tests/fuzz/scratch_files.h"

namespace laconic::fuzz {
namespace {

using Seed = std::vector<uint8_t>;

class Corpus {
 public:
  explicit Corpus(const std::string& directory) : directory_(directory) {}

  void add(const std::string& target, const std::string& name, const Seed& seed) const {
    std::filesystem::create_directories(directory_ + "/" + target);
    std::ofstream file(directory_ + "/" + target + "/" + name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()),
               static_cast<std::streamsize>(seed.size()));
    file.close();
    check(file.good(), name + " can be written below " + directory_);
  }

 private:
  std::string directory_;
};

void append(Seed& seed, const std::string& text) {
  seed.insert(seed.end(), text.begin(), text.end());
}
void append(Seed& seed, std::span<const uint8_t> bytes) {
  seed.insert(seed.end(), bytes.begin(), bytes.end());
}
void append_number(Seed& seed, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    seed.push_back(static_cast<uint8_t>(number >> (8 * i)));
  }
}
void append_floats(Seed& seed, std::span<const float> values) {
  const size_t begin = seed.size();
  seed.resize(begin + values.size_bytes());
  std::memcpy(seed.data() + begin, values.data(), values.size_bytes());
}

void add_codec_seed(const Corpus& corpus, const CodecChoice& choice) {
  const auto payload = codec_of(choice).encode(compress::gauss(choice.spec, choice.elements));
  check(payload.ok(), "normal numbers can be encoded");
  Seed seed = choice_bytes(choice);
  append(seed, *payload);
  corpus.add("codec_decode", absl::StrCat("spec_", choice.spec, "_of_", choice.elements), seed);
}

void add_codecs(const Corpus& corpus) {
  const size_t specs = spec_count();
  for (size_t spec = 0; spec < specs; ++spec) {
    add_codec_seed(corpus, {.spec = spec, .elements = 41, .columns = 7});
    const bool small = spec_of({.spec = spec}).kind == core::CodecKind::kTopK &&
                       spec_of({.spec = spec}).density < 0.002;
    if (small) {  // Two chunks of positions.
      add_codec_seed(corpus, {.spec = spec, .elements = 66'000, .columns = 1});
    }
    if (spec % 5 != 0) {
      continue;
    }
    Seed seed = choice_bytes({.spec = spec, .elements = 300, .columns = 16});
    append(seed, Seed{255, 3});
    append_floats(seed, compress::gauss(spec, 20));
    corpus.add("codec_encode", absl::StrCat("spec_", spec), seed);
  }
}

void add_positions(const Corpus& corpus) {
  struct Case {
    int64_t elements = 0;
    uint32_t step = 1;
  };
  for (const Case& row : {Case{1, 1}, Case{100, 2}, Case{1000, 37}, Case{70'000, 999}}) {
    std::vector<uint32_t> positions;
    for (uint32_t at = 0; at < row.elements; at += row.step) {
      positions.push_back(at);
    }
    Seed seed;
    append_number(seed, static_cast<uint64_t>(row.elements - 1), 3);
    append_number(seed, positions.size() - 1, 2);
    std::vector<uint8_t> section(static_cast<size_t>(core::bytes_for_bits(
        core::position_bits_max(row.elements, static_cast<int64_t>(positions.size())))));
    section.resize(compress::encode_positions(positions, row.elements, section));
    append(seed, section);
    corpus.add("positions", absl::StrCat("of_", row.elements), seed);
  }
}

void add_frames(const Corpus& corpus) {
  const Seed payload = {1, 2, 3, 4, 5};
  collective::FrameHeader header;
  header.to_rank = 1;
  header.generation = 7;
  header.payload_bytes_total = payload.size();
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  header.payload_crc32c = core::crc32c(payload);
  Seed seed = {0};
  append(seed, collective::encode_frame_header(header));
  append(seed, payload);
  corpus.add("frame", "payload", seed);
  header.kind = collective::FrameKind::kAlive;
  header.payload_bytes_total = 0;
  header.payload_bytes = 0;
  seed = {1};
  append(seed, collective::encode_frame_header(header));
  corpus.add("frame", "alive", seed);
}

// A frame as communicator_target.cc reads it. kind: 0 payload, 1 part, 2 reduced, 3 alive.
void append_frame(Seed& seed, int from, int kind, int operation, const Seed& payload) {
  seed.push_back(static_cast<uint8_t>(from - 1));
  seed.push_back(static_cast<uint8_t>(kind | operation << 2));
  append_number(seed, payload.size(), 2);
  append(seed, payload);
}

void add_exchanges(const Corpus& corpus) {
  Seed gather = {0, 0};
  Seed reduce = {3, 9};
  Seed part;
  append_floats(part, std::vector<float>{1, 2, 3});
  for (const int from : {1, 2}) {
    append_frame(gather, from, 3, 0, {});
    append_frame(gather, from, 0, 0, {1, 2, 3});
    append_frame(gather, from, 0, 1, {});
    for (const int operation : {0, 1, 2, 3}) {
      append_frame(reduce, from, 1 + operation % 2, operation, part);
    }
  }
  corpus.add("communicator", "gather", gather);
  corpus.add("communicator", "reduce", reduce);
  Seed broadcast = {6, 3};  // Then a reduction.
  append_frame(broadcast, 1, 0, 0, {1, 2, 3});
  append_frame(broadcast, 1, 0, 1, {4, 5, 6});
  append_frame(broadcast, 2, 0, 0, {});
  append_frame(broadcast, 2, 0, 1, {7, 8});
  corpus.add("communicator", "broadcast", broadcast);
  // Three tiles of 32 times 32,768 bytes each; the header's total and tile come as edits.
  Seed tiles = {0, 0};
  for (const int from : {1, 2}) {
    for (uint64_t tile = 0; tile < 3; ++tile) {
      append(tiles, Seed{static_cast<uint8_t>((from - 1) | 2 | 16), 0, 0x00, 0x80, 7 | 128});
      append_number(tiles, 3 << 20, 8);
      append_number(tiles, 6, 1);
      append_number(tiles, tile, 8);
      tiles.push_back(0xAA);
    }
  }
  corpus.add("communicator", "tiles", tiles);
}

std::string without_comments(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.front() != '#') {
      absl::StrAppend(&text, line, "\n");
    }
  }
  return text;
}

void add_jobs(const Corpus& corpus, const std::string& source) {
  enum : uint8_t { kYaml = 0, kYamlWithSet = 1, kJson = 2, kTextProto = 4 };
  for (const auto* name : {"bytes_gpt", "fashion_mnist", "logistic_regression", "torchscript"}) {
    const std::string path = source + "/examples/" + name + ".yaml";
    Seed seed = {kYaml};
    append(seed, without_comments(path));
    corpus.add("job_file", name, seed);
    const auto job = cli::load_job_file(path, {});
    check(job.ok(), "an example is valid: " + job.status().ToString());
    std::string text;
    check(google::protobuf::TextFormat::PrintToString(*job, &text), "a job can be printed");
    // Relative paths became absolute ones; the seeds must not depend on where this source tree is.
    absl::StrReplaceAll(
        {{std::filesystem::absolute(source + "/examples").lexically_normal().parent_path().string(),
          "/data"}},
        &text);
    seed = {kTextProto};
    append(seed, text);
    corpus.add("job_file", absl::StrCat(name, "_text"), seed);
  }
  Seed seed = {kTextProto};
  append(seed, std::string(R"(spec { exchange { dense {} schedule: SHARDED compressor {
 shared_index { density: 0.01 value_bits: 8 agreement: SKETCH block: 64 } feedback: EF21
 residual_bits: 16 } } })"));
  corpus.add("job_file", "shared_index_text", seed);
  seed = {kYamlWithSet};
  append(seed, "spec.train.steps=10\n" + without_comments(source + "/examples/bytes_gpt.yaml"));
  corpus.add("job_file", "set_steps", seed);
  seed = {kJson};
  append(seed, std::string(R"({"api_version": "laconic.v1", "kind": "TrainJob",
 "metadata": {"name": "a"}, "spec": {"workers": {"count": 2},
 "model": {"conv": {}}, "data": {"idx": {"train_images": "a", "train_labels": "/b"},
 "shared": {"iid": {}}}, "train": {"steps": 10, "batch_size": 64,
 "optimizer": {"adamw": {"learning_rate": 1e-3}}},
 "exchange": {"local": {"inner_steps": 4}, "round_deadline": "30s"}}})"));
  corpus.add("job_file", "json", seed);
}

std::string packed(const std::string& text) {
  const std::string path = write_scratch("packed", std::string());
  gzFile file = gzopen(path.c_str(), "wb9");
  check(file != nullptr && gzwrite(file, text.data(), static_cast<unsigned>(text.size())) > 0 &&
            gzclose(file) == Z_OK,
        "gzip can be written");
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void add_data(const Corpus& corpus) {
  const std::string images =
      std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03", 16) + std::string(12, 'p');
  const std::string labels = std::string("\0\0\x08\x01\0\0\0\x02\x01\x03", 10);
  for (const bool gzip : {false, true}) {
    const std::string first = gzip ? packed(images) : images;
    Seed seed = {0, 4};
    append_number(seed, first.size(), 2);
    append(seed, first);
    append(seed, gzip ? packed(labels) : labels);
    corpus.add("data_files", gzip ? "idx_gzip" : "idx", seed);
  }
  Seed seed = {1, 0};
  append(seed, std::string("+1 1:0.5 3:-2e-3 # comment\n\n-1 2:7\n"));
  corpus.add("data_files", "libsvm", seed);
}

void add_states(const Corpus& corpus) {
  core::StateWriter writer;
  writer.text("laconic");
  writer.integer(-7);
  writer.floats(std::vector<float>{1.5F, -0.0F, 1e-42F});
  writer.halves(std::vector<uint16_t>{1, 65535});
  writer.bytes(std::vector<uint8_t>{9, 8, 7});
  writer.floats({});
  Seed whole = std::move(writer).take();
  whole.resize(whole.size() - sizeof(uint64_t));  // the target adds the digest
  corpus.add("state", "all_kinds", whole);
  Seed none = core::StateWriter().take();
  none.resize(none.size() - sizeof(uint64_t));
  corpus.add("state", "no_field", none);
}

int write_all(const std::string& source) {
  const Corpus corpus(source + "/tests/fuzz/corpus");
  add_codecs(corpus);
  add_positions(corpus);
  add_frames(corpus);
  add_exchanges(corpus);
  add_jobs(corpus, source);
  add_data(corpus);
  add_states(corpus);
  return 0;
}

}  // namespace
}  // namespace laconic::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_fuzz_corpus SOURCE_DIR: writes its tests/fuzz/corpus\n");
    return 2;
  }
  return laconic::fuzz::write_all(argv[1]);
}
