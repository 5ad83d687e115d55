# syntax=docker/dockerfile:1

# Debian 12 in both stages: what is linked in the first is there in the second.
FROM rust:1.95-slim-bookworm AS build
# A C compiler, for the allocator and for cryptography.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies alone, over an empty program: a layer that lasts until they, or the pages, change.
COPY Cargo.toml Cargo.lock build.rs ./
# What build.rs compresses.
COPY assets assets
RUN mkdir -p src benches/load \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cp src/main.rs benches/core.rs \
    && cp src/main.rs benches/load/main.rs \
    && cargo build --locked --release --lib
COPY config config
COPY migrations migrations
COPY src src
# Older than what was built from the empty program, cargo would take these files for unchanged.
RUN find src -exec touch {} + \
    && cargo build --locked --release --bin progressd \
    && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="progressd" \
      org.opencontainers.image.description="A standalone job-progress server: workers report over HTTP, dashboards watch over server-sent events."
COPY --from=build /build/target/release/progressd /usr/local/bin/progressd
# Where a store on disk belongs: a volume that begins as a copy of this folder is writable too.
COPY --from=build --chown=65532:65532 /data /var/lib/progressd
WORKDIR /var/lib/progressd
# All addresses of the container: so the server wants keys, or `PROGRESSD__AUTH__MODE=none`.
ENV PROGRESSD__SERVER__LISTEN=0.0.0.0:8080
# By number, so that Kubernetes can see that it is not root: `nonroot`.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --start-interval=1s CMD ["progressd", "health"]
ENTRYPOINT ["progressd"]
CMD ["serve"]
