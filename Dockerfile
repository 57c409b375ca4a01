# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock rustfmt.toml ./
COPY config ./config
COPY src ./src
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin utmost && cp target/release/utmost /utmost

FROM debian:bookworm-slim
# Authorities that a Redis over TLS is checked against.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/utmost --create-home utmost
COPY --from=build /utmost /usr/local/bin/utmost
USER utmost
WORKDIR /var/lib/utmost
ENV UTMOST_SERVER__LISTEN=0.0.0.0:8080 UTMOST_DATA_DIR=/var/lib/utmost/data
VOLUME /var/lib/utmost/data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["utmost", "health"]
ENTRYPOINT ["utmost"]
CMD ["serve"]
