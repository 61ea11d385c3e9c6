# All images of Stemflow. One target each:
#
#   docker build --target gateway -t stemflow/gateway:0.1.0 .
#
# gateway, decode, separate, separate-cuda, encode, publish, stemflow, models. `scripts/images` builds
# all of them. For a build that gives the same another day, name the base with its digest:
# --build-arg RUST=rust:1.95-bookworm@sha256:…

ARG RUST=rust:1.95-bookworm

# What is needed to build, libtorch among it. Changes with scripts/ alone.
FROM ${RUST} AS tools
ARG CARGO_CHEF=0.1.77
RUN apt-get update \
    && apt-get install -y --no-install-recommends busybox-static cmake python3-pip \
    && rm -rf /var/lib/apt/lists/*
RUN cargo install cargo-chef --locked --version "${CARGO_CHEF}"
WORKDIR /src
COPY scripts scripts
# The binary `separate` finds its libraries where they were when it was linked.
ENV STEMFLOW_CACHE=/opt/stemflow LIBTORCH=/opt/libtorch
RUN env -u LIBTORCH scripts/setup && ln -s /opt/stemflow/libtorch-2.11.0-cpu /opt/libtorch

# The dependencies, by the lock file alone: built again when that changes, not with every source.
FROM tools AS plan
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM tools AS dependencies
COPY --from=plan /recipe.json /recipe.json
RUN cargo chef cook --release --workspace --recipe-path /recipe.json

FROM dependencies AS build
ARG REVISION=unknown
COPY . .
RUN STEMFLOW_REVISION="${REVISION}" cargo build --release --locked --workspace --bins
# Each image is a folder: programs, what they load, and data. Nothing else.
RUN set -eu; cd target/release; \
    for program in gateway decode separate encode publish stemflow; do \
        /src/scripts/image-root "/root-$program" "$program"; \
    done; \
    cp /src/workflow.toml /root-gateway/; \
    cp /src/workflow.toml /root-stemflow/; \
    cp -r /src/models /root-gateway/; \
    cp -r /src/models /root-separate/; \
    cp -r /src/models /root-stemflow/; \
    cp -r /root-stemflow /root-models; \
    mkdir /root-models/bin; \
    cp "$(command -v busybox)" /root-models/bin/busybox; \
    ln -s busybox /root-models/bin/sh; \
    ln -s busybox /root-models/bin/cp

# What all images have in common.
FROM scratch AS base
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stemflow" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.description="Separates music into stems"
ENV PATH=/usr/bin:/bin
USER 65532:65532
WORKDIR /

FROM base AS gateway
COPY --from=build /root-gateway /
EXPOSE 5000
ENTRYPOINT ["/usr/bin/gateway"]

FROM base AS decode
COPY --from=build /root-decode /
ENTRYPOINT ["/usr/bin/decode"]

FROM base AS encode
COPY --from=build /root-encode /
ENTRYPOINT ["/usr/bin/encode"]

FROM base AS publish
COPY --from=build /root-publish /
ENTRYPOINT ["/usr/bin/publish"]

FROM base AS stemflow
COPY --from=build /root-stemflow /
ENTRYPOINT ["/usr/bin/stemflow"]

# The weights, with `sh` and `cp` to get them into a volume and `stemflow` to verify them there.
# Holds what models/ holds when it is built: `stemflow models pull` before that adds to it.
FROM base AS models
COPY --from=build /root-models /
ENTRYPOINT ["/usr/bin/stemflow", "models", "verify"]

FROM base AS separate
COPY --from=build /root-separate /
ENTRYPOINT ["/usr/bin/separate"]

# The same binary, with the libtorch that has CUDA in front. The driver's part comes from the host.
FROM tools AS cuda
RUN python3 -m pip install --no-cache-dir --no-deps --require-hashes --target /opt/torch \
        --requirement scripts/pins/libtorch-cuda.txt \
    && find /opt/torch -type f ! -name '*.so*' -delete \
    && find /opt/torch -name '*python*' -delete \
    && find /opt/torch -type d -empty -delete

FROM separate AS separate-cuda
COPY --from=cuda /opt/torch /opt/torch
ENV LD_LIBRARY_PATH=/opt/torch/torch/lib:/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
