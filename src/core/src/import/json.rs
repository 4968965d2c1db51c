//! JSON (RFC 8259) into guarded memory: a general parser would keep copies of
//! what it unescapes.

use strongroom_guard::{SecretBuffer, SecretBytes};

use super::env::push;
use crate::error::{Error, Result};

/// How deep objects and arrays may stand in each other.
const MAX_DEPTH: usize = 64;

/// A part of a document.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    /// A text; or a number, `true` or `false`, as it is written.
    Value(SecretBytes),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The field of this name.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let Self::Object(fields) = self else { return None };
        fields.into_iter().find(|(found, _)| found == name).map(|(_, node)| node)
    }
}

/// Reads one document, and nothing after it.
pub(super) fn parse(text: &[u8]) -> Result<Node> {
    let mut parser = Parser { text, at: 0 };
    let node = parser.node(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong());
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    /// The place, and never what stands there.
    fn wrong(&self) -> Error {
        Error::configuration(format!("the file is no JSON from byte {} on", self.at))
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let is_there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(self.wrong()) }
    }

    fn node(&mut self, depth: usize) -> Result<Node> {
        if depth > MAX_DEPTH {
            return Err(self.wrong());
        }
        self.space();
        match self.text.get(self.at) {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Node::Value),
            Some(_) => self.literal(),
            None => Err(self.wrong()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node> {
        self.expect(b'{')?;
        let mut fields = Vec::new();
        if self.take(b'}') {
            return Ok(Node::Object(fields));
        }
        loop {
            self.space();
            let at = self.at;
            let key = self.string()?;
            let key = String::from_utf8(key.expose().to_vec());
            self.expect(b':')?;
            let node = self.node(depth + 1)?;
            let key = key.map_err(|_| Parser { text: self.text, at }.wrong())?;
            fields.push((key, node));
            if !self.take(b',') {
                self.expect(b'}')?;
                return Ok(Node::Object(fields));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node> {
        self.expect(b'[')?;
        let mut nodes = Vec::new();
        if self.take(b']') {
            return Ok(Node::Array(nodes));
        }
        loop {
            nodes.push(self.node(depth + 1)?);
            if !self.take(b',') {
                self.expect(b']')?;
                return Ok(Node::Array(nodes));
            }
        }
    }

    fn string(&mut self) -> Result<SecretBytes> {
        self.expect(b'"')?;
        let mut out = SecretBuffer::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let plain = plain.ok_or_else(|| self.wrong())?;
            if std::str::from_utf8(&rest[..plain]).is_err() {
                return Err(self.wrong());
            }
            push(&mut out, &rest[..plain])?;
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(out.into_secret()?);
                }
                b'\\' => self.escape(&mut out)?,
                _ => return Err(self.wrong()),
            }
        }
    }

    fn escape(&mut self, out: &mut SecretBuffer) -> Result<()> {
        let byte = match self.text.get(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(out),
            _ => return Err(self.wrong()),
        };
        self.at += 2;
        push(out, &[byte])
    }

    fn unicode(&mut self, out: &mut SecretBuffer) -> Result<()> {
        let first = self.unit()?;
        let code = match first {
            0xd800..0xdc00 => {
                if self.text.get(self.at..self.at + 2) != Some(b"\\u") {
                    return Err(self.wrong());
                }
                let second = self.unit()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(self.wrong());
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        let character = char::from_u32(code).ok_or_else(|| self.wrong())?;
        let mut bytes = SecretBytes::zeroed(character.len_utf8())?;
        let bytes = bytes.expose_mut();
        let text = character.encode_utf8(bytes);
        push(out, text.as_bytes())
    }

    /// `\u` and four digits.
    fn unit(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at + 2..self.at + 6).ok_or_else(|| self.wrong())?;
        let mut unit = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16).ok_or_else(|| self.wrong())?;
            unit = unit * 16 + value;
        }
        self.at += 6;
        Ok(unit)
    }

    fn literal(&mut self) -> Result<Node> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let literal = &rest[..rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len())];
        let node = match literal {
            b"null" => Node::Null,
            b"true" | b"false" => Node::Value(SecretBytes::copy_from(literal)?),
            number if is_number(number) => Node::Value(SecretBytes::copy_from(number)?),
            _ => return Err(self.wrong()),
        };
        self.at += literal.len();
        Ok(node)
    }
}

/// RFC 8259 §6.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent =
            exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Back to what `serde_json` would make of it.
    fn value(node: Node) -> serde_json::Value {
        use serde_json::Value;
        match node {
            Node::Null => Value::Null,
            Node::Value(text) => {
                Value::String(String::from_utf8(text.expose().to_vec()).expect("UTF-8"))
            }
            Node::Array(nodes) => nodes.into_iter().map(value).collect(),
            Node::Object(fields) => {
                fields.into_iter().map(|(key, node)| (key, value(node))).collect()
            }
        }
    }

    #[test]
    fn it_reads_what_another_parser_reads() {
        for text in [
            "{}",
            " [ ] ",
            r#"{"a":"\u00fc\ud83d\ude00\n\t\"\\\/\b\f\r","b":[null,"x",{"c":""}]}"#,
            "{\"\u{fc}\":\"\u{1f600}\"}",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(value(parse(text.as_bytes()).expect("parsed")), expected, "{text}");
        }
    }

    #[test]
    fn it_refuses_what_another_parser_refuses() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "'x'",
            "\"x",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\n\"",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "--1",
            "tru",
            "nul",
            "1 2",
            "[1 2]",
            "{} x",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        for number in ["0", "-0", "10", "1.5", "1e5", "1E+5", "-1.25e-3"] {
            assert!(parse(number.as_bytes()).is_ok(), "{number}");
        }
    }

    #[test]
    fn an_error_says_where_and_never_what() {
        let error = parse(b"{\"a\":\"s3cret-canary\\x\"}").expect_err("wrong").to_string();
        assert!(error.contains("byte 19") && !error.contains("canary"), "{error}");
    }
}
