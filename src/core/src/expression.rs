//! Expressions: `<+secrets.getValue("account.db")>` in a text stands for the value
//! of a secret.
//!
//! The name is written as everywhere, in `"` or `'`; blanks and line ends may stand
//! between the parts. What is expanded is not looked at again: an expression in a
//! value stays as it is. Other expressions, such as `<+pipeline.name>`, belong to
//! somebody else and stay too; but what begins `<+secrets` is ours, and an error if
//! it is not well-formed, so that a slip does not pass for text.
//!
//! A text is bytes, and need not be UTF-8. Errors say where in it they are, and
//! repeat nothing of it but a name: a template may itself be secret.

use std::fmt;
use std::ops::Range;

use strongroom_guard::SecretBytes;

use crate::error::{Error, ErrorKind, Result};

/// The longest text that expressions are expanded to, in bytes.
pub const MAX_RENDERED_BYTES: usize = 16 << 20;
/// The most secrets that one text may name.
pub const MAX_NAMES: usize = 10_000;

/// A text with expressions in it.
///
/// ```
/// use strongroom_core::expression::Template;
///
/// # fn main() -> strongroom_core::Result<()> {
/// let template = Template::parse(b"password=<+secrets.getValue(\"account.db\")>!")?;
/// assert_eq!(template.names(), ["account.db"]);
/// let expanded = template.expand(&[b"s3cret"])?;
/// assert!(expanded.expose() == b"password=s3cret!");
/// # Ok(())
/// # }
/// ```
pub struct Template<'a> {
    text: &'a [u8],
    expressions: Vec<Expression>,
    names: Vec<String>,
}

/// Where an expression stands, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// Its place in the text, from `<+` to `>`, in bytes.
    pub range: Range<usize>,
    /// Which of the template's names it has.
    pub name: usize,
}

impl<'a> Template<'a> {
    /// Finds the expressions of `text`.
    ///
    /// # Errors
    /// `InvalidName` for what is ours and not well-formed; `Unsupported` for a
    /// reference to an external store; `LimitExceeded` for more than [`MAX_NAMES`].
    pub fn parse(text: &'a [u8]) -> Result<Self> {
        let mut template = Self { text, expressions: Vec::new(), names: Vec::new() };
        let mut known = std::collections::HashMap::new();
        let mut at = 0;
        while let Some(found) = find(text, at) {
            let mut parser = Parser { text, at: found + 2 };
            if !parser.is_ours() {
                at = found + 2;
                continue;
            }
            let failed = |(place, kind, what): Fault| {
                let (line, column) = place_of(text, place);
                Error::new(kind, format!("line {line}, column {column}: {what}"))
            };
            let name = parser.expression(found).map_err(failed)?;
            at = parser.at;
            let name = *known.entry(name).or_insert_with(|| {
                template.names.push(name.to_owned());
                template.names.len() - 1
            });
            if template.names.len() > MAX_NAMES {
                return Err(Error::limit_exceeded(format!(
                    "the template names more than {MAX_NAMES} secrets: render it in parts"
                )));
            }
            template.expressions.push(Expression { range: found..at, name });
        }
        Ok(template)
    }

    /// The secrets that are named, as they are written, each once.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The expressions, in order.
    #[must_use]
    pub fn expressions(&self) -> &[Expression] {
        &self.expressions
    }

    /// The text with the `values` of [`names`](Self::names), in their order, in the
    /// places of the expressions.
    ///
    /// # Errors
    /// `LimitExceeded` if that is longer than [`MAX_RENDERED_BYTES`], or if there is
    /// no guarded memory for it.
    pub fn expand(&self, values: &[&[u8]]) -> Result<SecretBytes> {
        let missing = || Error::internal("a template was given too few values");
        let mut len = self.text.len();
        for expression in &self.expressions {
            let value = values.get(expression.name).ok_or_else(missing)?;
            len = (len - expression.range.len()).saturating_add(value.len());
        }
        if len > MAX_RENDERED_BYTES {
            return Err(Error::limit_exceeded(format!(
                "the expanded template has {len} bytes, more than {MAX_RENDERED_BYTES}"
            )));
        }
        let mut expanded = SecretBytes::zeroed(len)?;
        let mut rest = expanded.expose_mut();
        let mut give = |part: &[u8]| {
            let (to, behind) = std::mem::take(&mut rest).split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = behind;
        };
        let mut at = 0;
        for expression in &self.expressions {
            give(&self.text[at..expression.range.start]);
            give(values.get(expression.name).ok_or_else(missing)?);
            at = expression.range.end;
        }
        give(&self.text[at..]);
        Ok(expanded)
    }
}

impl fmt::Debug for Template<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The next `<+` from `at` on.
fn find(text: &[u8], at: usize) -> Option<usize> {
    text.get(at..)?.windows(2).position(|two| two == b"<+").map(|found| at + found)
}

/// The line and the column of a place, in characters, both from 1.
fn place_of(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let is_first = |byte: &&u8| **byte & 0xc0 != 0x80;
    let column = before[line_start..].iter().filter(is_first).count() + 1;
    (before.split(|byte| *byte == b'\n').count(), column)
}

/// Where and what is wrong.
type Fault = (usize, ErrorKind, String);

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// Whether `secrets` follows, as a word.
    fn is_ours(&mut self) -> bool {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let after = rest.strip_prefix(b"secrets");
        let is_word = |after: &[u8]| {
            after.first().is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        };
        if !after.is_some_and(is_word) {
            return false;
        }
        self.at += b"secrets".len();
        true
    }

    /// What follows `secrets`, to the `>`: gives the name.
    fn expression(&mut self, began: usize) -> Result<&'a str, Fault> {
        for part in [".", "getValue", "("] {
            self.expect(part, began)?;
        }
        self.skip_blanks();
        let quote = match self.text.get(self.at) {
            Some(quote @ (b'"' | b'\'')) => *quote,
            Some(_) => return Err(self.wrong("the name of a secret, in quotes, has to stand here")),
            None => return Err(unterminated(began)),
        };
        let from = self.at + 1;
        let rest = &self.text[from..];
        let end = rest.iter().position(|byte| *byte == quote || *byte == b'\n');
        let name = match end {
            Some(end) if rest[end] == quote => &rest[..end],
            _ => return Err(self.wrong("this quote is not closed on its line")),
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(self.wrong("the name is not UTF-8"));
        };
        if name.contains("://") {
            let what = "a reference to an external store cannot be read yet: put the value into a \
                        secret, and name that";
            return Err((self.at, ErrorKind::Unsupported, what.to_owned()));
        }
        self.at = from + name.len() + 1;
        for part in [")", ">"] {
            self.expect(part, began)?;
        }
        Ok(name)
    }

    fn expect(&mut self, part: &str, began: usize) -> Result<(), Fault> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        if rest.starts_with(part.as_bytes()) {
            self.at += part.len();
            return Ok(());
        }
        if part.as_bytes().starts_with(rest) {
            return Err(unterminated(began));
        }
        Err(self.wrong(&format!("`{part}` has to stand here, as in {EXAMPLE}")))
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    fn wrong(&self, what: &str) -> Fault {
        (self.at, ErrorKind::InvalidName, what.to_owned())
    }
}

const EXAMPLE: &str = "<+secrets.getValue(\"account.NAME\")>";

fn unterminated(began: usize) -> Fault {
    let what = format!("the expression that begins here has no end: write {EXAMPLE}");
    (began, ErrorKind::InvalidName, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(text: &str, values: &[&str]) -> String {
        let template = Template::parse(text.as_bytes()).expect("a template");
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        let expanded = template.expand(&values).expect("memory");
        String::from_utf8(expanded.expose().to_vec()).expect("UTF-8")
    }

    #[test]
    fn expressions_are_found_in_each_way_of_writing() {
        for written in [
            "<+secrets.getValue(\"account.db\")>",
            "<+secrets.getValue('account.db')>",
            "<+ secrets . getValue ( \"account.db\" ) >",
            "<+secrets\n  .getValue(\r\n\t\"account.db\"\n)>",
        ] {
            let text = format!("a {written}{written} b");
            let template = Template::parse(text.as_bytes()).expect("a template");
            assert_eq!(template.names(), ["account.db"], "once, however often it is written");
            let ranges: Vec<_> =
                template.expressions().iter().map(|one| &text[one.range.clone()]).collect();
            assert_eq!(ranges, [written, written]);
            assert_eq!(expanded(&text, &["12"]), "a 1212 b");
        }
    }

    #[test]
    fn names_are_told_in_the_order_of_their_first_use() {
        let name = |name: &str| format!("<+secrets.getValue('{name}')>");
        let text = [name("org.b"), name("a"), name("org.b"), name("account.c")].join("-");
        let template = Template::parse(text.as_bytes()).expect("a template");
        assert_eq!(template.names(), ["org.b", "a", "account.c"]);
        assert_eq!(expanded(&text, &["1", "2", "3"]), "1-2-1-3");
    }

    #[test]
    fn an_expression_in_a_value_stays() {
        let other = "<+secrets.getValue(\"account.other\")>";
        assert_eq!(expanded("<+secrets.getValue('a')>", &[other]), other);
    }

    #[test]
    fn what_is_not_ours_stays() {
        for text in ["", "<", "<+", "<+>", "<+pipeline.name>", "<+secretsX.y>", "<+secrets_1>", "+"]
        {
            assert_eq!(expanded(text, &[]), text);
        }
        let text = "<+<+secrets.getValue('a')>";
        assert_eq!(expanded(text, &["x"]), "<+x");
        let bytes = b"\xff<+secrets.getValue('a')>\xfe\0";
        let template = Template::parse(bytes).expect("a template");
        assert!(template.expand(&[b"\x80"]).expect("memory").expose() == b"\xff\x80\xfe\0");
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, place, what) in [
            ("<+secrets>", "line 1, column 10", "`.` has to stand here"),
            ("ä\nöü <+secrets.getvalue(\"a\")>", "line 2, column 14", "`getValue` has to"),
            ("x<+secrets.getValue(a)>", "line 1, column 21", "in quotes"),
            ("x<+secrets.getValue(\"a)>\n\"", "line 1, column 21", "not closed"),
            ("x<+secrets.getValue(\"a\" + \"b\")>", "line 1, column 25", "`)` has to"),
            ("x<+secrets.getValue(\"a\")", "line 1, column 2", "no end"),
            ("x\n<+secrets.getVal", "line 2, column 1", "no end"),
            ("x\n\n <+secrets", "line 3, column 2", "no end"),
            ("<+secrets.getValue(", "line 1, column 1", "no end"),
        ] {
            let error = Template::parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{text}");
            let message = error.message();
            assert!(message.starts_with(&format!("{place}: ")), "{text}: {message}");
            assert!(message.contains(what), "{text}: {message}");
        }
        let error = Template::parse(b"<+secrets.getValue(\"\xff\")>").expect_err("not UTF-8");
        assert_eq!(error.kind(), ErrorKind::InvalidName);
    }

    #[test]
    fn a_reference_to_an_external_store_is_unsupported() {
        let text = b"<+secrets.getValue(\"account.hashicorpvault://main/path#key\")>";
        let error = Template::parse(text).expect_err("a reference");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().starts_with("line 1, column 20: "));
    }

    #[test]
    fn neither_names_nor_bytes_are_without_a_limit() {
        let names = (0..=MAX_NAMES).map(|n| format!("<+secrets.getValue('n{n}')>"));
        let text = names.collect::<Vec<_>>().concat();
        let error = Template::parse(text.as_bytes()).expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        let text = "<+secrets.getValue('a')>".repeat(20);
        let template = Template::parse(text.as_bytes()).expect("a template");
        let error = template.expand(&[&vec![0; 1 << 20]]).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn debug_shows_no_text() {
        let template = Template::parse(b"canary <+secrets.getValue('a')>").expect("a template");
        assert_eq!(format!("{template:?}"), "Template { names: [\"a\"], .. }");
    }

    proptest! {
        #[test]
        fn pieces_and_expressions_are_the_text(text in proptest::collection::vec(prop_oneof![
            Just("<+"), Just("secrets"), Just(".getValue("), Just("\"a\""), Just("'b'"), Just(")>"),
            Just(" "), Just("\n"), Just("é"), Just("<+secrets.getValue('c')>"),
        ], 0..20)) {
            let text = text.concat();
            if let Ok(template) = Template::parse(text.as_bytes()) {
                let mut end = 0;
                let mut back = String::new();
                for expression in template.expressions() {
                    prop_assert!(end <= expression.range.start);
                    back += &text[end..expression.range.start];
                    let written = &text[expression.range.clone()];
                    prop_assert!(written.starts_with("<+") && written.ends_with(")>"));
                    prop_assert!(written.contains(&template.names()[expression.name]));
                    back += written;
                    end = expression.range.end;
                }
                back += &text[end..];
                prop_assert_eq!(back, text);
            }
        }
    }
}
