//! Rendering: what is read, what is recorded, and what fails before that.

use super::*;

fn render(fixture: &Fixture, template: &str) -> Result<String, ErrorKind> {
    let rendered = block_on(fixture.engine.render(template.as_bytes()));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    rendered.map(|rendered| text(rendered.expose())).map_err(|error| error.kind())
}

#[test]
fn each_secret_is_read_once_and_recorded() {
    let fixture = Fixture::new();
    let template = "a=<+secrets.getValue('s1')> b=<+secrets.getValue(\"account.s2\")> \
                    c=<+secrets.getValue('s1')>";
    assert_eq!(render(&fixture, template), Ok("a=s1 b=s2 c=s1".to_owned()));
    assert_eq!(fixture.store.state().reads, 2);
    let about = |line: &Line| (line.operation.clone(), line.name.clone().unwrap_or_default());
    let lines: Vec<_> = fixture.lines().iter().map(about).collect();
    let get = |name: &str| ("get".to_owned(), name.to_owned());
    assert_eq!(lines, [get("s1"), get("s2")]);
}

#[test]
fn a_text_without_expressions_is_given_back() {
    let fixture = Fixture::new();
    assert_eq!(render(&fixture, "<+env.name>"), Ok("<+env.name>".to_owned()));
    assert_eq!(fixture.store.state().reads, 0);
}

#[test]
fn one_that_cannot_be_read_fails_the_whole() {
    let fixture = Fixture::new();
    let template = "<+secrets.getValue('s1')><+secrets.getValue('absent')>";
    assert_eq!(render(&fixture, template), Err(ErrorKind::NotFound));
    let error = block_on(fixture.engine.render(template.as_bytes())).expect_err("absent");
    assert_eq!(error.message(), "no secret has this name");
}

#[test]
fn what_is_not_well_formed_fails_before_anything_is_read() {
    let fixture = Fixture::new();
    for (template, kind) in [
        ("<+secrets.getValue('s1')> <+secrets.getValue('s1'>", ErrorKind::InvalidName),
        ("<+secrets.getValue('s1')> <+secrets.getValue('no good name')>", ErrorKind::InvalidName),
        ("<+secrets.getValue('s1')> <+secrets.getValue('aws://a/b')>", ErrorKind::Unsupported),
    ] {
        assert_eq!(render(&fixture, template), Err(kind), "{template}");
    }
    assert_eq!(fixture.store.state().reads, 0);
}

/// A parent scope never sees a child's secrets: there, their names mean nothing.
#[test]
fn names_are_read_in_the_engines_scope() {
    let fixture = Fixture::new();
    let account = fixture.engine.at("acme".parse().expect("a scope")).expect("an engine");
    for name in ["s1", "org.s1"] {
        let template = format!("<+secrets.getValue('{name}')>");
        let error = block_on(account.render(template.as_bytes())).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidName);
    }
    assert_eq!(fixture.store.state().reads, 0);
    assert!(block_on(account.render(b"<+secrets.getValue('account.s1')>")).is_ok());
}
