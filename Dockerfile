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
RUN apt-get update \
    && apt-get install -y --no-install-recommends busybox-static python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts scripts
# The binary `separate` finds its libraries where they were when it was linked.
RUN STEMFLOW_CACHE=/opt/stemflow scripts/setup \
    && ln -s /opt/stemflow/libtorch-2.11.0-cpu /opt/libtorch
ENV LIBTORCH=/opt/libtorch

# What was compiled once is kept between builds: crates in one cache, what is made of them in another.
FROM tools AS build
ARG REVISION=unknown
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    set -eu; \
    STEMFLOW_REVISION="${REVISION}" cargo build --release --locked --bins \
        -p gateway -p decode -p separate -p encode -p publish -p stemflow; \
    for program in gateway decode separate encode publish stemflow; do \
        scripts/image-root "/images/$program" "target/release/$program"; \
    done; \
    cp workflow.toml /images/gateway/; \
    cp workflow.toml /images/stemflow/; \
    for program in gateway separate stemflow; do cp -r models "/images/$program/"; done; \
    cp -r /images/stemflow /images/models; \
    mkdir /images/models/bin; \
    cp "$(command -v busybox)" /images/models/bin/busybox; \
    for name in sh cp; do ln -s busybox "/images/models/bin/$name"; done

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

# These hold a few large pieces of a song at a time. Here each goes back to the system when it is
# done with; glibc would keep them among the small ones, and take the more memory the longer the song.
FROM base AS pieces
ENV MALLOC_MMAP_THRESHOLD_=65536

FROM pieces AS gateway
COPY --from=build /images/gateway /
EXPOSE 5000
ENTRYPOINT ["/usr/bin/gateway"]

FROM pieces AS decode
COPY --from=build /images/decode /
ENTRYPOINT ["/usr/bin/decode"]

FROM pieces AS encode
COPY --from=build /images/encode /
ENTRYPOINT ["/usr/bin/encode"]

FROM pieces AS publish
COPY --from=build /images/publish /
ENTRYPOINT ["/usr/bin/publish"]

FROM base AS stemflow
COPY --from=build /images/stemflow /
ENTRYPOINT ["/usr/bin/stemflow"]

# The weights, with `sh` and `cp` to get them into a volume and `stemflow` to verify them there.
# Holds what models/ holds when it is built: `stemflow models pull` before that adds to it.
FROM base AS models
COPY --from=build /images/models /
ENTRYPOINT ["/usr/bin/stemflow", "models", "verify"]

FROM base AS separate
COPY --from=build /images/separate /
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
