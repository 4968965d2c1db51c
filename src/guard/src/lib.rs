//! Guarded memory.
