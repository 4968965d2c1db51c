//! How programs write a value within a text of some syntax: in URLs, in JSON, in
//! shells.

/// A character, or a byte that is in none (UTF-8).
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Char(char),
    Byte(u8),
}

/// What is written for one unit: at most four bytes in octal.
#[derive(Clone, Copy, Default)]
pub(super) struct Written {
    bytes: [u8; 16],
    len: usize,
}

/// A way of writing: gives what is written for a unit, or nothing if that is
/// written as it is.
pub(super) type Escape<'a> = &'a dyn Fn(Unit) -> Option<Written>;

pub(super) fn units(value: &[u8]) -> impl Iterator<Item = Unit> + '_ {
    value.utf8_chunks().flat_map(|chunk| {
        let bytes = chunk.invalid().iter().copied().map(Unit::Byte);
        chunk.valid().chars().map(Unit::Char).chain(bytes)
    })
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        let mut written = Self::default();
        written.push(bytes);
        written
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_digits(&mut self, number: u32, count: u32, bits: u32, upper: bool) {
        for at in (0..count).rev() {
            let digit = char::from_digit((number >> (at * bits)) & ((1 << bits) - 1), 1 << bits);
            let digit = digit.unwrap_or('0');
            self.push(&[if upper { digit.to_ascii_uppercase() } else { digit } as u8]);
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        self.bytes.into_iter().take(self.len)
    }
}

impl Unit {
    /// The unit as it is.
    pub(super) fn plain(self) -> Written {
        let mut utf8 = [0; 4];
        match self {
            Self::Char(c) => Written::of(c.encode_utf8(&mut utf8).as_bytes()),
            Self::Byte(byte) => Written::of(&[byte]),
        }
    }

    /// Whether this is one of the ASCII characters `set`.
    fn is_in(self, set: &[u8]) -> bool {
        matches!(self, Self::Char(c) if c.is_ascii() && set.contains(&(c as u8)))
    }

    fn is_alphanumeric(self) -> bool {
        matches!(self, Self::Char(c) if c.is_ascii_alphanumeric())
    }
}

/// What is left as it is in a URL, besides letters and digits. A space among it
/// becomes `+`.
const IN_URLS: [&[u8]; 10] = [
    b"-_.~",                 // RFC 3986 §2.3
    b"-_.~ ",                // Go's QueryEscape, and most of what builds a query
    b"*-._ ",                // application/x-www-form-urlencoded of the WHATWG URL standard
    b"-_.~/",                // Python's quote
    b"-_.~/ ",               // Python's quote_plus with a slash that is safe
    b"-_.~!'()*",            // encodeURIComponent of ECMAScript
    b"-_.~!'()*;,/?:@&=+$#", // encodeURI of ECMAScript
    b"-_.~$&+:=@",           // Go's PathEscape
    b"-_.~$&+,;=",           // Go's UserPassword
    b"-_.~!$%&'()*+,",       // the userinfo of the WHATWG URL standard
];

/// Percent-encoding, one for each set and case.
pub(super) fn url(unit: Unit, keep: &[u8], upper: bool) -> Option<Written> {
    if unit.is_in(b" ") && keep.contains(&b' ') {
        return Some(Written::of(b"+"));
    }
    if unit.is_alphanumeric() || unit.is_in(keep) {
        return None;
    }
    let mut written = Written::default();
    for byte in unit.plain().iter() {
        written.push(b"%");
        written.push_digits(byte.into(), 2, 4, upper);
    }
    Some(written)
}

/// What a writer of JSON escapes besides what it has to (RFC 8259 §7).
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
#[derive(Clone, Copy, Default)]
pub(super) struct Json {
    /// `/`, as `\/`.
    slash: bool,
    /// What is not ASCII.
    non_ascii: bool,
    /// These, as `\uXXXX`.
    more: &'static [u8],
    /// Whether hexadecimal digits are upper case.
    upper: bool,
    /// Whether `\b` and `\f` are written as `\uXXXX`.
    long: bool,
}

const JSON: Json = Json { slash: false, non_ascii: false, more: b"", upper: false, long: false };

/// The habits of writers of JSON.
const IN_JSON: [Json; 9] = [
    JSON, // serde_json, ECMAScript
    Json { upper: true, ..JSON },
    Json { slash: true, ..JSON },
    Json { non_ascii: true, ..JSON }, // Python
    Json { non_ascii: true, upper: true, ..JSON },
    Json { non_ascii: true, slash: true, ..JSON }, // PHP
    Json { more: b"<>&", ..JSON },                 // Go
    Json { more: b"<>&", long: true, ..JSON },     // Go before 1.22
    Json { more: b"\"'+&<>`", non_ascii: true, upper: true, ..JSON }, // .NET
];

pub(super) fn json(unit: Unit, habit: Json) -> Option<Written> {
    let mut written = Written::default();
    let c = match unit {
        Unit::Char(c) => c,
        // No JSON can hold it; what writes one character for each byte does so.
        Unit::Byte(byte) => char::from(byte),
    };
    let short: &[u8] = match c {
        '"' if !habit.more.contains(&b'"') => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        '\x08' if !habit.long => b"\\b",
        '\x0c' if !habit.long => b"\\f",
        '/' if habit.slash => b"\\/",
        _ => b"",
    };
    if !short.is_empty() {
        return Some(Written::of(short));
    }
    let separates_lines = !habit.more.is_empty() && matches!(c, '\u{2028}' | '\u{2029}');
    let is_long = c < ' '
        || matches!(unit, Unit::Byte(_))
        || (habit.non_ascii && !c.is_ascii())
        || unit.is_in(habit.more)
        || separates_lines;
    if !is_long {
        return None;
    }
    for half in c.encode_utf16(&mut [0; 2]) {
        written.push(b"\\u");
        written.push_digits(u32::from(*half), 4, 4, habit.upper);
    }
    Some(written)
}

/// How shells and what writes for them quote.
#[derive(Clone, Copy)]
pub(super) enum Shell {
    /// Within `'…'`: `'\''`, as most do.
    Single,
    /// Within `'…'`: `'"'"'`, as Python's shlex does.
    SingleAround,
    /// Within `"…"`.
    Double,
    /// A backslash before what a shell would take for something else: `printf %q`.
    Backslash,
    /// Within `$'…'`.
    Dollar { non_ascii: bool },
}

const IN_SHELLS: [Shell; 6] = [
    Shell::Single,
    Shell::SingleAround,
    Shell::Double,
    Shell::Backslash,
    Shell::Dollar { non_ascii: false },
    Shell::Dollar { non_ascii: true },
];

pub(super) fn shell(unit: Unit, how: Shell) -> Option<Written> {
    match how {
        Shell::Single => unit.is_in(b"'").then(|| Written::of(b"'\\''")),
        Shell::SingleAround => unit.is_in(b"'").then(|| Written::of(b"'\"'\"'")),
        Shell::Double => unit.is_in(b"$`\"\\").then(|| backslash(unit)),
        Shell::Backslash => unit.is_in(b" \t!\"$&'()*,;<>?[\\]^`{|}").then(|| backslash(unit)),
        Shell::Dollar { non_ascii } => dollar(unit, non_ascii),
    }
}

fn backslash(unit: Unit) -> Written {
    let mut written = Written::of(b"\\");
    unit.plain().iter().for_each(|byte| written.push(&[byte]));
    written
}

fn dollar(unit: Unit, non_ascii: bool) -> Option<Written> {
    let c = match unit {
        Unit::Char(c) => c,
        Unit::Byte(byte) => char::from(byte),
    };
    let short: &[u8] = match c {
        '\'' => b"\\'",
        '\\' => b"\\\\",
        '\x07' => b"\\a",
        '\x08' => b"\\b",
        '\t' => b"\\t",
        '\n' => b"\\n",
        '\x0b' => b"\\v",
        '\x0c' => b"\\f",
        '\r' => b"\\r",
        '\x1b' => b"\\E",
        _ => b"",
    };
    if !short.is_empty() {
        return Some(Written::of(short));
    }
    let is_octal =
        matches!(unit, Unit::Byte(_)) || c.is_ascii_control() || (non_ascii && !c.is_ascii());
    if !is_octal {
        return None;
    }
    let mut written = Written::default();
    for byte in unit.plain().iter() {
        written.push(b"\\");
        written.push_digits(byte.into(), 3, 3, false);
    }
    Some(written)
}

/// Every way of writing.
pub(super) fn each<E>(mut found: impl FnMut(Escape<'_>) -> Result<(), E>) -> Result<(), E> {
    for keep in IN_URLS {
        found(&|unit| url(unit, keep, true))?;
        found(&|unit| url(unit, keep, false))?;
    }
    for habit in IN_JSON {
        found(&|unit| json(unit, habit))?;
    }
    for how in IN_SHELLS {
        found(&|unit| shell(unit, how))?;
    }
    Ok(())
}
