//! `PostgreSQL`, the real one, for those tests that ask for it. It ends with the process
//! that started it, however that ends.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

const SERVE: &str = include_str!("postgres/serve.py");

/// Of who may do everything. Nobody else reaches the server: it listens on loopback.
const PASSWORD: &str = "not-a-real-password";

/// A `PostgreSQL` that serves, with a database `postgres`. Dropping it ends it.
pub struct Postgres {
    port: u16,
    child: Child,
    /// It ends with this.
    input: Option<ChildStdin>,
}

impl Postgres {
    /// The one of this process.
    #[must_use]
    pub fn shared() -> &'static Self {
        static POSTGRES: OnceLock<Postgres> = OnceLock::new();
        POSTGRES.get_or_init(Self::start)
    }

    /// Another one.
    ///
    /// # Panics
    /// If it does not serve: it says why.
    #[must_use]
    pub fn start() -> Self {
        let mut command = Command::new("python3");
        command
            .args(["-c", SERVE])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("Python starts");
        let mut input = child.stdin.take().expect("a pipe");
        writeln!(input, "{PASSWORD}").expect("Python reads");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("text");
        let Ok(port) = line.trim().parse() else {
            drop(input);
            let mut why = String::new();
            let errors = child.stderr.take().expect("a pipe").read_to_string(&mut why);
            panic!("PostgreSQL does not serve: {errors:?}: {why}");
        };
        Self { port, child, input: Some(input) }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user that may do everything.
    #[must_use]
    pub fn admin(&self) -> (&str, &str) {
        ("admin", PASSWORD)
    }

    /// The rows that a statement gives, each a line, or why there are none.
    ///
    /// # Panics
    /// If `psql` does not start.
    pub fn sql(&self, (user, password): (&str, &str), statement: &str) -> Result<String, String> {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-d", "postgres"]);
        command.args(["-X", "-A", "-t", "-U", user, "-c", statement]);
        command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "60").stdin(Stdio::null());
        let output = command.output().expect("psql starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_who_has_the_password_and_ends_with_its_owner() {
        let postgres = Postgres::start();
        let (user, password) = postgres.admin();
        let asked = postgres.sql((user, password), "SELECT 6 * 7");
        assert_eq!(asked.as_deref(), Ok("42"));
        let refused = postgres.sql((user, "another"), "SELECT 6 * 7").expect_err("refused");
        assert!(refused.contains("password authentication failed"), "{refused}");
        let place = "SELECT current_setting('data_directory')";
        let place = postgres.sql(postgres.admin(), place).expect("its directory");
        assert!(std::path::Path::new(&place).exists());
        drop(postgres);
        assert!(!std::path::Path::new(&place).exists(), "it leaves nothing behind");
    }
}
