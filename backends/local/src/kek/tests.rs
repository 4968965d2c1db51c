//! Tests with injected failures.
