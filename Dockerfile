# Images of the server. docs/deploying.md tells how to run them.
#
#   docker build --target cpu --build-arg MODELS=demo -t deltaserve:cpu .
#
# BASE_IMAGE  a Debian 12; what is built in it runs in it
# MODELS      "none": they are mounted at /models; "demo": the demo model is in the image
# VERSION, REVISION  for the labels
#
# A finished build may stand in for the compile stage:
#
#   DESTDIR=$PWD/stage cmake --install build/release --component server --strip --prefix /opt/deltaserve
#   docker build --target cpu --build-context build=stage -t deltaserve:cpu .

ARG BASE_IMAGE=debian:12-slim
ARG MODELS=none

FROM ${BASE_IMAGE} AS build
WORKDIR /source
COPY deploy/install_packages.sh deploy/
RUN deploy/install_packages.sh
COPY . .
RUN cmake --preset release \
      -DDELTASERVE_CUDA=OFF -DDELTASERVE_BUILD_TESTS=OFF -DDELTASERVE_BUILD_BENCH=OFF \
    && cmake --build --preset release --target deltaserve deltactl \
    && cmake --install build/release --component server --strip --prefix /opt/deltaserve

FROM ${BASE_IMAGE} AS models-none
RUN mkdir -p /models

FROM models-none AS models-demo
COPY models/demo/ddl_cc_ec /models/demo

FROM models-${MODELS} AS models

FROM ${BASE_IMAGE} AS cpu
RUN apt-get -o Acquire::Retries=3 update \
    && DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install \
      --yes --no-install-recommends \
      libabsl20220623 libcairo2 libdnnl2 libfmt9 libgomp1 libgrpc++1.51 libhwy1 libpcre2-8-0 \
      libprometheus-cpp-core1.0 libprometheus-cpp-pull1.0 libprotobuf32 libspdlog1.10 \
      libsqlite3-0 libssl3 libstdc++6 \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
    && install -d -o 65532 -g 65532 /var/lib/deltaserve
COPY --from=build /opt/deltaserve/bin/ /usr/local/bin/
COPY --from=models /models /models
COPY LICENSE /usr/local/share/doc/deltaserve/
COPY deploy/container/server.textproto /etc/deltaserve/

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Deltaserve" \
      org.opencontainers.image.description="Inference server for Deep Delta Learning decoders" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Nothing is written but a ledger (--ledger), which belongs on a volume at /var/lib/deltaserve: the root
# filesystem may be read-only.
USER 65532:65532
WORKDIR /var/lib/deltaserve
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["/usr/local/bin/deltactl", "health", "--timeout", "4"]
ENTRYPOINT ["/usr/local/bin/deltaserve", "--config", "/etc/deltaserve/server.textproto"]
