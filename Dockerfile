# One image; the subcommand is the role: `run`, `migrate`, `sweep`, `sandbox`, …

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
# The dependencies are compiled with empty crates first, so that this layer is made anew only when
# they change.
COPY Cargo.toml Cargo.lock ./
COPY crates/embedded-postgres/Cargo.toml crates/embedded-postgres/
COPY crates/portone-sandbox/Cargo.toml crates/portone-sandbox/
COPY crates/proof/Cargo.toml crates/proof/
COPY crates/what-was-left-out/Cargo.toml crates/what-was-left-out/
RUN for crate in . crates/*; do \
        mkdir "$crate/src" \
        && touch "$crate/src/lib.rs" \
        && echo 'fn main() {}' > "$crate/src/main.rs" \
        || exit; \
    done \
    && cargo build --release --locked --package billd --no-default-features --features sandbox,mimalloc
COPY . .
# The queries are checked against the metadata in .sqlx: the build needs no database. Cargo goes by
# time stamps, and a file of the repository may be older than the empty crates.
ENV SQLX_OFFLINE=true
RUN find src crates -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package billd --no-default-features --features sandbox,mimalloc

FROM docker.io/library/debian:bookworm-slim
# Time zones are part of the program; the authorities that vouch for PortOne's certificate are not.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin billd
COPY --from=build /build/target/release/billd /usr/local/bin/billd
WORKDIR /etc/billd
COPY config/ config/
# By its number, so that a cluster that admits no root can tell.
USER 10001
ENV BILLD__LOG__FORMAT=json \
    BILLD__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
# Draining takes up to the drain limit: give a container more time than that to stop.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 CMD ["billd", "healthcheck"]
ENTRYPOINT ["billd"]
CMD ["run"]
