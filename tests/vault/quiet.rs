//! Nothing secret is said, at any level of any library's log.
