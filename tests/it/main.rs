//! Integration tests, one binary.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper fails by panicking; clippy's own exception reaches test functions only"
)]

mod embedded;
