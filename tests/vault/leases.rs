//! Credentials that Vault makes when they are read.
