# Everything from outside, found once. deploy/packages.txt names the Debian packages and why.

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(CLI11 REQUIRED)
find_library(LACONIC_XXHASH xxhash REQUIRED)
find_path(LACONIC_XXHASH_INCLUDE xxhash.h REQUIRED)

# One name per outside dependency; cmake/Layers.cmake says which layer may use which.
function(laconic_external name)
  add_library(external_${name} INTERFACE)
  target_link_libraries(external_${name} INTERFACE ${ARGN})
endfunction()

laconic_external(absl absl::base absl::flat_hash_map absl::status absl::statusor absl::strings absl::str_format
  absl::synchronization absl::time absl::span)
laconic_external(xxhash ${LACONIC_XXHASH})
target_include_directories(external_xxhash SYSTEM INTERFACE ${LACONIC_XXHASH_INCLUDE})
laconic_external(cli11 CLI11::CLI11)
laconic_external(threads Threads::Threads)
if(LACONIC_ENABLE_CUDA)
  laconic_external(cuda CUDA::cudart_static)
else()
  laconic_external(cuda)
endif()

if(LACONIC_BUILD_TESTS OR LACONIC_GPU_ONLY)
  find_package(GTest REQUIRED)
endif()
if(LACONIC_GPU_ONLY)
  return()
endif()

if(LACONIC_ENABLE_CUDA)
  find_path(LACONIC_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(LACONIC_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT}/lib)
  if(NOT LACONIC_NCCL_INCLUDE OR NOT LACONIC_NCCL_LIBRARY)
    message(FATAL_ERROR "LACONIC_ENABLE_CUDA is ON, but nccl.h or libnccl is missing beside the CUDA toolkit in "
      "${CUDAToolkit_LIBRARY_ROOT}. Install NCCL 2.18 or later, set LACONIC_NCCL_INCLUDE and LACONIC_NCCL_LIBRARY, or use "
      "-DLACONIC_ENABLE_CUDA=OFF.")
  endif()
  laconic_external(nccl ${LACONIC_NCCL_LIBRARY})
  target_include_directories(external_nccl SYSTEM INTERFACE ${LACONIC_NCCL_INCLUDE})
else()
  laconic_external(nccl)
endif()

find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(SQLite3 REQUIRED)

laconic_external(protobuf protobuf::libprotobuf)
laconic_external(grpc gRPC::grpc++)
laconic_external(yaml yaml-cpp)
laconic_external(spdlog spdlog::spdlog)
laconic_external(prometheus prometheus-cpp::core prometheus-cpp::pull)
laconic_external(sqlite SQLite::SQLite3)
laconic_external(zlib ZLIB::ZLIB)

if(LACONIC_BUILD_TRAINER)
  find_package(Torch REQUIRED)
  laconic_external(torch ${TORCH_LIBRARIES})
  target_include_directories(external_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
endif()

if(LACONIC_BUILD_TESTS)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
endif()
