# laconic-server, and laconic to talk to it. Built and run without libtorch.
#   docker build -f deploy/docker/server.Dockerfile -t laconic-server .
FROM debian:bookworm-slim AS build
COPY deploy/packages.txt deploy/install_packages.sh /deploy/
RUN /deploy/install_packages.sh build
COPY . /source
WORKDIR /source
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DLACONIC_BUILD_TRAINER=OFF -DLACONIC_BUILD_TESTS=OFF \
    && cmake --build /build --target laconic-server laconic \
    && python3 tests/links_test.py /build/bin/laconic-server /build/bin/laconic

FROM debian:bookworm-slim
COPY deploy/packages.txt deploy/install_packages.sh /deploy/
RUN /deploy/install_packages.sh server && rm -rf /var/lib/apt/lists/* /deploy \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/laconic
COPY --from=build /build/bin/laconic-server /build/bin/laconic /usr/local/bin/
USER 65532:65532
VOLUME /var/lib/laconic
EXPOSE 7070 7071
# Says only that the port answers.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/7070"]
ENTRYPOINT ["laconic-server"]
# Loopback only: whoever runs it decides on --insecure, see docs/security.md.
CMD ["--listen", "127.0.0.1:7070", "--metrics-listen", "127.0.0.1:7071", "--data-dir", "/var/lib/laconic"]
