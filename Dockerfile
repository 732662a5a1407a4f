# Images of the server. docs/deploying.md tells how to run them.
#
#   docker build --target cpu --build-arg MODELS=demo -t deltaserve:cpu .
#   docker build --target cuda -t deltaserve:cuda .
#
# BASE_IMAGE  a Debian 12; what is built in it runs in it
# CUDA_IMAGE  of the target cuda: an image with the CUDA 13 toolkit in /usr/local/cuda; nothing else of
#             it is used. A machine that has the toolkit may stand in: --build-context toolkit=/
# MODELS      "none": they are mounted at /models; "demo": the demo model is in the image
# VERSION, REVISION  for the labels
#
# A finished build may stand in for the compile stage:
#
#   DESTDIR=$PWD/stage cmake --install build/release --component server --strip --prefix /opt/deltaserve
#   docker build --target cpu --build-context build=stage -t deltaserve:cpu .
#
# So may one with CUDA, as --build-context build-cuda=stage, for the target cuda.

ARG BASE_IMAGE=debian:12-slim
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu22.04
ARG MODELS=none

FROM ${BASE_IMAGE} AS source
WORKDIR /source
COPY deploy/install_packages.sh deploy/
RUN deploy/install_packages.sh
COPY . .

FROM source AS build
RUN cmake --preset release \
      -DDELTASERVE_CUDA=OFF -DDELTASERVE_BUILD_TESTS=OFF -DDELTASERVE_BUILD_BENCH=OFF \
    && cmake --build --preset release --target deltaserve deltactl \
    && cmake --install build/release --component server --strip --prefix /opt/deltaserve

FROM ${CUDA_IMAGE} AS toolkit

FROM source AS build-cuda
COPY --from=toolkit /usr/local/cuda /usr/local/cuda
RUN cmake --preset release \
      -DDELTASERVE_CUDA=ON -DDELTASERVE_BUILD_TESTS=OFF -DDELTASERVE_BUILD_BENCH=OFF \
    && cmake --build --preset release --target deltaserve deltactl \
    && cmake --install build/release --component server --strip --prefix /opt/deltaserve

FROM ${BASE_IMAGE} AS models-none
RUN mkdir -p /models

FROM models-none AS models-demo
COPY models/demo/ddl_cc_ec /models/demo

FROM models-${MODELS} AS models

FROM ${BASE_IMAGE} AS runtime
RUN apt-get -o Acquire::Retries=3 update \
    && DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install \
      --yes --no-install-recommends \
      libabsl20220623 libcairo2 libdnnl2 libfmt9 libgomp1 libgrpc++1.51 libhwy1 libpcre2-8-0 \
      libprometheus-cpp-core1.0 libprometheus-cpp-pull1.0 libprotobuf32 libspdlog1.10 \
      libsqlite3-0 libssl3 libstdc++6 \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
    && install -d -o 65532 -g 65532 /var/lib/deltaserve
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

FROM runtime AS cuda
COPY --from=build-cuda /opt/deltaserve/bin/ /usr/local/bin/
COPY --from=build-cuda /opt/deltaserve/lib/ /usr/local/lib/
# The run-time library of CUDA is linked in; the driver comes from the machine.
COPY --from=toolkit /usr/local/cuda/lib64/libcublasLt.so.13 /usr/local/lib/
COPY deploy/container/server_cuda.textproto /etc/deltaserve/server.textproto
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS cpu
COPY --from=build /opt/deltaserve/bin/ /usr/local/bin/
