//! What a command is given: which variables, of which secrets.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use strongroom::expression::Template;
use strongroom::{Error, Secret, SecretBytes};

use crate::failure::{Failure, Result};
use crate::value;

/// The longest file of variables, in bytes.
const MAX_ENV_FILE_BYTES: usize = 1 << 20;
/// The longest `VAR=VALUE` that Linux passes on, with its end (`MAX_ARG_STRLEN`,
/// execve(2)).
const MAX_VARIABLE_BYTES: usize = 128 << 10;

/// `VAR=NAME`.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    variable: String,
    name: String,
}

impl FromStr for Binding {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (variable, name) = text
            .split_once('=')
            .ok_or("write VAR=NAME, the variable and the secret, as in PGPASSWORD=account.db")?;
        if !is_variable(variable.as_bytes()) {
            return Err("a variable has letters, digits and _, and begins with no digit");
        }
        Ok(Self { variable: variable.to_owned(), name: name.to_owned() })
    }
}

fn is_variable(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.iter().all(is_part) && text.first().is_some_and(|first| !first.is_ascii_digit())
}

/// Which variables are made of what.
pub(super) struct Plan {
    /// Each secret once.
    names: Vec<String>,
    /// Variables with a place in `names`.
    values: Vec<(String, usize)>,
    files: Vec<(String, usize)>,
    /// Variables with expressions in their value, or none.
    texts: Vec<(OsString, SecretBytes)>,
}

impl Plan {
    /// Of the command line, files of variables, and this process's own variables.
    pub(super) fn new(env: &[Binding], file: &[Binding], env_files: &[PathBuf]) -> Result<Self> {
        let mut plan =
            Self { names: Vec::new(), values: Vec::new(), files: Vec::new(), texts: Vec::new() };
        for (variable, value) in std::env::vars_os() {
            // Most have none, and are inherited as they are.
            if !Template::parse(value.as_bytes()).is_ok_and(|t| t.names().is_empty()) {
                plan.add_text(variable, SecretBytes::take(value.into_vec())?)?;
            }
        }
        for path in env_files {
            plan.add_file_of_variables(path)?;
        }
        for Binding { variable, name } in env {
            let name = plan.add_name(name);
            plan.values.push((variable.clone(), name));
        }
        for Binding { variable, name } in file {
            let name = plan.add_name(name);
            plan.files.push((variable.clone(), name));
        }
        plan.refuse_twins()?;
        Ok(plan)
    }

    /// The secrets to read.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The variables that hold a file's path, with their secrets' places.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files.iter().map(|(variable, name)| (variable.as_str(), *name))
    }

    /// The variables that hold values; `secrets` are those of [`names`](Self::names).
    pub(super) fn variables(&self, secrets: &[Secret]) -> Result<Vec<(OsString, SecretBytes)>> {
        let mut variables = Vec::new();
        for (variable, text) in &self.texts {
            let template = Template::parse(text.expose()).map_err(|e| within(variable, &e))?;
            let value = |name: &String| {
                let at = self.names.iter().position(|known| known == name);
                at.and_then(|at| secrets.get(at)).map(|secret| secret.value.expose())
            };
            let values: Option<Vec<_>> = template.names().iter().map(value).collect();
            let values = values.ok_or_else(|| Error::internal("a secret was not read"))?;
            let expanded = template.expand(&values).map_err(|e| within(variable, &e))?;
            let what = format!("with its secrets, the variable {}", variable.display());
            variables.push((variable.clone(), fitting(variable, expanded, &what)?));
        }
        for (variable, name) in &self.values {
            let value = secrets[*name].value.try_clone()?;
            let what = format!("the value of {}", self.names[*name]);
            variables.push((variable.into(), fitting(OsStr::new(variable), value, &what)?));
        }
        Ok(variables)
    }

    fn add_name(&mut self, name: &str) -> usize {
        let known = self.names.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    fn add_text(&mut self, variable: OsString, text: SecretBytes) -> Result {
        let template = Template::parse(text.expose()).map_err(|e| within(&variable, &e))?;
        let names = template.names().to_vec();
        for name in &names {
            self.add_name(name);
        }
        // The later one counts.
        self.texts.retain(|(known, _)| *known != variable);
        self.texts.push((variable, text));
        Ok(())
    }

    /// `VAR=VALUE` lines, as other programs read them too: blank lines and those
    /// that begin with `#` say nothing, `export` may stand before, and quotes around
    /// the whole value are taken away.
    fn add_file_of_variables(&mut self, path: &Path) -> Result {
        let text = value::from_file(path, MAX_ENV_FILE_BYTES)?;
        for (number, line) in text.expose().split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let line = line.strip_prefix(b"export ").map_or(line, <[u8]>::trim_ascii_start);
            let parts = line.iter().position(|byte| *byte == b'=').map(|at| line.split_at(at));
            let Some((variable, value)) = parts.filter(|(variable, _)| is_variable(variable))
            else {
                return Err(Failure::Usage(format!(
                    "{}, line {}: a line is VAR=VALUE",
                    path.display(),
                    number + 1
                )));
            };
            let value = &value[1..];
            let unquoted = match value {
                [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
                value => value,
            };
            let variable = OsString::from_vec(variable.to_vec());
            self.add_text(variable, SecretBytes::copy_from(unquoted)?)?;
        }
        Ok(())
    }

    /// A variable has one value: two `--env` of one are a slip.
    fn refuse_twins(&self) -> Result {
        let mut variables: Vec<&str> =
            self.values.iter().chain(&self.files).map(|(variable, _)| variable.as_str()).collect();
        variables.sort_unstable();
        match variables.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(Failure::Usage(format!(
                "--env and --file set the variable {} twice: give each one of its own",
                two[0]
            ))),
            None => Ok(()),
        }
    }
}

/// The value as the kernel takes it.
pub(super) fn os_str(value: &SecretBytes) -> &OsStr {
    OsStr::from_bytes(value.expose())
}

/// The value, if a variable can hold it.
fn fitting(variable: &OsStr, value: SecretBytes, what: &str) -> Result<SecretBytes> {
    let bytes = value.expose();
    let wrong = if bytes.contains(&0) {
        "has a NUL byte, which no environment variable can hold"
    } else if std::str::from_utf8(bytes).is_err() {
        "is not UTF-8, which most programs expect of the environment"
    } else if variable.len() + bytes.len() + 2 > MAX_VARIABLE_BYTES {
        "is longer than the 128 KiB of an environment variable"
    } else {
        return Ok(value);
    };
    Err(Failure::Usage(format!("{what} {wrong}: give it as a file with --file VAR=NAME")))
}

fn within(variable: &OsStr, error: &Error) -> Error {
    let what = format!("the variable {}: {}", variable.display(), error.message());
    Error::new(error.kind(), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_a_variable_and_a_name() {
        let binding: Binding = "DB_1=account.db".parse().expect("a binding");
        assert_eq!((binding.variable.as_str(), binding.name.as_str()), ("DB_1", "account.db"));
        for bad in ["account.db", "=a", "1A=a", "A-B=a", "a/b=c", ""] {
            assert!(bad.parse::<Binding>().is_err(), "{bad}");
        }
    }
}
