//! Base64 of a value that stands somewhere within a longer text.

/// The digits of `value`, where `before` bytes (0, 1 or 2) of its first group of
/// three belong to something else.
pub(super) struct Digits<'a> {
    value: &'a [u8],
    before: usize,
    url: bool,
}

impl<'a> Digits<'a> {
    pub(super) fn new(value: &'a [u8], before: usize, url: bool) -> Self {
        Self { value, before, url }
    }

    /// The digits that depend on nothing but the value. Of the digits beside
    /// them, a neighbour has 2 or 4 of the 6 bits.
    pub(super) fn own(&self) -> impl Iterator<Item = u8> + '_ {
        self.range((8 * self.before).div_ceil(6), self.bits() / 6)
    }

    /// The same where the text ends with the value: with its last digit, if its
    /// bits do not fill it.
    pub(super) fn to_the_end(&self) -> impl Iterator<Item = u8> + '_ {
        self.range((8 * self.before).div_ceil(6), self.bits().div_ceil(6))
    }

    /// How many `=` follow where the text ends with the value (RFC 4648 §4).
    pub(super) fn padding(&self) -> usize {
        (3 - (self.before + self.value.len()) % 3) % 3
    }

    fn bits(&self) -> usize {
        8 * (self.before + self.value.len())
    }

    fn range(&self, from: usize, to: usize) -> impl Iterator<Item = u8> + '_ {
        (from..to).map(|at| {
            let bit = 6 * at - 8 * self.before;
            let byte = |at: usize| u16::from(self.value.get(at).copied().unwrap_or(0));
            let two = byte(bit / 8) << 8 | byte(bit / 8 + 1);
            digit((two >> (10 - bit % 8)) & 0x3f, self.url)
        })
    }
}

/// The digit of six bits, by arithmetic: a table's cache lines would tell which
/// entries were read.
fn digit(bits: u16, url: bool) -> u8 {
    let bits = bits.cast_signed();
    let (of_62, of_63) = if url { (b'-', b'_') } else { (b'+', b'/') };
    let mut digit = bits + i16::from(b'A');
    digit += ((25 - bits) >> 8) & (i16::from(b'a') - i16::from(b'Z') - 1);
    digit += ((51 - bits) >> 8) & (i16::from(b'0') - i16::from(b'z') - 1);
    digit += ((61 - bits) >> 8) & (i16::from(of_62) - i16::from(b'9') - 1);
    digit += ((62 - bits) >> 8) & (i16::from(of_63) - i16::from(of_62) - 1);
    digit.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_rfc_4648() {
        let common = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        for (url, last) in [(false, "+/"), (true, "-_")] {
            let all: Vec<u8> = (0..64).map(|bits| digit(bits, url)).collect();
            assert_eq!(String::from_utf8(all).expect("ASCII"), format!("{common}{last}"));
        }
        let vectors = [("foo", "Zm9v", 0), ("foob", "Zm9vYg", 2), ("fooba", "Zm9vYmE", 1)];
        for (plain, expected, padding) in vectors {
            let digits = Digits::new(plain.as_bytes(), 0, false);
            assert!(digits.to_the_end().eq(expected.bytes()));
            assert_eq!(digits.padding(), padding);
        }
    }

    #[test]
    fn own_digits_stand_in_the_middle_of_a_longer_text() {
        // "xfoobary" and "xxfoobary" as coreutils' base64 has them.
        for (before, whole) in [(1, "eGZvb2Jhcnk="), (2, "eHhmb29iYXJ5")] {
            let own: Vec<u8> = Digits::new(b"foobar", before, false).own().collect();
            assert!(whole.contains(std::str::from_utf8(&own).expect("ASCII")));
            assert_eq!(own.len(), 7);
        }
    }
}
