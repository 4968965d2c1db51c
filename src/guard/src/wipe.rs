//! Erasure that the optimizer keeps.
//!
//! A fill and a barrier, not `Zeroize for [u8]`: that makes a volatile write of
//! every single byte, and this runs on every drop.

use std::mem::MaybeUninit;

/// Zeroes `bytes`.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// Zeroes all that the vector has allocated, beyond its length too.
pub(crate) fn wipe_vec(bytes: &mut Vec<u8>) {
    bytes.clear();
    let spare = bytes.spare_capacity_mut();
    spare.fill(MaybeUninit::zeroed());
    zeroize::optimization_barrier(spare);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_wiped_beyond_its_length() {
        let mut bytes = vec![7u8; 300];
        bytes.truncate(100);
        wipe_vec(&mut bytes);
        assert!(bytes.is_empty() && bytes.capacity() >= 300);
        bytes.resize_with(bytes.capacity(), || 1);
        bytes.clear();
        wipe_vec(&mut bytes);
        let spare = bytes.spare_capacity_mut();
        // SAFETY: `wipe_vec` has written all of the spare capacity.
        #[allow(unsafe_code, reason = "looks behind the length")]
        let left = unsafe { &*(std::ptr::from_ref(spare) as *const [u8]) };
        assert!(left.len() >= 300 && left.iter().all(|byte| *byte == 0));
    }
}
