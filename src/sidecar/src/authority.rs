//! Stock clients name the socket's path as a request's `:authority`, and the
//! HTTP/2 library refuses it. On a Unix socket nobody reads it, so what the
//! library would refuse is overwritten on its way in.
//!
//! grpc-core since 1.57 (Python, C++, Ruby, PHP) sends `run%2Fsidecar.sock`,
//! grpc-java the bare path, grpc-swift `%2Frun%2Fsidecar.sock`; none of these is
//! a host (RFC 3986, section 3.2.2), and each request of such a client would end
//! as `PROTOCOL_ERROR`.
//!
//! Every byte is replaced by one, and every symbol of a Huffman code by one of
//! the same length: no frame changes its size, and what both sides keep in the
//! tables of header compression (RFC 7541, section 2.3.2) stays in step. A client
//! that sends nonsense gets its own nonsense altered, which it could have sent
//! altered as well.

/// `PRI * HTTP/2.0…` (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const AUTHORITY: &[u8] = b":authority";
/// Its place in the static table (RFC 7541, appendix A).
const AUTHORITY_INDEX: usize = 1;

/// Follows what a client sends, and keeps `:authority` acceptable.
#[derive(Debug)]
pub(crate) struct Authority {
    at: At,
    fields: Fields,
}

/// Where in the stream of frames the next byte is.
#[derive(Debug)]
enum At {
    /// So many bytes that do not matter, then a frame's head.
    Skip(usize),
    Head {
        bytes: [u8; FRAME_HEAD_BYTES],
        have: usize,
    },
    /// The length of the padding, before what `PRIORITY` adds.
    PadLength {
        left: usize,
        priority: usize,
    },
    /// Bytes before the fields, the fields, and the padding after them.
    Fields {
        before: usize,
        left: usize,
        padding: usize,
    },
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self { at: At::Skip(PREFACE_BYTES), fields: Fields::Begin }
    }

    /// Lets the next bytes pass.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &mut bytes[taken..];
        }
    }

    /// How many bytes it took.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.at {
            At::Skip(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    self.at = At::Head { bytes: [0; FRAME_HEAD_BYTES], have: 0 };
                }
                taken
            }
            At::Head { bytes: head, have } => {
                let taken = bytes.len().min(FRAME_HEAD_BYTES - *have);
                head[*have..*have + taken].copy_from_slice(&bytes[..taken]);
                *have += taken;
                if *have == FRAME_HEAD_BYTES {
                    let head = *head;
                    self.begin(head);
                }
                taken
            }
            At::PadLength { left, priority } => {
                let padding = usize::from(bytes[0]);
                self.at = match left.checked_sub(1 + *priority + padding) {
                    Some(fields) => At::Fields { before: *priority, left: fields, padding },
                    None => At::Skip(*left - 1),
                };
                1
            }
            At::Fields { before, left, padding } => {
                if *before > 0 {
                    let taken = bytes.len().min(*before);
                    *before -= taken;
                    return taken;
                }
                let taken = bytes.len().min(*left);
                *left -= taken;
                bytes[..taken].iter_mut().for_each(|byte| self.fields.pass(byte));
                if *left == 0 {
                    self.at = At::Skip(*padding);
                }
                taken
            }
        }
    }

    /// A frame begins (RFC 9113, sections 4.1, 6.2 and 6.10).
    fn begin(&mut self, head: [u8; FRAME_HEAD_BYTES]) {
        let [a, b, c, kind, flags, ..] = head;
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
        self.at = match kind {
            HEADERS if flags & PADDED != 0 && left > 0 => {
                self.fields = Fields::Begin;
                At::PadLength { left, priority }
            }
            HEADERS if left > priority => {
                self.fields = Fields::Begin;
                At::Fields { before: priority, left: left - priority, padding: 0 }
            }
            CONTINUATION if left > 0 => At::Fields { before: 0, left, padding: 0 },
            _ => At::Skip(left),
        };
    }
}

/// Where among the fields of a header block the next byte is (RFC 7541,
/// section 6).
#[derive(Clone, Copy, Debug)]
enum Fields {
    Begin,
    /// The further bytes of a number (section 5.1).
    Number {
        of: Number,
        value: usize,
        shift: u32,
    },
    /// The first byte of a string (section 5.2).
    Length(Text),
    Text {
        of: Text,
        left: usize,
        huffman: Option<Symbol>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Number {
    /// An index or a size that does not matter.
    Ignored,
    /// The index of a literal field's name; 0: the name follows.
    Name,
    Length {
        of: Text,
        huffman: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Text {
    /// So many bytes of it are those of `:authority`; `None`: it is another.
    Name(Option<usize>),
    Authority,
    Ignored,
}

impl Fields {
    fn pass(&mut self, byte: &mut u8) {
        *self = match *self {
            Self::Begin => match *byte {
                byte if byte & 0x80 != 0 => Self::number(Number::Ignored, byte, 7),
                byte if byte & 0x40 != 0 => Self::number(Number::Name, byte, 6),
                byte if byte & 0x20 != 0 => Self::number(Number::Ignored, byte, 5),
                byte => Self::number(Number::Name, byte, 4),
            },
            Self::Number { of, value, shift } => {
                let more = usize::from(*byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX);
                let value = value.saturating_add(more);
                match *byte & 0x80 {
                    0 => Self::after(of, value),
                    _ => Self::Number { of, value, shift: shift.saturating_add(7) },
                }
            }
            Self::Length(of) => {
                Self::number(Number::Length { of, huffman: *byte & 0x80 != 0 }, *byte, 7)
            }
            Self::Text { of, left, mut huffman } => {
                let of = match (of, &mut huffman) {
                    (Text::Name(Some(same)), None) if AUTHORITY.get(same) == Some(byte) => {
                        Text::Name(Some(same + 1))
                    }
                    (Text::Name(_), _) => Text::Name(None),
                    (Text::Authority, None) => {
                        let is_plain = byte.is_ascii_alphanumeric() || b".-_".contains(byte);
                        if !is_plain {
                            *byte = b'-';
                        }
                        of
                    }
                    (Text::Authority, Some(symbol)) => {
                        symbol.pass(byte);
                        of
                    }
                    (Text::Ignored, _) => of,
                };
                Self::text(of, left - 1, huffman)
            }
        }
    }

    /// A number that begins in the last bits of `byte`.
    fn number(of: Number, byte: u8, bits: u32) -> Self {
        let most = (1_usize << bits) - 1;
        match usize::from(byte) & most {
            value if value < most => Self::after(of, value),
            value => Self::Number { of, value, shift: 0 },
        }
    }

    fn after(of: Number, value: usize) -> Self {
        match of {
            Number::Ignored => Self::Begin,
            Number::Name if value == 0 => Self::Length(Text::Name(Some(0))),
            Number::Name if value == AUTHORITY_INDEX => Self::Length(Text::Authority),
            Number::Name => Self::Length(Text::Ignored),
            Number::Length { of, huffman } => Self::text(of, value, huffman.then(Symbol::default)),
        }
    }

    fn text(of: Text, left: usize, huffman: Option<Symbol>) -> Self {
        match (left, of) {
            (0, Text::Name(Some(same))) if same == AUTHORITY.len() => Self::Length(Text::Authority),
            (0, Text::Name(_)) => Self::Length(Text::Ignored),
            (0, _) => Self::Begin,
            _ => Self::Text { of, left, huffman },
        }
    }
}

/// The bits of a Huffman symbol so far (RFC 7541, appendix B).
#[derive(Clone, Copy, Debug, Default)]
struct Symbol {
    code: u16,
    bits: u32,
}

impl Symbol {
    /// Replaces `%` and `/`, at the first bit that tells them from what may
    /// stand: the bits before it may have left with the byte before.
    fn pass(&mut self, byte: &mut u8) {
        for bit in (0..8).rev() {
            let mut one = u16::from(*byte >> bit & 1);
            let before = (self.bits, self.code);
            // 01010x are the space and '%', 01011x '-' and '.'; 011000 is '/',
            // 011001 is '3'.
            if one == 0 && (before == (4, 0b0101) || before == (5, 0b01100)) {
                *byte |= 1 << bit;
                one = 1;
            }
            (self.bits, self.code) = (self.bits + 1, self.code << 1 | one);
            let is_whole = match self.bits {
                5 => self.code <= 0b01001,
                6 => self.code <= 0b10_1101,
                7 => self.code <= 0b111_1011,
                8 => self.code <= 0b1111_1101,
                _ => false,
            };
            // Longer codes are of what no path holds; nothing after one is read.
            if is_whole {
                *self = Self::default();
            } else if self.bits > 8 {
                self.bits = 9;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
        let string = |text: &[u8]| [&[u8::try_from(text.len()).expect("short")], text].concat();
        match name {
            [index] => [vec![*index], string(value)].concat(),
            name => [vec![0x40], string(name), string(value)].concat(),
        }
    }

    /// What becomes of `frames` after a preface, however they arrive.
    fn passed(frames: &[u8]) -> Vec<u8> {
        let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frames].concat();
        let mut whole = sent.clone();
        Authority::new().pass(&mut whole);
        for piece in 1..9 {
            let (mut other, mut authority) = (sent.clone(), Authority::new());
            other.chunks_mut(piece).for_each(|bytes| authority.pass(bytes));
            assert_eq!(other, whole, "in pieces of {piece}");
        }
        assert_eq!(whole[..PREFACE_BYTES], sent[..PREFACE_BYTES]);
        whole.split_off(PREFACE_BYTES)
    }

    #[test]
    fn a_path_becomes_a_host_however_its_name_is_written() {
        for name in [&[0x41][..], &[0x01], &[0x11], b":authority"] {
            for (sent, expected) in [
                ("run%2Fs.sock", "run-2Fs.sock"),
                ("/run/s.sock", "-run-s.sock"),
                ("a b@c:1?#[]\u{e9}", "a-b-c-1------"),
                ("localhost", "localhost"),
                ("", ""),
            ] {
                let other = literal(b"x-path", b"/a%b");
                let [before, after] = [sent, expected].map(|authority| {
                    let authority = literal(name, authority.as_bytes());
                    let fields = [&[0x83, 0x3f, 0xe1, 0x1f][..], &other, &authority, &other];
                    frame(HEADERS, 4, &fields.concat())
                });
                assert_eq!(passed(&before), after, "{sent}");
            }
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let looks_like_one = literal(&[0x41], b"/%");
        for untouched in [
            frame(0, 0, &looks_like_one),
            frame(4, 0, &looks_like_one),
            frame(HEADERS, 4, &literal(&[0x44], b"/strongroom.v1.Strongroom/Get")),
            frame(HEADERS, 4, &literal(b":authoritative", b"/%")),
            frame(HEADERS, 4, &literal(b":author", b"/%")),
            // Padding that is longer than the frame.
            frame(HEADERS, PADDED, &[200, 0x41, 2, b'/', b'%']),
            frame(HEADERS, PRIORITY, &[0, 0]),
            frame(HEADERS, PADDED, &[]),
        ] {
            assert_eq!(passed(&untouched), untouched);
        }
    }

    #[test]
    fn padding_priority_and_continuations_are_seen_through() {
        let [before, after] = [b"/a/b", b"-a-b"].map(|path| {
            let fields = literal(&[0x41], path);
            let (first, rest) = fields.split_at(3);
            let padded = [&[4, 0, 0, 0, 0, 7][..], first, b"/%/%"].concat();
            let rest = [rest, &literal(&[0x44], b"/%")].concat();
            let data = frame(0, PADDED, b"\x01/%/");
            [frame(HEADERS, PADDED | PRIORITY, &padded), frame(CONTINUATION, 4, &rest), data]
                .concat()
        });
        assert_eq!(passed(&before), after);
        // A new block does not go on where one that was cut ended.
        let cut = frame(HEADERS, 4, &[0x41, 100, b'a']);
        let next = frame(HEADERS, 4, &literal(&[0x44], b"/%"));
        let both = [cut, next].concat();
        assert_eq!(passed(&both), both);
    }

    #[test]
    fn long_names_and_values_are_followed() {
        let long = vec![b'/'; 1_000];
        let number = [0x7f, 0xe9, 0x06];
        let fields = [&[0x00][..], &number, &long, &number, &long, &literal(&[0x41], b"/")];
        let mut expected = frame(HEADERS, 4, &fields.concat());
        let sent = expected.clone();
        *expected.last_mut().expect("a byte") = b'-';
        assert_eq!(passed(&sent), expected);
    }

    /// Codes and lengths from RFC 7541, appendix B.
    fn huffman(text: &str) -> Vec<u8> {
        let mut bits = String::new();
        for symbol in text.bytes() {
            bits += match symbol {
                b'/' => "011000",
                b'%' => "010101",
                b'-' => "010110",
                b'.' => "010111",
                b'2' => "00010",
                b'3' => "011001",
                b'F' => "1100001",
                b'X' => "11111100",
                b'k' => "1110101",
                b'r' => "101100",
                b'u' => "101101",
                b'n' => "101010",
                b's' => "01000",
                b'o' => "00111",
                b'c' => "00100",
                b'+' => "11111111011",
                other => panic!("no code for {other}"),
            };
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let octets = bits
            .as_bytes()
            .chunks(8)
            .map(|octet| octet.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit == b'1')));
        octets.collect()
    }

    #[test]
    fn a_path_in_huffman_codes_becomes_a_host_of_the_same_length() {
        for (sent, expected) in [
            ("%2Frun%2FX/sock", ".2Frun.2FX3sock"),
            ("/run/s.sock", "3run3s.sock"),
            ("run-uncork.sock", "run-uncork.sock"),
            // What is not known ends the reading.
            ("r/+/u", "r3+/u"),
        ] {
            let [before, after] = [sent, expected].map(|text| {
                let mut field = literal(&[0x41], &huffman(text));
                field[1] |= 0x80;
                frame(HEADERS, 4, &[field, literal(&[0x44], b"/%")].concat())
            });
            assert_eq!(passed(&before), after, "{sent}");
        }
    }
}
