# laconic-worker and the laconic-trainer it starts (CPU).
#   docker build -f deploy/docker/worker.Dockerfile -t laconic-worker .
FROM debian:bookworm-slim AS build
COPY deploy/packages.txt deploy/install_packages.sh /deploy/
RUN /deploy/install_packages.sh build torch
COPY . /source
WORKDIR /source
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DLACONIC_BUILD_TESTS=OFF \
    && cmake --build /build --target laconic-worker laconic-trainer

FROM debian:bookworm-slim
# Debian packages that the image should hold besides, e.g. a data set.
ARG EXTRA_PACKAGES=""
COPY deploy/packages.txt deploy/install_packages.sh /deploy/
RUN /deploy/install_packages.sh trainer \
    && if [ -n "$EXTRA_PACKAGES" ]; then \
         apt-get install -y --no-install-recommends $EXTRA_PACKAGES; fi \
    && rm -rf /var/lib/apt/lists/* /deploy \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/laconic
COPY --from=build /build/bin/laconic-worker /build/bin/laconic-trainer /usr/local/bin/
USER 65532:65532
VOLUME /var/lib/laconic
ENTRYPOINT ["laconic-worker", "--work-dir", "/var/lib/laconic"]
